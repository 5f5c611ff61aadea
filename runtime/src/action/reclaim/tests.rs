//! Room is made on a real filesystem, and only where it was declared.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use super::*;

const MIB: usize = 1 << 20;

struct Shelf {
    folder: tempfile::TempDir,
    now: SystemTime,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("logs")).unwrap();
        Self { folder, now: SystemTime::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("logs").join(name)
    }

    /// A file last written to so many hours ago.
    fn file(&self, name: &str, bytes: usize, hours: u64) -> &Self {
        let mut file = File::create(self.path(name)).unwrap();
        file.write_all(&vec![b'x'; bytes]).unwrap();
        file.set_modified(self.now - Duration::from_secs(hours * 3600)).unwrap();
        self
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path().join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn config(&self) -> ReclaimConfig {
        ReclaimConfig {
            name: "logs".into(),
            dir: self.folder.path().join("logs"),
            evict: None,
            keep: 0,
            older_than_ms: 0,
            until_free_bytes: None,
            trim: None,
            trim_to_bytes: 0,
        }
    }

    fn reclaim(&self, config: &ReclaimConfig) -> Reclaimed {
        let mut reclaimed = Reclaimed::default();
        reclaimed.take(config, self.now);
        reclaimed
    }
}

#[test]
fn a_pattern_stands_for_whole_names() {
    for (pattern, name, fits) in [
        ("*.gz", "app.log.1.gz", true),
        ("*.gz", "app.gz.part", false),
        ("app.log.*", "app.log.1", true),
        ("app.log.*", "app.log", false),
        ("app*log*", "app-2.log.1", true),
        ("app.log", "app.log", true),
        ("app.log", "app.log.1", false),
        ("a*a", "a", false),
        ("*", "anything", true),
    ] {
        assert_eq!(matches(pattern, name), fits, "{pattern} and {name}");
    }
}

#[test]
fn the_oldest_go_first_and_the_newest_and_the_young_stay() {
    let shelf = Shelf::new();
    for (name, hours) in [("a.gz", 9), ("b.gz", 7), ("c.gz", 5), ("d.gz", 1), ("now.log", 9)] {
        shelf.file(name, 8192, hours);
    }
    let config = ReclaimConfig {
        evict: Some("*.gz".into()),
        keep: 1,
        older_than_ms: 6 * 3_600_000,
        ..shelf.config()
    };
    let reclaimed = shelf.reclaim(&config);
    assert_eq!((reclaimed.removed, reclaimed.bytes), (2, 16_384));
    assert_eq!(shelf.names(), ["c.gz", "d.gz", "now.log"]);
    let again = shelf.reclaim(&config).outcome();
    assert!(matches!(again, Outcome::Failed { .. }), "nothing is left to go: {again:?}");
}

#[test]
fn no_more_goes_than_is_wanted() {
    let shelf = Shelf::new();
    shelf.file("a.gz", 8192, 9);
    let config =
        ReclaimConfig { evict: Some("*".into()), until_free_bytes: Some(1), ..shelf.config() };
    assert_eq!(shelf.reclaim(&config), Reclaimed::default());
    assert_eq!(shelf.names(), ["a.gz"]);
}

#[test]
fn a_file_that_is_written_to_loses_its_beginning_and_its_writer_goes_on() {
    let shelf = Shelf::new();
    let mut writer =
        OpenOptions::new().create(true).append(true).open(shelf.path("app.log")).unwrap();
    writer.write_all(&vec![b'a'; 3 * MIB]).unwrap();
    writer.write_all(b"the end").unwrap();
    writer.sync_all().unwrap();
    let config =
        ReclaimConfig { trim: Some("*.log".into()), trim_to_bytes: MIB as u64, ..shelf.config() };
    let reclaimed = shelf.reclaim(&config);
    if reclaimed.trouble.iter().any(|why| why.contains("cuts no beginnings off")) {
        eprintln!("SKIPPED: the filesystem of the temporary folder has no holes");
        return;
    }
    assert_eq!(reclaimed.trimmed, 1, "{reclaimed:?}");
    writer.write_all(b", and after").unwrap();
    let text = fs::read(shelf.path("app.log")).unwrap();
    assert_eq!(text.len(), 3 * MIB + 18);
    assert!(text.ends_with(b"athe end, and after") && text.starts_with(b"\0\0\0\0"));
    let blocks = fs::metadata(shelf.path("app.log")).unwrap().blocks();
    assert!(blocks * 512 < 2 * MIB as u64, "{blocks} blocks are left");
    assert_eq!(shelf.reclaim(&config).trimmed, 0, "it is cut already");
}

#[test]
fn what_lies_elsewhere_is_not_reached_through_the_folder() {
    let shelf = Shelf::new();
    let treasure = shelf.folder.path().join("treasure");
    fs::write(&treasure, vec![b't'; MIB]).unwrap();
    symlink(&treasure, shelf.path("link.log")).unwrap();
    fs::hard_link(&treasure, shelf.path("hard.log")).unwrap();
    fs::create_dir(shelf.path("folder.log")).unwrap();
    let config = ReclaimConfig { trim: Some("*".into()), ..shelf.config() };
    let cut = shelf.reclaim(&config);
    assert_eq!(cut.trimmed, 0);
    assert!(cut.trouble[0].contains("another name"), "{cut:?}");
    let config = ReclaimConfig { evict: Some("*".into()), ..shelf.config() };
    shelf.reclaim(&config);
    assert_eq!(shelf.names(), ["folder.log", "link.log"]);
    assert_eq!(fs::read(&treasure).unwrap(), vec![b't'; MIB]);

    let link = shelf.folder.path().join("way-in");
    symlink(shelf.folder.path().join("logs"), &link).unwrap();
    let reclaimed = shelf.reclaim(&ReclaimConfig { dir: link, ..config });
    assert!(reclaimed.trouble[0].contains("way-in"), "{reclaimed:?}");
}

#[test]
fn no_part_of_the_way_to_a_folder_leads_elsewhere() {
    let shelf = Shelf::new();
    shelf.file("old.log", 10, 100);
    // Who owns `app` would have root remove what is not its own.
    let app = shelf.folder.path().join("app");
    symlink(shelf.folder.path(), &app).unwrap();
    let config = ReclaimConfig { evict: Some("*.log".into()), ..shelf.config() };
    let reclaimed = shelf.reclaim(&ReclaimConfig { dir: app.join("logs"), ..config.clone() });
    assert!(reclaimed.trouble[0].contains("symbolic link; name where it"), "{reclaimed:?}");
    assert_eq!(shelf.names(), ["old.log"]);

    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    assert!(walked(&app.join("logs"), flags).is_err(), "an old kernel's way");
    assert!(walked(&config.dir, flags).is_ok());
}

#[test]
fn a_folder_that_is_not_there_is_told() {
    let shelf = Shelf::new();
    let config =
        ReclaimConfig { dir: "/nowhere/logs".into(), evict: Some("*".into()), ..shelf.config() };
    let Outcome::Failed { detail } = shelf.reclaim(&config).outcome() else {
        panic!("nothing was freed");
    };
    assert!(detail.contains("/nowhere/logs: No such file"), "{detail}");
}
