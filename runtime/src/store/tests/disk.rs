//! A disk that refuses: full, read-only, gone. On a real tmpfs, so as root.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::store::StoreError;

struct Disk {
    dir: tempfile::TempDir,
    /// The file behind a loop device.
    _image: Option<tempfile::NamedTempFile>,
}

impl Disk {
    /// None, said loudly, where mounting is not permitted.
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        if !run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], dir.path()) {
            eprintln!("SKIPPED: a tmpfs cannot be mounted here, so this disk was not tried");
            return None;
        }
        Some(Self { dir, _image: None })
    }

    /// An ext4 of its own, which can be frozen and made to fail.
    fn mount_ext4() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(32 << 20).unwrap();
        let file = image.path().to_str().unwrap().to_owned();
        let made = run("mkfs.ext4", &["-q", "-F"], image.path())
            && run("mount", &["-o", "loop", &file], dir.path());
        if !made {
            eprintln!("SKIPPED: no ext4 on a loop device here, so this disk was not tried");
            return None;
        }
        Some(Self { dir, _image: Some(image) })
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn remount(&self, mode: &str) {
        assert!(run("mount", &["-o", &format!("remount,{mode}")], self.dir.path()));
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.dir.path().join("filler"))
            .unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.dir.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l"], self.dir.path());
    }
}

fn run(command: &str, arguments: &[&str], path: &Path) -> bool {
    let status = Command::new(command).args(arguments).arg(path).status();
    status.is_ok_and(|status| status.success())
}

fn names(opened: &Opened) -> Vec<String> {
    opened.conditions.iter().map(|condition| condition.name.clone()).collect()
}

#[test]
fn a_full_disk_keeps_audit_in_the_reserve_then_in_memory_and_recovers_by_itself() {
    let Some(disk) = Disk::mount("6m") else { return };
    let small = StoreConfig { max_bytes: 4 << 20, ..config() };
    let mut store = Store::open(&disk.state(), &small, 1).unwrap().store;
    let (mut journal, reader) = (store.journal(), store.reader());
    let durable = journal.durable();
    fill(&mut journal, 50);
    assert!(disk.state().join("reserve").exists());
    disk.fill();

    // Into the reserve: durable all the same, telemetry apart.
    let first = journal.append(at(0), large_audit()).seq;
    wait_durable(&durable, first);
    let mut last;
    while disk.state().join("reserve").exists() {
        journal.append(at(0), telemetry("x"));
        last = journal.append(at(0), large_audit()).seq;
        wait_durable(&durable, last);
    }
    let unwritten = journal.append(at(0), telemetry("x")).seq;
    last = journal.append(at(0), audit()).seq;
    wait_durable(&durable, last);
    let conditions: Vec<_> = reader.conditions().into_iter().map(|c| c.name).collect();
    assert_eq!(conditions, ["store.low-space"]);

    // Into memory, once that is used up too.
    let failing = loop {
        disk.fill();
        last = journal.append(at(0), large_audit()).seq;
        if let Some(why) = wait(&durable, |now| now.seq >= last || now.failing.is_some()).failing {
            break why;
        }
        assert!(last < 50_000, "the disk never filled");
    };
    assert!(failing.contains("free some space"), "{failing}");
    assert_eq!(reader.last().unwrap().seq, last);

    disk.free();
    wait(&durable, |now| now.seq >= last && now.failing.is_none());
    store.close();
    let opened = Store::open(&disk.state(), &small, 1).unwrap();
    assert!(!names(&opened).contains(&"store.salvaged".to_owned()), "{:?}", opened.conditions);
    let records = replay(&opened.store.reader());
    let kept = records.iter().filter(|r| matches!(r.event, Event::PluginRefused { .. }));
    let kept: Vec<_> = kept.map(|record| record.seq).collect();
    assert_eq!((kept.first(), kept.last()), (Some(&first), Some(&last)));
    assert!(records.iter().all(|record| record.seq != unwritten), "it was only telemetry");
}

fn large_audit() -> Event {
    Event::PluginRefused { plugin: "p".into(), why: "w".repeat(2_000) }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_waited_for() {
    let Some(disk) = Disk::mount("2m") else { return };
    fs::create_dir(disk.state()).unwrap();
    disk.fill();
    let mut opened = open(&disk.state());
    assert_eq!(names(&opened), ["store.failing"]);
    let mut journal = opened.store.journal();
    let seq = journal.append(at(1), audit()).seq;
    assert_eq!(replay(&opened.store.reader()).len(), 1);
    let durable = journal.durable();
    assert_eq!(durable.borrow().seq, 0);
    disk.free();
    assert_eq!(wait_durable(&durable, seq).failing, None);
}

#[test]
fn a_tiny_disk_is_enough_to_begin_with() {
    let Some(disk) = Disk::mount("1m") else { return };
    let mut opened = open(&disk.state());
    assert_eq!(names(&opened), ["store.low-space"]);
    fill(&mut opened.store.journal(), 100);
}

#[test]
fn a_read_only_disk_is_read_says_so_and_is_used_again_once_it_can_be() {
    let Some(disk) = Disk::mount("16m") else { return };
    let mut opened = open(&disk.state());
    let written = fill(&mut opened.store.journal(), 200);
    opened.store.checkpoints().put("liveness", b"state").unwrap();
    opened.store.close();
    disk.remount("ro");

    let mut opened = open(&disk.state());
    assert_eq!(names(&opened), ["store.failing"]);
    let reader = opened.store.reader();
    assert_eq!(replay(&reader), written);
    assert_eq!(reader.incident(IncidentId(101)).unwrap().len(), 3);
    assert_eq!(reader.latest(2), written[198..]);
    assert_eq!(opened.store.checkpoints().get("liveness").as_deref(), Some(b"state".as_slice()));
    assert!(opened.store.checkpoints().put("liveness", b"new").is_err());
    let mut journal = opened.store.journal();
    let record = journal.append(at(1), audit());
    assert_eq!(record.seq, 201);
    assert_eq!(reader.last(), Some(record));
    let durable = journal.durable();
    let failing = durable.borrow().clone();
    assert_eq!(failing.seq, 200);
    assert!(failing.failing.unwrap().contains("mount it for writing"));

    disk.remount("rw");
    assert_eq!(wait_durable(&durable, 201).failing, None);
    assert_eq!(reader.conditions(), []);
    assert_eq!(replay(&reader).len(), 201);
}

#[test]
fn a_filesystem_that_fails_while_running_is_survived() {
    let Some(disk) = Disk::mount_ext4() else { return };
    let mut store = open(&disk.state()).store;
    let (mut journal, reader) = (store.journal(), store.reader());
    let written = fill(&mut journal, 50);
    let durable = journal.durable();
    // As the kernel does with an ext4 that it finds broken: no write any more.
    assert!(run("mount", &["-o", "remount,abort"], disk.dir.path()));
    let seq = journal.append(at(1), audit()).seq;
    let failing = wait(&durable, |now| now.failing.is_some());
    assert_eq!(failing.seq, 50);
    assert_eq!(reader.last().unwrap().seq, seq);
    assert_eq!(reader.replay(1).take(50).map(|r| r.unwrap()).collect::<Vec<_>>(), written);
}

#[test]
fn a_disk_that_does_not_answer_is_told_and_waited_for() {
    let Some(disk) = Disk::mount_ext4() else { return };
    let mut store = open(&disk.state()).store;
    let mut journal = store.journal();
    fill(&mut journal, 50);
    let durable = journal.durable();
    assert!(run("fsfreeze", &["--freeze"], disk.dir.path()));
    let seq = journal.append(at(1), audit()).seq;
    let stalled = wait(&durable, |now| now.failing.is_some());
    assert!(run("fsfreeze", &["--unfreeze"], disk.dir.path()));
    assert!(stalled.failing.unwrap().contains("not answered"));
    wait(&durable, |now| now.seq >= seq && now.failing.is_none());
}

#[test]
fn a_damaged_database_on_a_read_only_disk_is_read_and_salvaged_later() {
    let Some(disk) = Disk::mount("16m") else { return };
    let mut opened = open(&disk.state());
    fill(&mut opened.store.journal(), 200);
    opened.store.close();
    let log = disk.state().join("db/db");
    let mut bytes = fs::read(&log).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 3..used * 2 / 3].fill(0xAA);
    fs::write(&log, bytes).unwrap();
    disk.remount("ro");

    let mut opened = open(&disk.state());
    assert_eq!(names(&opened), ["store.failing"]);
    let reader = opened.store.reader();
    let read = replay(&reader).len();
    assert!(read > 20 && read < 200, "{read}");
    let mut journal = opened.store.journal();
    let seq = journal.append(at(1), audit()).seq;
    assert!(seq > 1_000_000);
    disk.remount("rw");
    wait_durable(&journal.durable(), seq);
    let next = journal.append(at(2), audit()).seq;
    wait_durable(&journal.durable(), next);
    assert_eq!(gaps(&replay(&reader)).len(), 1);
    assert_eq!(replay(&reader).len(), read + 3);
}

#[test]
fn a_folder_that_cannot_be_made_is_a_clear_error() {
    let Some(disk) = Disk::mount("1m") else { return };
    disk.remount("ro");
    let error = Store::open(&disk.state(), &config(), 1).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }));
    let text = error.to_string();
    assert!(text.contains("state") && text.contains("wanted") && text.contains("found"), "{text}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(Store::open(&file, &config(), 1), Err(StoreError::Directory { .. })));
}
