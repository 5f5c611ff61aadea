use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use super::*;
use crate::config::LogStart;
use crate::model::TargetId;
use crate::source::line::{LINE_BYTES_MAX, LINES_PER_SECOND};

struct Story {
    dir: tempfile::TempDir,
    tail: Tail,
    age_ms: u64,
}

impl Story {
    fn new(from: LogStart, before: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        let target = TargetId::workload("m");
        let tail = Tail::new(&LogConfig { name: "app".into(), path, target, from });
        Self { dir, tail, age_ms: 1000 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let file = File::options().append(true).create(true).open(self.path(name));
        file.unwrap().write_all(text.as_ref()).unwrap();
    }

    /// All that is there, however many looks it takes.
    fn lines(&mut self) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            let mut some = Vec::new();
            let more = self.tail.look(self.age_ms, &mut some);
            lines.append(&mut some);
            if !more.unwrap_or(false) {
                return lines;
            }
        }
    }

    fn texts(&mut self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.text).collect()
    }
}

#[test]
fn a_file_is_followed_from_its_end_line_by_line() {
    let mut story = Story::new(LogStart::End, Some("old\nbegun bef"));
    assert!(story.texts().is_empty());
    story.write("app.log", "ore\nwhole\npart");
    let lines = story.lines();
    let told: Vec<_> =
        lines.iter().map(|it| (it.target.as_str(), &*it.source, &*it.text)).collect();
    assert_eq!(told, [("workload:m", "app", "begun before"), ("workload:m", "app", "whole")]);
    assert_eq!((lines[0].age_ms, lines[0].priority), (1000, 6));
    story.write("app.log", "ly\r\n");
    assert_eq!(story.texts(), ["partly"]);
}

#[test]
fn what_is_no_utf8_is_replaced_and_a_line_without_end_is_cut() {
    let mut story = Story::new(LogStart::Start, Some("first\n"));
    story.write("app.log", b"\xff bad\n");
    story.write("app.log", vec![b'x'; 5 * LINE_BYTES_MAX]);
    assert_eq!(story.texts(), ["first", "\u{fffd} bad"]);
    story.write("app.log", "tail\nnext\n");
    let texts = story.texts();
    assert_eq!((texts[0].len(), texts[1].as_str()), (LINE_BYTES_MAX + "…".len(), "next"));
}

#[test]
fn a_file_that_comes_later_is_read_from_its_start() {
    let mut story = Story::new(LogStart::End, None);
    let mut lines = Vec::new();
    let error = story.tail.look(0, &mut lines).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    story.write("app.log", "one\n");
    assert_eq!(story.texts(), ["one"]);
}

#[test]
fn a_file_that_could_not_be_opened_at_first_is_followed_from_its_end() {
    let mut story = Story::new(LogStart::End, None);
    // A folder stands in for what may not be read: root may read anything.
    fs::create_dir(story.path("app.log")).unwrap();
    assert!(story.tail.look(0, &mut Vec::new()).is_err());
    fs::remove_dir(story.path("app.log")).unwrap();
    story.write("app.log", "old\n");
    assert!(story.texts().is_empty());
    story.write("app.log", "new\n");
    assert_eq!(story.texts(), ["new"]);
}

#[test]
fn a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_start() {
    let mut story = Story::new(LogStart::End, Some(""));
    assert!(story.texts().is_empty());
    story.write("app.log", "one\n");
    fs::rename(story.path("app.log"), story.path("app.log.1")).unwrap();
    // Nobody has made a new one yet.
    assert_eq!(story.texts(), ["one"]);
    story.write("app.log.1", "two\n");
    assert_eq!(story.texts(), ["two"]);

    story.write("app.log", "four\n");
    // The writer has not heard yet.
    story.write("app.log.1", "three\nfive, cut");
    story.age_ms += 1000;
    let mut texts = story.texts();
    texts.extend(story.texts());
    assert_eq!(texts, ["four", "three"]);
    // When it is quiet the old one is let go, its last line as it is.
    story.age_ms += 11_000;
    assert_eq!(story.texts(), ["five, cut"]);
    story.write("app.log.1", " off\nnobody reads this\n");
    story.write("app.log", "six\n");
    assert_eq!(story.texts(), ["six"]);
}

#[test]
fn a_rotation_soon_after_another_loses_nothing() {
    let mut story = Story::new(LogStart::End, Some(""));
    assert!(story.texts().is_empty());
    let mut texts = Vec::new();
    for round in 0..5 {
        story.write("app.log", format!("{round}\n"));
        texts.extend(story.texts());
        fs::rename(story.path("app.log"), story.path(&format!("app.log.{round}"))).unwrap();
        story.write("app.log", format!("{round} more\n"));
        texts.extend(story.texts());
    }
    let wanted: Vec<_> = (0..5).flat_map(|it| [format!("{it}"), format!("{it} more")]).collect();
    assert_eq!(texts, wanted);
}

#[test]
fn a_file_that_is_emptied_is_read_from_its_start() {
    let mut story = Story::new(LogStart::End, Some("a long line before\n"));
    assert!(story.texts().is_empty());
    story.write("app.log", "part");
    assert!(story.texts().is_empty());
    File::options().write(true).truncate(true).open(story.path("app.log")).unwrap();
    story.write("app.log", "one\n");
    assert_eq!(story.texts(), ["one"], "the part of a line that is gone is not put before it");
}

#[test]
fn a_flood_is_cut_per_second_and_counted() {
    let mut story = Story::new(LogStart::End, Some(""));
    story.texts();
    story.write("app.log", "x\n".repeat(LINES_PER_SECOND as usize + 10));
    assert_eq!(story.texts().len(), LINES_PER_SECOND as usize);
    story.age_ms += 1000;
    story.write("app.log", "after\n");
    let told = "homeostat: 10 lines were cut: more than 500 came in one second";
    assert_eq!(story.texts(), [told, "after"]);
}

#[test]
fn what_was_there_at_the_start_is_read_whole_at_a_pace() {
    let before: String = (0..3000).map(|number| format!("line {number}\n")).collect();
    let mut story = Story::new(LogStart::Start, Some(&before));
    let mut texts = Vec::new();
    let mut seconds = 0;
    while texts.len() < 3000 {
        let some = story.texts();
        // A chunk more than a second's worth at most.
        assert!((1..2500).contains(&some.len()), "{}", some.len());
        texts.extend(some);
        story.age_ms += 1000;
        seconds += 1;
    }
    assert!(seconds > 1);
    assert!(story.texts().is_empty());
    assert_eq!((texts[0].as_str(), texts[2999].as_str()), ("line 0", "line 2999"));
    story.write("app.log", "x\n".repeat(LINES_PER_SECOND as usize + 10));
    story.texts();
    story.age_ms += 1000;
    assert!(story.texts()[0].contains("lines were cut"), "from here on a flood is one");
}

#[test]
fn who_is_too_far_behind_skips_ahead_and_says_so() {
    let mut story = Story::new(LogStart::End, Some(""));
    story.texts();
    story.write("app.log", vec![b'x'; 9 * 1024 * 1024]);
    story.write("app.log", "\nlast\n");
    let texts = story.texts();
    assert_eq!(texts[0], "homeostat: 9371654 bytes were skipped, to catch up");
    assert_eq!(texts.last().unwrap(), "last");
}

#[test]
fn what_is_no_regular_file_is_refused_and_not_waited_for() {
    let mut story = Story::new(LogStart::Start, None);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, story.path("app.log"), mode).unwrap();
    let error = story.tail.look(0, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("no regular file"), "{error}");
}
