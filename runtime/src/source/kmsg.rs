//! The kernel's own messages, from `/dev/kmsg`.
//!
//! Invariant: what the ring still holds is passed on, and passed on once. What
//! was overwritten before it could be read is said, with how much it was. The
//! place is written down beside the locks, so that a daemon that is started
//! again goes on where the last one ended, within one boot.
//!
//! The format is the kernel's Documentation/ABI/testing/dev-kmsg:
//! `PRIORITY,SEQUENCE,USEC,FLAGS[,…];TEXT`, where bytes outside printable ASCII
//! are `\xNN` and lines that begin with a blank are properties, left out here.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{OFlags, makedev};
use rustix::time::{ClockId, clock_gettime};

use self::place::Place;
use super::halt::Woken;
use super::line::{Around, Flood, LINES_PER_EVENT, cut_text, remark, text};
use super::outlet::Open;
use super::read::{Said, number};
use crate::config::KmsgConfig;
use crate::model::{Line, TargetId};

mod place;

const SOURCE: &str = "kmsg";
/// No record is longer (`CONSOLE_EXT_LOG_MAX`), and a shorter buffer reads none.
const RECORD_BYTES_MAX: usize = 8192;
/// Documentation/admin-guide/devices.txt.
const KMSG_MAJOR: u32 = 1;
const KMSG_MINOR: u32 = 11;
/// What cannot be opened is tried again this often.
const OPEN_PAUSE: Duration = Duration::from_secs(10);
/// What has an end is no kernel's, and is looked at this often.
const END_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Kmsg {
    path: PathBuf,
    place: Place,
    records: Records,
    said: Said,
}

/// How a round of reading ended.
enum Round {
    More,
    /// Nothing is there now.
    Dry,
    /// It has an end, as a file or a FIFO without a writer has.
    End,
}

impl Kmsg {
    pub(super) fn new(config: &KmsgConfig) -> Self {
        Self {
            path: config.path.clone(),
            place: Place::new(config.place.clone()),
            records: Records::default(),
            said: Said::new(config.path.display().to_string()),
        }
    }

    pub(super) fn start(mut self, around: Around) -> io::Result<()> {
        std::thread::Builder::new().name("source-kmsg".into()).spawn(move || {
            self.records.last = self.place.read();
            self.run(&around);
            drop(around.alive);
        })?;
        Ok(())
    }

    fn run(&mut self, around: &Around) {
        loop {
            if let Some(file) = self.said.note(open(&self.path))
                && self.follow(file, around) == Open::No
            {
                return;
            }
            if around.halt.pause(OPEN_PAUSE) == Woken::Ended {
                return;
            }
        }
    }

    /// Until it cannot be read any more, or nobody listens.
    fn follow(&mut self, mut file: File, around: &Around) -> Open {
        let mut buffer = vec![0; RECORD_BYTES_MAX];
        loop {
            let round = self.read(&mut file, &mut buffer, around);
            if around.tell(&mut self.records.lines) == Open::No {
                return Open::No;
            }
            self.place.write(self.records.last);
            let Some(round) = self.said.note(round) else { return Open::Yes };
            let until_said = self.records.flood.is_cutting().then_some(Duration::from_secs(1));
            let woken = match round {
                Round::More => around.halt.pause(Duration::ZERO),
                Round::Dry => around.halt.until_readable(&file, until_said),
                Round::End => around.halt.pause(END_PAUSE),
            };
            if woken == Woken::Ended {
                return Open::No;
            }
        }
    }

    fn read(&mut self, file: &mut File, buffer: &mut [u8], around: &Around) -> io::Result<Round> {
        let now = Now { age_ms: around.clock.age_ms(), uptime_us: uptime_us() };
        self.records.say_what_was_cut(now.age_ms);
        while self.records.lines.len() < LINES_PER_EVENT {
            match file.read(buffer) {
                Ok(0) => return Ok(Round::End),
                Ok(len) => self.records.take(&buffer[..len], now),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        self.records.begun = true;
                        return Ok(Round::Dry);
                    }
                    // The next record is the oldest that is left.
                    io::ErrorKind::BrokenPipe => self.records.overwritten = true,
                    _ => return Err(error),
                },
            }
        }
        Ok(Round::More)
    }
}

/// A container may have its console there, or nothing (`/dev/null`): reading
/// those takes from others, or never ends.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if found.file_type().is_char_device() && found.rdev() != makedev(KMSG_MAJOR, KMSG_MINOR) {
        return Err(io::Error::other("it is a device, and not the kernel's messages"));
    }
    Ok(file)
}

/// Records are stamped by a clock that stands still while the box is suspended.
fn uptime_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}

#[derive(Clone, Copy)]
struct Now {
    age_ms: u64,
    uptime_us: u64,
}

/// From bytes to lines.
#[derive(Default)]
struct Records {
    lines: Vec<Line>,
    /// The record that was passed on last.
    last: Option<u64>,
    overwritten: bool,
    /// What the ring held at the start is read; from here on a flood is cut.
    begun: bool,
    flood: Flood,
    /// A record whose end is still to come: never of the kernel's.
    rest: Vec<u8>,
}

impl Records {
    fn take(&mut self, bytes: &[u8], now: Now) {
        let mut rest = std::mem::take(&mut self.rest);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            rest.extend_from_slice(piece);
            if let Some(line) = rest.strip_suffix(b"\n") {
                if let Some(record) = Record::parse(line) {
                    self.record(&record, now);
                }
                rest.clear();
            }
        }
        if rest.len() < RECORD_BYTES_MAX {
            self.rest = rest;
        }
    }

    fn record(&mut self, record: &Record<'_>, now: Now) {
        // Read already, by us or by the daemon before.
        if self.last.is_some_and(|last| record.seq <= last) {
            return;
        }
        let passed_ms = now.uptime_us.saturating_sub(record.usec) / 1000;
        let age_ms = now.age_ms.saturating_sub(passed_ms);
        let follows = self.last.is_some_and(|last| record.seq == last + 1);
        let before = self.last.replace(record.seq);
        if let Some(lost) = before.map(|last| record.seq - last - 1).filter(|lost| *lost > 0)
            && (std::mem::take(&mut self.overwritten) || !self.begun)
        {
            let what = format!("{lost} kernel messages were overwritten before they could be read");
            self.lines.push(remark(&TargetId::the_box(), SOURCE, age_ms, what));
        }
        if self.begun && !self.flood.passes(now.age_ms) {
            return;
        }
        let said = text(&unescape(record.text));
        match self.lines.last_mut() {
            Some(line) if record.continues && follows => line.text.push_str(&said),
            _ => self.lines.push(Line {
                target: TargetId::the_box(),
                source: SOURCE.to_owned(),
                age_ms,
                priority: record.priority,
                text: said,
            }),
        }
    }

    fn say_what_was_cut(&mut self, age_ms: u64) {
        if let Some(count) = self.flood.over(age_ms) {
            self.lines.push(remark(&TargetId::the_box(), SOURCE, age_ms, cut_text(count)));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record<'r> {
    priority: u8,
    seq: u64,
    usec: u64,
    /// A fragment that belongs to the record before it.
    continues: bool,
    text: &'r [u8],
}

impl<'r> Record<'r> {
    /// None for a property, and for what the kernel would not write.
    fn parse(line: &'r [u8]) -> Option<Self> {
        let end = line.iter().position(|byte| *byte == b';')?;
        let mut fields = line[..end].split(|byte| *byte == b',');
        // Facility and severity, as syslog packs them.
        let packed: u32 = number(fields.next()?)?;
        Some(Self {
            priority: (packed & 7) as u8,
            seq: number(fields.next()?)?,
            usec: number(fields.next()?)?,
            continues: matches!(fields.next()?, b"c" | b"+"),
            text: &line[end + 1..],
        })
    }
}

/// `\xNN` back to what it stands for.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.strip_prefix(b"x").and_then(|hex| std::str::from_utf8(hex.get(..2)?).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &rest[4..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests;
