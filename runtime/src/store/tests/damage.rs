//! Bytes flipped, files cut, garbage: what reads is salvaged, and the journal says so.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::store::recover::SEQ_SKIP;

const RECORDS: u64 = 300;

struct Damaged {
    dir: tempfile::TempDir,
    written: Vec<Record>,
}

/// A store with records and a checkpoint, closed.
fn written() -> Damaged {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    let written = fill(&mut opened.store.journal(), RECORDS);
    opened.store.checkpoints().put("liveness", b"state").unwrap();
    opened.store.close();
    // sled writes its snapshot while it opens.
    open(dir.path()).store.close();
    Damaged { dir, written }
}

impl Damaged {
    fn log(&self) -> PathBuf {
        self.dir.path().join("db/db")
    }

    /// A copy of the store, to be damaged in its own way.
    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy_tree(self.dir.path(), dir.path());
        Self { dir, written: self.written.clone() }
    }

    /// Opens, appends, and checks what must hold after any damage. Gives how
    /// many records were lost.
    fn check(&self, what: &str) -> usize {
        let mut opened = open(self.dir.path());
        let reader = opened.store.reader();
        let found = replay(&reader);
        for record in &found {
            if !matches!(record.event, Event::JournalGap { .. }) {
                assert_eq!(self.written.get(record.seq as usize - 1), Some(record), "{what}");
            }
        }
        for id in found.iter().filter_map(|record| record.event.incident(record.seq)) {
            let of_it = |record: &&Record| record.event.incident(record.seq) == Some(id);
            let wanted: Vec<_> = found.iter().filter(of_it).cloned().collect();
            assert_eq!(reader.incident(id).unwrap(), wanted, "{what}: {id}");
        }
        let lost = self.written.len() - found.len();
        let mut journal = opened.store.journal();
        let next = journal.append(at(1), audit());
        wait_durable(&journal.durable(), next.seq);
        let after = replay(&reader);
        let told = gaps(&after).len();
        if opened.conditions.is_empty() {
            assert_eq!((lost, told), (0, 0), "{what}: lost in silence");
            assert_eq!(next.seq, self.written.len() as u64 + 1, "{what}");
        } else {
            assert_eq!(told, 1, "{what}");
            assert!(next.seq > RECORDS + SEQ_SKIP, "{what}: {}", next.seq);
            let Event::JournalGap { salvaged, first_lost, aside, .. } = gaps(&after)[0] else {
                unreachable!()
            };
            assert_eq!(*salvaged as usize, found.len(), "{what}");
            assert_eq!(first_lost.is_some(), lost > 0, "{what}: {first_lost:?}, lost {lost}");
            assert!(aside.is_empty() || Path::new(aside).exists(), "{what}");
        }
        drop(reader);
        opened.store.close();

        let opened = open(self.dir.path());
        assert_eq!(opened.conditions, [], "{what}: damaged again");
        assert_eq!(replay(&opened.store.reader()), after, "{what}");
        lost
    }
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy_tree(&entry.path(), &to);
        } else if entry.file_name() != "reserve" {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_costs_at_most_what_it_hit_and_is_told() {
    let whole = written();
    let bytes = fs::read(whole.log()).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut hurt, mut worst) = (0, 0);
    for step in 0..120 {
        let at = used * step / 120 + step % 7;
        let damaged = whole.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (step % 8);
        fs::write(damaged.log(), bytes).unwrap();
        let lost = damaged.check(&format!("bit {} of byte {at} of {used}", step % 8));
        hurt += usize::from(lost > 0);
        worst = worst.max(lost);
    }
    // A record lies in the log more than once, until its segment is reused.
    assert!(hurt > 0, "no flip hit a record: the test does not test");
    assert!(worst <= 2, "one flipped bit cost {worst} records");
}

#[test]
fn a_file_cut_at_any_length_gives_back_what_is_in_front_of_the_cut() {
    let whole = written();
    let used = fs::metadata(whole.log()).unwrap().len();
    let mut lost_before = usize::MAX;
    for step in 0..=24 {
        let damaged = whole.copy();
        fs::OpenOptions::new()
            .write(true)
            .open(damaged.log())
            .unwrap()
            .set_len(used * step / 24)
            .unwrap();
        let lost = damaged.check(&format!("cut to {step}/24 of {used}"));
        assert!(lost <= lost_before, "a longer file lost more");
        lost_before = lost;
    }
    assert_eq!(lost_before, 0);
}

#[test]
fn garbage_in_the_place_of_any_file_is_set_aside() {
    let whole = written();
    let garbage: Vec<u8> =
        (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut files: Vec<_> = fs::read_dir(whole.dir.path().join("db"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for name in files {
        for bytes in [&garbage[..], &garbage[..40], b""] {
            let damaged = whole.copy();
            fs::write(damaged.dir.path().join("db").join(&name), bytes).unwrap();
            let lost = damaged.check(&format!("{name} is {} bytes of garbage", bytes.len()));
            assert_eq!(lost > 0, name == "db", "{name}");
        }
    }
}

#[test]
fn what_is_no_database_at_all_is_set_aside() {
    let whole = written();
    let db = whole.dir.path().join("db");
    fs::remove_dir_all(&db).unwrap();
    fs::write(&db, "a file").unwrap();
    assert_eq!(whole.check("a file in its place"), RECORDS as usize);
    assert_eq!(fs::read(whole.dir.path().join("db.damaged-1")).unwrap(), b"a file");

    let whole = written();
    fs::remove_dir_all(whole.dir.path().join("db")).unwrap();
    assert_eq!(whole.check("removed"), RECORDS as usize);
}

#[test]
fn checkpoints_are_salvaged_and_removed_ones_stay_removed() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    let large = vec![7; 20_000];
    let checkpoints = opened.store.checkpoints();
    checkpoints.put("old", b"1").unwrap();
    checkpoints.put("large", &large).unwrap();
    checkpoints.put("old", b"2").unwrap();
    checkpoints.put("gone", b"3").unwrap();
    checkpoints.remove("gone").unwrap();
    fill(&mut opened.store.journal(), 10);
    opened.store.close();
    fs::write(dir.path().join("db/conf"), "segment_size: x").unwrap();

    let opened = open(dir.path());
    assert_eq!(opened.conditions.len(), 1, "{:?}", opened.conditions);
    let checkpoints = opened.store.checkpoints();
    assert_eq!(checkpoints.get("old").as_deref(), Some(b"2".as_slice()));
    assert_eq!(checkpoints.get("large"), Some(large));
    assert_eq!(checkpoints.get("gone"), None);
}

#[test]
fn a_database_that_never_finished_opening_is_not_opened_again() {
    let whole = written();
    fs::write(whole.dir.path().join("opening"), [3]).unwrap();
    assert_eq!(whole.check("three openings died"), 0);
    assert!(whole.dir.path().join("db.damaged-1").exists());
}

#[test]
fn a_gap_that_was_not_told_is_told_by_the_next_run() {
    let whole = written();
    let mut bytes = fs::read(whole.log()).unwrap();
    bytes.truncate(20_000);
    fs::write(whole.log(), bytes).unwrap();
    let opened = open(whole.dir.path());
    assert_eq!(opened.conditions.len(), 1);
    opened.store.close();

    let mut opened = open(whole.dir.path());
    let mut journal = opened.store.journal();
    let next = journal.append(at(1), audit()).seq;
    wait_durable(&journal.durable(), next);
    assert_eq!(gaps(&replay(&opened.store.reader())).len(), 1);
    assert!(next > RECORDS + SEQ_SKIP);
}

#[test]
fn damage_that_turns_up_while_running_is_salvaged_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path());
    let records = fill(&mut opened.store.journal(), 10_000);
    opened.store.close();
    // A cache too small for the pages, so that they are read again.
    let config = StoreConfig { cache_bytes: 1, ..config() };
    let mut store = Store::open(dir.path(), &config, 1).unwrap().store;
    let (mut journal, reader) = (store.journal(), store.reader());
    let log = dir.path().join("db/db");
    let used = fs::read(&log).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    let hit = vec![0xEE; used / 2];
    std::os::unix::fs::FileExt::write_all_at(&file, &hit, used as u64 / 4).unwrap();

    let failed = reader.replay(1).find_map(Result::err).expect("a page is gone");
    assert!(failed.to_string().contains("does not read"), "{failed}");
    // It is looked after before the next record is durable, and told with the
    // one after that.
    let durable = journal.durable();
    for _ in 0..2 {
        let last = journal.append(at(1), audit()).seq;
        wait(&durable, |now| now.seq >= last && now.failing.is_none());
    }
    assert!(reader.conditions().iter().any(|c| c.name == "store.salvaged"));
    let after = replay(&reader);
    assert!(after.len() > 100 && after.len() < records.len(), "{}", after.len());
    assert_eq!(gaps(&after).len(), 1);
}
