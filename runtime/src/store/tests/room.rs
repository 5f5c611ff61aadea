//! Bounded in bytes.

use super::*;

fn disk_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir).map_or(0, |entries| {
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let file = entry.metadata().ok()?;
                Some(if file.is_dir() { disk_bytes(&entry.path()) } else { file.len() })
            })
            .sum()
    })
}

#[test]
fn the_store_stays_below_its_ceiling_and_drops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_bytes: 8 << 20, ..config() };
    let mut store = Store::open(dir.path(), &config, 1).unwrap().store;
    let (mut journal, reader) = (store.journal(), store.reader());
    let closed = journal.append(at(0), opened_incident()).seq;
    journal.append(at(0), closed_incident(IncidentId(closed)));
    let open_one = journal.append(at(0), opened_incident()).seq;
    store.checkpoints().put("liveness", b"kept").unwrap();
    let text = "z".repeat(400);
    let mut highest = 0;
    let mut appended = 3;
    let mut audits = 0;
    for round in 0..120 {
        for n in 0..250 {
            journal.append(at(n), telemetry(&text));
        }
        let last = journal.append(at(round), audit()).seq;
        (appended, audits) = (last, audits + 1);
        wait_durable(&journal.durable(), last);
        highest = highest.max(disk_bytes(dir.path()));
    }
    assert!(highest <= config.max_bytes, "{highest} bytes at most");
    let kept = replay(&reader);
    assert!(kept.len() > 1_000 && (kept.len() as u64) < appended, "{} of {appended}", kept.len());
    let count = |wanted: fn(&Event) -> bool| kept.iter().filter(|r| wanted(&r.event)).count();
    assert_eq!(count(|event| matches!(event, Event::Paused { .. })), audits);
    assert_eq!(reader.incident(IncidentId(open_one)).unwrap().len(), 1);
    // There is telemetry left to drop, so the closed incident stays.
    assert_eq!(reader.incident(IncidentId(closed)).unwrap().len(), 2);
    assert_eq!(store.checkpoints().get("liveness").as_deref(), Some(b"kept".as_slice()));

    store.close();
    let opened = Store::open(dir.path(), &config, 1).unwrap();
    assert_eq!(opened.conditions, []);
    assert_eq!(opened.store.reader().last().map(|record| record.seq), Some(appended));
}

#[test]
fn a_reader_and_a_checkpoint_writer_go_on_while_the_database_is_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_bytes: 4 << 20, ..config() };
    let mut store = Store::open(dir.path(), &config, 1).unwrap().store;
    let (mut journal, reader, checkpoints) = (store.journal(), store.reader(), store.checkpoints());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let seqs: Vec<_> = reader.replay(1).map(|record| record.unwrap().seq).collect();
                assert!(seqs.is_sorted_by(|a, b| a < b));
            }
        });
        let keeping = scope.spawn(|| {
            let mut n = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                n += 1;
                checkpoints.put("p", &n.to_le_bytes()).unwrap();
                assert_eq!(checkpoints.get("p").unwrap(), n.to_le_bytes());
            }
        });
        for n in 0..60 {
            for _ in 0..100 {
                journal.append(at(n), telemetry(&"z".repeat(400)));
            }
            let last = journal.append(at(n), audit()).seq;
            wait_durable(&journal.durable(), last);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reading.join().unwrap();
        keeping.join().unwrap();
    });
}

#[test]
fn audit_alone_may_pass_the_ceiling_and_the_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { max_bytes: 4 << 20, ..config() };
    let mut store = Store::open(dir.path(), &config, 1).unwrap().store;
    let mut journal = store.journal();
    let mut appended = 0;
    for n in 0..40 {
        for _ in 0..500 {
            journal.append(at(n), audit());
            appended += 1;
        }
        wait_durable(&journal.durable(), appended);
    }
    let reader = store.reader();
    let names: Vec<_> = reader.conditions().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["store.over-bound"]);
    assert_eq!(replay(&reader).len() as u64, appended);
}
