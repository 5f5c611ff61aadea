use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::*;
use crate::clock::{Clock, SavedClock};
use crate::source::SourceEvent;
use crate::source::halt::Halt;
use crate::source::line::LINES_PER_SECOND;
use crate::source::outlet::Outlet;

const DEADLINE: Duration = Duration::from_secs(30);
const NOW: Now = Now { age_ms: 100_000, uptime_us: 50_000_000 };

fn texts(records: &Records) -> Vec<&str> {
    records.lines.iter().map(|line| line.text.as_str()).collect()
}

/// As if the ring's past had been read up to `last`.
fn begun(last: u64) -> Records {
    Records { last: Some(last), begun: true, ..Records::default() }
}

#[test]
fn a_record_has_a_severity_an_age_and_a_text_without_its_properties() {
    let mut records = Records::default();
    let text = b"30,7,49000000,-,caller=T1;eth0: \\x1b[1mup\\x5c caf\\xc3\\xa9 \\xzz\n SUBSYSTEM=net\n DEVICE=n2\n";
    records.take(text, NOW);
    let [line] = &records.lines[..] else { panic!("{:?}", records.lines) };
    assert_eq!((line.target.as_str(), line.source.as_str()), ("box", "kmsg"));
    assert_eq!((line.priority, line.age_ms), (6, 99_000));
    assert_eq!(line.text, "eth0: \u{1b}[1mup\\ café \\xzz");
}

#[test]
fn a_fragment_goes_on_with_the_line_before_it_and_only_with_that() {
    let mut records = Records::default();
    records.take(b"6,1,1,-;one\n6,2,1,c; and more\n6,3,1,-;two\n", NOW);
    records.take(b"6,5,1,c;not of two\n", NOW);
    assert_eq!(texts(&records)[..2], ["one and more", "two"]);
    assert_eq!(texts(&records).last(), Some(&"not of two"));
}

#[test]
fn what_the_kernel_would_not_write_is_no_line() {
    let mut records = Records::default();
    for text in [";\n", "\n", "6,1;x\n", "a,1,1,-;x\n", "6,1,1,-\n", " KEY=6,1,1,-;x\n"] {
        records.take(text.as_bytes(), NOW);
    }
    assert_eq!(texts(&records), Vec::<&str>::new());
    records.take(b"6,1,1,-;cut he", NOW);
    assert_eq!(texts(&records), Vec::<&str>::new());
    records.take(b"re\n", NOW);
    assert_eq!(texts(&records), ["cut here"]);
    // Of the future, by a clock that drifts: now.
    records.take(b"6,2,99000000,-;x\n", NOW);
    assert_eq!(records.lines[1].age_ms, NOW.age_ms);
}

#[test]
fn what_was_read_before_is_passed_over_and_a_gap_is_told() {
    let mut records = Records { last: Some(7), ..Records::default() };
    records.take(b"6,6,1,-;old\n6,7,1,-;old\n6,8,1,-;new\n", NOW);
    assert_eq!(texts(&records), ["new"]);

    records.lines.clear();
    records.begun = true;
    records.overwritten = true;
    records.take(b"4,20,1,-;newest\n", NOW);
    let gap = "homeostat: 11 kernel messages were overwritten before they could be read";
    assert_eq!(texts(&records), [gap, "newest"]);

    // The daemon was away for longer than the ring holds.
    let mut records = Records { last: Some(7), ..Records::default() };
    records.take(b"6,10,1,-;x\n", NOW);
    assert!(texts(&records)[0].contains("2 kernel messages"), "{:?}", records.lines);
}

#[test]
fn a_flood_is_cut_and_counted_but_never_what_the_ring_held_at_the_start() {
    let many = |from: u64| (from..from + 600).map(|seq| format!("6,{seq},1,-;x\n"));
    let mut records = Records::default();
    many(1).for_each(|record| records.take(record.as_bytes(), NOW));
    assert_eq!(records.lines.len(), 600);

    let mut records = begun(0);
    many(1).for_each(|record| records.take(record.as_bytes(), NOW));
    assert_eq!(records.lines.len(), LINES_PER_SECOND as usize);
    records.lines.clear();
    records.say_what_was_cut(NOW.age_ms + 1000);
    assert!(texts(&records)[0].contains("100 lines were cut"), "{:?}", records.lines);
}

/// The thread at work on a pretend device.
struct Story {
    dir: tempfile::TempDir,
    halt: Arc<Halt>,
    events: mpsc::Receiver<SourceEvent>,
    alive: watch::Sender<bool>,
}

impl Story {
    fn start(dir: tempfile::TempDir, path: &Path, room: usize) -> Self {
        let config = KmsgConfig { path: path.to_owned(), place: dir.path().join("place") };
        let halt = Arc::new(Halt::new().unwrap());
        let (sender, events) = mpsc::channel(room);
        let (alive, stopped) = watch::channel(false);
        let around = Around {
            clock: Clock::resume(SavedClock::default(), "this boot", 0),
            outlet: Outlet::new(sender),
            halt: halt.clone(),
            alive: stopped,
        };
        Kmsg::new(&config).start(around).unwrap();
        Self { dir, halt, events, alive }
    }

    fn until(&mut self, wanted: &str) -> Vec<String> {
        let (began, mut seen) = (Instant::now(), Vec::new());
        while !seen.iter().any(|text| text == wanted) {
            match self.events.try_recv() {
                Ok(SourceEvent::Lines(lines)) => seen.extend(lines.into_iter().map(|it| it.text)),
                Ok(_) => {}
                Err(_) => std::thread::yield_now(),
            }
            assert!(began.elapsed() < DEADLINE, "no {wanted:?} in {seen:?}");
        }
        seen
    }

    /// Ends the thread, and waits for it.
    fn end(self) -> tempfile::TempDir {
        self.halt.end();
        let began = Instant::now();
        while self.alive.receiver_count() > 0 {
            assert!(began.elapsed() < DEADLINE, "its thread goes on");
            std::thread::yield_now();
        }
        self.dir
    }
}

fn fifo(dir: &tempfile::TempDir) -> PathBuf {
    let path = dir.path().join("kmsg");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
    path
}

/// Its writer, who is a reader too, so that what is written waits for the next.
fn device(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

#[test]
fn a_device_is_followed_and_the_next_daemon_goes_on_where_the_last_one_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(&dir);
    let mut story = Story::start(dir, &path, 8);
    let mut device = device(&path);
    device.write_all(b"6,1,1,-;one\n").unwrap();
    assert_eq!(story.until("one"), ["one"]);
    device.write_all(b"6,2,1,-;two\n").unwrap();
    assert_eq!(story.until("two"), ["two"]);

    let dir = story.end();
    let mut story = Story::start(dir, &path, 8);
    device.write_all(b"6,1,1,-;one\n6,2,1,-;two\n6,3,1,-;three\n").unwrap();
    assert_eq!(story.until("three"), ["three"]);
    story.end();
}

#[test]
fn a_place_of_another_boot_counts_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(&dir);
    std::fs::write(dir.path().join("place"), "another-boot 7\n").unwrap();
    let mut story = Story::start(dir, &path, 8);
    let mut device = device(&path);
    device.write_all(b"6,1,1,-;one\n").unwrap();
    assert_eq!(story.until("one"), ["one"]);
    story.end();
}

#[test]
fn without_room_or_a_device_its_thread_can_still_be_ended() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(&dir);
    let story = Story::start(dir, &path, 1);
    let mut device = device(&path);
    for seq in 1..=3 {
        device.write_all(format!("6,{seq},1,-;x\n").as_bytes()).unwrap();
    }
    drop(story.end());

    let dir = tempfile::tempdir().unwrap();
    Story::start(dir, Path::new("/no/such/device"), 1).end();
}

#[test]
fn another_device_in_its_place_is_not_read() {
    for path in ["/dev/null", "/dev/zero"] {
        let error = open(Path::new(path)).unwrap_err().to_string();
        assert_eq!(error, "it is a device, and not the kernel's messages");
    }
}

#[test]
fn this_machines_kernel_is_heard() {
    let mine = format!("homeostat test {}", std::process::id());
    let device = File::options().write(true).open("/dev/kmsg");
    if device.and_then(|mut it| it.write_all(format!("<12>{mine}\n").as_bytes())).is_err() {
        eprintln!("SKIPPED: /dev/kmsg cannot be written here");
        return;
    }
    if open(Path::new("/dev/kmsg")).and_then(|mut it| it.read(&mut [0; RECORD_BYTES_MAX])).is_err()
    {
        eprintln!("SKIPPED: /dev/kmsg cannot be read here");
        return;
    }
    let mut story = Story::start(tempfile::tempdir().unwrap(), Path::new("/dev/kmsg"), 1024);
    story.until(&mine);
    story.end();
}
