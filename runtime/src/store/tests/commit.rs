//! Writing and reading back, while nothing goes wrong.

use super::*;
use crate::model::Value;
use crate::store::{BACKLOG_MAX, STATE_MAX, StoreError};

#[test]
fn what_was_appended_is_there_after_a_restart_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    assert_eq!(opened.conditions, []);
    let records = fill(&mut opened.store.journal(), 700);
    opened.store.close();

    let mut opened = open(dir.path());
    assert_eq!(opened.conditions, []);
    let reader = opened.store.reader();
    assert_eq!(replay(&reader), records);
    assert_eq!(reader.replay(600).count(), 101);
    assert_eq!(reader.last().as_ref(), records.last());
    assert_eq!(reader.latest(3), records[697..]);
    assert_eq!(opened.store.journal().append(at(9), audit()).seq, 701);
}

#[test]
fn a_record_can_be_read_before_it_is_durable_and_while_it_becomes_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let (mut journal, reader) = (store.journal(), store.reader());
    for n in 1..=400 {
        let record = journal.append(at(n), telemetry("x"));
        assert_eq!(reader.last(), Some(record));
        assert_eq!(reader.replay(1).count() as u64, n);
    }
}

#[test]
fn many_records_share_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    // The count ends the window, not the time.
    let config = StoreConfig { commit_window_ms: 3_600_000, ..config() };
    let mut store = Store::open(dir.path(), &config, 1).unwrap().store;
    let mut journal = store.journal();
    let durable = journal.durable();
    for n in 0..1024 {
        journal.append(at(n), telemetry("x"));
    }
    assert_eq!(wait_durable(&durable, 1).seq, 1024, "the first commit holds them all");
}

#[test]
fn the_records_of_an_incident_are_found_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let (mut journal, reader) = (store.journal(), store.reader());
    fill(&mut journal, 500);
    let ids = |incident: u64| {
        let records = reader.incident(IncidentId(incident)).unwrap();
        records.iter().map(|record| record.seq).collect::<Vec<_>>()
    };
    assert_eq!(ids(101), [101, 102, 103]);
    assert!(ids(100).is_empty());
    // One that is not on the disk yet belongs to it as well.
    let late = journal.append(at(1), closed_incident(IncidentId(101)));
    assert_eq!(ids(101), [101, 102, 103, late.seq]);
}

#[test]
fn a_record_of_any_length_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    let mut journal = opened.store.journal();
    for len in [0, 1, 3_000, 4_096, 4_097, 50_000, 700_000] {
        journal.append(at(len as u64), telemetry(&"y".repeat(len)));
    }
    wait_durable(&journal.durable(), 7);
    opened.store.close();
    let opened = open(dir.path());
    assert_eq!(opened.conditions, []);
    let lens: Vec<_> = replay(&opened.store.reader())
        .into_iter()
        .map(|record| match record.event {
            Event::PluginStarted { digest, .. } => digest.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lens, [0, 1, 3_000, 4_096, 4_097, 50_000, 700_000]);
    assert_eq!(std::fs::read_dir(dir.path().join("db/blobs")).unwrap().count(), 0);
}

#[test]
fn a_number_that_json_cannot_write_does_not_make_its_record_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let finding = crate::model::Finding {
        key: "k".into(),
        kind: "threshold.x".into(),
        target: TargetId::the_box(),
        severity: 1,
        series: vec![],
        message: String::new(),
        evidence: vec![("value".into(), Value::Num(f64::NAN))],
    };
    let mut journal = store.journal();
    journal.append(at(1), Event::FindingRaised { detector: "d".into(), finding });
    wait_durable(&journal.durable(), 1);
    assert_eq!(replay(&store.reader()).len(), 1);
}

#[test]
fn a_journal_that_is_lost_goes_on_from_the_floor_and_one_that_is_there_from_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = Store::open(dir.path(), &config(), 500).unwrap();
    let record = opened.store.journal().append(at(1), audit());
    assert_eq!(record.seq, 500);
    opened.store.close();
    // That it begins late is no damage.
    let mut opened = Store::open(dir.path(), &config(), 900).unwrap();
    assert_eq!(opened.conditions, []);
    assert_eq!(replay(&opened.store.reader()), [record]);
    assert_eq!(opened.store.journal().append(at(1), audit()).seq, 501);
    opened.store.close();
    // Older by far than what was written since: somebody put it back.
    let mut opened = Store::open(dir.path(), &config(), 1_000_000).unwrap();
    assert_eq!(opened.store.journal().append(at(1), audit()).seq, 1_000_000);
}

#[test]
fn a_full_backlog_drops_telemetry_only_and_the_journal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let mut journal = store.journal();
    let mut audits = 0;
    {
        // The writer takes what is there once and then waits for the backend.
        let _held = store.shared.backend_mut();
        for n in 0..BACKLOG_MAX as u64 * 2 {
            let audit_turn = n % 64 == 0;
            audits += u64::from(audit_turn);
            journal.append(at(n), if audit_turn { audit() } else { telemetry("x") });
        }
    }
    // The last was dropped: it is waited for all the same.
    let last = BACKLOG_MAX as u64 * 2;
    wait_durable(&journal.durable(), last);
    let told = journal.append(at(2), audit()).seq;
    wait_durable(&journal.durable(), told);
    let records = replay(&store.reader());
    let kept = |event: &Event| matches!(event, Event::Paused { .. });
    assert_eq!(records.iter().filter(|record| kept(&record.event)).count() as u64, audits + 1);
    let gaps = gaps(&records);
    let [Event::JournalGap { why, first_lost: Some(first), .. }] = gaps[..] else {
        panic!("{gaps:?}")
    };
    let lost = last - (records.len() as u64 - 2);
    assert!(why.starts_with(&format!("{lost} telemetry records")), "{why}, lost {lost}");
    assert!(*first >= BACKLOG_MAX as u64);
}

#[test]
fn a_checkpoint_outlives_a_restart_and_a_removed_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open(dir.path());
    let checkpoints = opened.store.checkpoints();
    let large: Vec<_> = (0..STATE_MAX).map(|n| (n % 251) as u8).collect();
    checkpoints.put("liveness", &large).unwrap();
    checkpoints.put("threshold", b"first").unwrap();
    checkpoints.put("threshold", b"second").unwrap();
    checkpoints.put("thresh", b"").unwrap();
    checkpoints.put("gone", &large).unwrap();
    checkpoints.remove("gone").unwrap();
    checkpoints.remove("never-there").unwrap();
    opened.store.close();
    let opened = open(dir.path());
    assert_eq!(opened.conditions, []);
    let checkpoints = opened.store.checkpoints();
    assert_eq!(checkpoints.get("liveness"), Some(large));
    assert_eq!(checkpoints.get("threshold").as_deref(), Some(b"second".as_slice()));
    assert_eq!(checkpoints.get("thresh").as_deref(), Some(b"".as_slice()));
    assert_eq!(checkpoints.get("gone"), None);
    assert_eq!(checkpoints.get("thr"), None);
    assert_eq!(std::fs::read_dir(dir.path().join("db/blobs")).unwrap().count(), 0);
}

#[test]
fn a_checkpoint_above_the_cap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    let refused = store.checkpoints().put("liveness", &vec![0; STATE_MAX + 1]);
    assert!(matches!(refused, Err(StoreError::CheckpointTooLarge { .. })), "{refused:?}");
    assert!(store.checkpoints().put("a\0b", b"").is_err());
}

#[test]
fn a_second_store_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    let second = Store::open(dir.path(), &config(), 1);
    assert!(matches!(second, Err(StoreError::Busy { .. })), "{second:?}");
}

#[test]
fn a_permit_waits_for_no_company() {
    let dir = tempfile::tempdir().unwrap();
    // Longer than this test may take: only the permit can end the window.
    let config = StoreConfig { commit_window_ms: 3_600_000, ..config() };
    let mut store = Store::open(dir.path(), &config, 1).unwrap().store;
    let mut journal = store.journal();
    journal.append(at(1), telemetry("x"));
    let permit = journal.append(at(2), permitted());
    wait_durable(&journal.durable(), permit.seq);
}
