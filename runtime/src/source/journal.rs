//! The journal of systemd, followed through `journalctl`: it knows every format
//! that journals have had, and a static daemon links with no library of theirs.
//!
//! ```text
//!   start ─▶ journalctl --follow, from now ──its end──▶ pause ─▶ again, behind the
//!                                                                last cursor seen
//! ```
//!
//! Invariant: a line is passed on once, also across an end of `journalctl`. What
//! was written while the daemon was down is not read. The program ends with its
//! thread; killed with the daemon, it ends at the next line that it cannot write.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use serde::Deserialize;

use super::halt::Woken;
use super::line::{Around, Flood, INFORMATION, LINES_PER_EVENT, cut_text, remark, text};
use super::outlet::Open;
use super::read::Said;
use crate::config::JournalConfig;
use crate::model::Line;
use crate::program::PATH;

/// Between an end of `journalctl` and the next start, doubling.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A longer entry is passed over: journald itself keeps lines under 48 KiB.
const ENTRY_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Journal {
    config: JournalConfig,
    cursor: Option<String>,
    said: Said,
    flood: Flood,
    lines: Vec<Line>,
    pause: Duration,
}

impl Journal {
    pub(super) fn new(config: &JournalConfig) -> Self {
        Self {
            said: Said::new(format!("journal {}", config.name)),
            config: config.clone(),
            cursor: None,
            flood: Flood::default(),
            lines: Vec::new(),
            pause: PAUSE,
        }
    }

    pub(super) fn start(mut self, around: Around) -> io::Result<()> {
        std::thread::Builder::new().name("source-journal".into()).spawn(move || {
            self.run(&around);
            drop(around.alive);
        })?;
        Ok(())
    }

    fn run(&mut self, around: &Around) {
        loop {
            let followed = self.follow(around);
            let why = match followed {
                Ok(Open::No) => return,
                Ok(Open::Yes) => "journalctl has ended".to_owned(),
                Err(error) => format!("{}: {error}", self.config.program.display()),
            };
            self.said.note(Err::<(), _>(why));
            if around.halt.pause(self.pause) == Woken::Ended {
                return;
            }
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.config.program);
        command.args(["--follow", "--output=json", "--no-pager", "--quiet", "--all"]);
        command.arg("--output-fields=MESSAGE,PRIORITY");
        match &self.cursor {
            Some(cursor) => command.arg(format!("--after-cursor={cursor}")).arg("--lines=all"),
            None => command.arg("--lines=0"),
        };
        command.args(self.config.units.iter().map(|unit| format!("--unit={unit}")));
        command.args(self.config.dir.iter().map(|dir| format!("--directory={}", dir.display())));
        command.env_clear().env("PATH", PATH).env("LANG", "C").current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    /// Until it ends, or nobody listens.
    fn follow(&mut self, around: &Around) -> io::Result<Open> {
        let mut running = Running(self.command().spawn()?);
        let Some(mut out) = running.0.stdout.take() else { return Ok(Open::Yes) };
        fcntl_setfl(&out, fcntl_getfl(&out)? | OFlags::NONBLOCK)?;
        let mut entries = Entries::default();
        loop {
            let more = self.read(&mut out, &mut entries, around)?;
            if around.tell(&mut self.lines) == Open::No {
                return Ok(Open::No);
            }
            let until_said = self.flood.is_cutting().then_some(Duration::from_secs(1));
            let woken = match more {
                More::Yes => around.halt.pause(Duration::ZERO),
                More::Dry => around.halt.until_readable(&out, until_said),
                More::No => {
                    // A cursor that it cannot find any more would be asked for for ever.
                    if running.0.wait()?.code().is_some_and(|code| code != 0) {
                        self.cursor = None;
                    }
                    return Ok(Open::Yes);
                }
            };
            if woken == Woken::Ended {
                return Ok(Open::No);
            }
        }
    }

    fn read(
        &mut self,
        out: &mut ChildStdout,
        entries: &mut Entries,
        around: &Around,
    ) -> io::Result<More> {
        let now_age_ms = around.clock.age_ms();
        if let Some(count) = self.flood.over(now_age_ms) {
            self.say(now_age_ms, cut_text(count));
        }
        let mut chunk = [0; 16 * 1024];
        while self.lines.len() < LINES_PER_EVENT {
            match out.read(&mut chunk) {
                Ok(0) => return Ok(More::No),
                Ok(len) => {
                    for entry in entries.take(&chunk[..len]) {
                        self.entry(&entry, now_age_ms);
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(More::Dry),
                    _ => return Err(error),
                },
            }
        }
        Ok(More::Yes)
    }

    fn entry(&mut self, json: &[u8], age_ms: u64) {
        let Ok(entry) = serde_json::from_slice::<Entry>(json) else { return };
        self.said.note(Ok::<_, String>(()));
        self.pause = PAUSE;
        self.cursor = entry.cursor.or(self.cursor.take());
        let Some(message) = entry.message.map(Message::bytes) else { return };
        // An entry may be many lines.
        for line in message.split(|byte| *byte == b'\n') {
            if !self.flood.passes(age_ms) {
                continue;
            }
            self.lines.push(Line {
                target: self.config.target.clone(),
                source: self.config.source.clone(),
                age_ms,
                priority: entry
                    .priority
                    .as_deref()
                    .and_then(|it| it.parse().ok())
                    .unwrap_or(INFORMATION),
                text: text(line),
            });
        }
    }

    fn say(&mut self, age_ms: u64, words: String) {
        let line = remark(&self.config.target, &self.config.source, age_ms, words);
        self.lines.push(line);
    }
}

enum More {
    Yes,
    /// Nothing now.
    Dry,
    /// Nothing ever.
    No,
}

/// Ends with whoever reads from it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes as they come, cut into lines of JSON.
#[derive(Debug, Default)]
struct Entries {
    begun: Vec<u8>,
    /// The entry is longer than any may be.
    skipping: bool,
}

impl Entries {
    fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let ended = part.ends_with(b"\n");
            if !self.skipping && self.begun.len() + part.len() <= ENTRY_BYTES_MAX {
                self.begun.extend_from_slice(part);
            } else {
                self.skipping = true;
                self.begun.clear();
            }
            if ended {
                let entry = std::mem::take(&mut self.begun);
                if !std::mem::take(&mut self.skipping) {
                    whole.push(entry);
                }
            }
        }
        whole
    }
}

/// Journal JSON format (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: Option<String>,
    #[serde(rename = "MESSAGE")]
    message: Option<Message>,
    #[serde(rename = "PRIORITY")]
    priority: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Text(String),
    /// What is no UTF-8 comes as numbers.
    Bytes(Vec<u8>),
}

impl Message {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetId;

    fn journal() -> Journal {
        Journal::new(&JournalConfig {
            name: "kernel".into(),
            source: "kernel".into(),
            program: "/nowhere/journalctl".into(),
            units: vec!["a.service".into(), "b.service".into()],
            target: TargetId::the_box(),
            dir: None,
        })
    }

    fn told(journal: &mut Journal, json: &str) -> Vec<(u8, String)> {
        journal.entry(json.as_bytes(), 1_000);
        journal.lines.drain(..).map(|line| (line.priority, line.text)).collect()
    }

    #[test]
    fn an_entry_is_as_many_lines_as_it_has_with_the_priority_it_has() {
        let mut journal = journal();
        for (json, lines) in [
            (r#"{"__CURSOR":"c1","MESSAGE":"one","PRIORITY":"3"}"#, vec![(3, "one")]),
            (r#"{"MESSAGE":"one\ntwo"}"#, vec![(6, "one"), (6, "two")]),
            (r#"{"MESSAGE":[97,255,98],"PRIORITY":"x"}"#, vec![(6, "a\u{fffd}b")]),
            (r#"{"MESSAGE":null}"#, vec![]),
            ("no JSON", vec![]),
        ] {
            let told = told(&mut journal, json);
            let told: Vec<_> = told.iter().map(|(level, text)| (*level, text.as_str())).collect();
            assert_eq!(told, lines, "{json}");
        }
        assert_eq!(journal.cursor.as_deref(), Some("c1"));
    }

    #[test]
    fn it_begins_now_and_goes_on_behind_what_it_has_seen() {
        let words = |journal: &Journal| format!("{:?}", journal.command());
        let mut journal = journal();
        let first = words(&journal);
        assert!(first.contains("--lines=0") && first.contains("--unit=b.service"), "{first}");
        told(&mut journal, r#"{"__CURSOR":"s=1;i=2","MESSAGE":"x"}"#);
        assert!(words(&journal).contains("--after-cursor=s=1;i=2"));
    }

    #[test]
    fn entries_come_in_pieces_and_one_without_an_end_is_passed_over() {
        let mut entries = Entries::default();
        assert!(entries.take(b"{\"a\"").is_empty());
        assert_eq!(entries.take(b":1}\n{}\n{"), [b"{\"a\":1}\n".to_vec(), b"{}\n".to_vec()]);
        for _ in 0..ENTRY_BYTES_MAX / 4096 + 1 {
            assert!(entries.take(&[b'x'; 4096]).is_empty());
        }
        assert_eq!(entries.take(b"x\n{}\n"), [b"{}\n".to_vec()]);
    }

    #[test]
    fn more_than_a_second_holds_is_counted() {
        let mut journal = journal();
        for _ in 0..600 {
            journal.entry(br#"{"MESSAGE":"flood"}"#, 5_000);
        }
        assert_eq!((journal.lines.len(), journal.flood.over(6_000)), (500, Some(100)));
    }
}
