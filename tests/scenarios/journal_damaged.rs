//! The database is damaged: what reads is salvaged, the gap is said aloud and
//! written down, and nothing that must not go back goes back.

use std::fs;
use std::path::{Path, PathBuf};

use homeostat::model::{Event, Record};
use homeostat_tests::{Plan, TestBox};
use model_server::fault::Fault;

/// A box with a history: a crash that was healed. Stopped in good order.
fn with_history() -> (TestBox, Vec<Record>) {
    let mut house = Plan::usual().raise();
    house.until_serving("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", before);
    let history = house.journal();
    house.stop_daemon();
    (house, history)
}

/// The biggest file under the state folder, apart from the trust slot: the data.
fn data_file(state: &Path) -> PathBuf {
    fn walk(folder: &Path, into: &mut Vec<(u64, PathBuf)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                walk(&entry.path(), into);
            } else if entry.file_name() == "db" {
                into.push((meta.len(), entry.path()));
            }
        }
    }
    let mut files = Vec::new();
    walk(state, &mut files);
    files.into_iter().max().expect("sled keeps its data in a file called db").1
}

/// It starts, says what happened, keeps its floors, and still heals.
#[track_caller]
fn goes_on(mut house: TestBox, history: &[Record]) {
    house.start(&[]);
    let pid = house.until_serving("digits");
    let (_, aside) = house.until_event(0, "the gap, written down", |event| match event {
        Event::JournalGap { aside, .. } => Some(aside.clone()),
        _ => None,
    });
    assert!(Path::new(&aside).exists(), "the damaged database is kept aside: {aside}");
    let view = house.view();
    assert!(
        view.conditions.iter().any(|condition| condition.name.starts_with("store.")),
        "{:#?}",
        view.conditions
    );

    let last = history.last().expect("a history has records");
    let births = history.iter().filter_map(|record| match record.event {
        Event::DaemonStarted { birth, .. } => Some(birth),
        _ => None,
    });
    assert!(view.birth > births.max().unwrap_or(0), "the birth counter never goes back");
    let records = house.journal();
    let started =
        records.iter().rfind(|record| matches!(record.event, Event::DaemonStarted { .. }));
    let started = started.expect("the daemon's start is written down");
    assert!(started.seq > last.seq, "{} after {}: no number is used twice", started.seq, last.seq);
    assert!(started.at.age_ms >= last.at.age_ms, "the age never goes back");

    assert_eq!(house.server("digits").starts().len(), 2, "the workload noticed nothing");
    // The incident that was open when the history breaks off may be open still.
    house.server("digits").breaks(Fault::Crash);
    house.until_another_serves("digits", pid);
    house.until_quiet();
    house.check();
}

#[test]
fn a_database_with_flipped_bytes_is_salvaged_and_the_gap_is_written_down() {
    let (house, history) = with_history();
    let file = data_file(&house.folder().join("state"));
    let mut bytes = fs::read(&file).expect("it was just found");
    // A stripe through every page, so that no reading can miss the damage.
    for byte in bytes.iter_mut().skip(64).step_by(251) {
        *byte ^= 0x5A;
    }
    fs::write(&file, bytes).expect("the state can be written");
    goes_on(house, &history);
}

#[test]
fn a_database_that_is_cut_in_half_is_salvaged_and_the_gap_is_written_down() {
    let (house, history) = with_history();
    let file = data_file(&house.folder().join("state"));
    let length = fs::metadata(&file).expect("it was just found").len();
    let data = fs::File::options().write(true).open(&file).expect("the state can be written");
    data.set_len(length / 2).expect("a file can be cut");
    goes_on(house, &history);
}

#[test]
fn a_database_that_is_gone_leaves_the_floors_where_they_were() {
    let (house, history) = with_history();
    let file = data_file(&house.folder().join("state"));
    let folder = file.parent().expect("a file lies in a folder");
    fs::remove_dir_all(folder).expect("the state can be written");
    let mut house = house;
    house.start(&[]);
    house.until_serving("digits");
    let last = history.last().expect("a history has records");
    let view = house.view();
    assert!(view.birth > 1, "the birth counter never goes back");
    assert!(view.journal_seq > last.seq, "no number is used twice");
    assert_eq!(house.server("digits").starts().len(), 2, "the workload noticed nothing");
}

#[test]
fn a_store_that_is_gone_whole_is_followed_by_numbers_that_nobody_used() {
    let (mut house, history) = with_history();
    fs::remove_dir_all(house.folder().join("state/store")).expect("the state can be written");
    house.start(&[]);
    house.until_serving("digits");
    let first = house.journal().first().expect("the daemon writes down its start").seq;
    let last = history.last().expect("a history has records").seq;
    assert!(first > last, "{first} after {last}");
}

#[test]
fn a_trust_slot_that_is_gone_is_said_and_births_go_on() {
    let (mut house, history) = with_history();
    for copy in ["trust.a", "trust.b"] {
        fs::remove_file(house.folder().join("state").join(copy)).expect("it is there");
    }
    house.start(&[]);
    house.until_serving("digits");
    let births = history.iter().filter_map(|record| match record.event {
        Event::DaemonStarted { birth, .. } => Some(birth),
        _ => None,
    });
    let view = house.view();
    assert!(view.birth > births.max().unwrap_or(0), "no attempt gets the id of another");
    assert!(view.conditions.iter().any(|it| it.name == "trust.slot-lost"), "{view:#?}");
    house.check();
}
