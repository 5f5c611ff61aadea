//! Where we are in a log, and which file that is.
//!
//! Invariant: one look reads a bounded number of bytes and gives a bounded
//! number of lines; who is so far behind that it will not catch up skips ahead,
//! and says so. What was there at the start is old, and read at the pace of a
//! flood; what comes later is news, and of a flood what is too much is cut.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::{LogConfig, LogStart};
use crate::model::{Line, TargetId};
use crate::source::line::{
    Flood, INFORMATION, LINE_BYTES_MAX, LINES_PER_EVENT, cut_text, remark, text,
};

const CHUNK_BYTES: usize = 16 * 1024;
/// Further behind than this, what lies between is skipped.
const BEHIND_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// What is read after skipping.
const AHEAD_BYTES: u64 = 64 * 1024;
/// Who rotates tells the writer a little later, and until then it writes to the
/// old file.
const QUIET_MS: u64 = 10_000;

pub(super) struct Tail {
    path: PathBuf,
    from: LogStart,
    current: Option<Reading>,
    /// The file that had the name before, and when it last grew.
    former: Option<(Reading, u64)>,
    told: Told,
    chunk: Vec<u8>,
}

/// What lines look like, and how many there may be.
struct Told {
    name: String,
    target: TargetId,
    flood: Flood,
    /// What was there at the start is read.
    caught_up: bool,
}

impl Told {
    fn lets_pass(&mut self, age_ms: u64) -> bool {
        if self.caught_up {
            return self.flood.passes(age_ms);
        }
        self.flood.pass(age_ms);
        true
    }
}

impl Tail {
    pub(super) fn new(config: &LogConfig) -> Self {
        Self {
            path: config.path.clone(),
            from: config.from,
            current: None,
            former: None,
            told: Told {
                name: config.name.clone(),
                target: config.target.clone(),
                flood: Flood::default(),
                caught_up: false,
            },
            chunk: vec![0; CHUNK_BYTES],
        }
    }

    /// Reads what is new. Whether there is more.
    pub(super) fn look(&mut self, age_ms: u64, lines: &mut Vec<Line>) -> io::Result<bool> {
        if let Some(count) = self.told.flood.over(age_ms) {
            lines.push(remark(&self.told.target, &self.told.name, age_ms, cut_text(count)));
        }
        self.look_at_former(age_ms, lines)?;
        let switched = self.switch(age_ms, lines);
        // What was not there when we began is new, and read from its start; what
        // only could not be opened is not.
        if switched.as_ref().err().is_none_or(|it| it.kind() == io::ErrorKind::NotFound) {
            self.from = LogStart::Start;
        }
        let Some(current) = &mut self.current else { return switched.map(|()| false) };
        let more = current.read(&mut self.chunk, age_ms, &mut self.told, lines)?;
        switched.map(|()| more)
    }

    fn look_at_former(&mut self, age_ms: u64, lines: &mut Vec<Line>) -> io::Result<()> {
        let Some((mut former, mut grew_age_ms)) = self.former.take() else { return Ok(()) };
        let before = former.at;
        former.read(&mut self.chunk, age_ms, &mut self.told, lines)?;
        if former.at != before {
            grew_age_ms = age_ms;
        }
        if age_ms < grew_age_ms + QUIET_MS {
            self.former = Some((former, grew_age_ms));
        } else {
            former.finish(age_ms, &mut self.told, lines);
        }
        Ok(())
    }

    /// Opens the file that has the name now, if it is another.
    fn switch(&mut self, age_ms: u64, lines: &mut Vec<Line>) -> io::Result<()> {
        let named = fs::metadata(&self.path)?;
        if self.current.as_ref().is_some_and(|current| current.is(&named)) {
            return Ok(());
        }
        let fresh = Reading::open(&self.path, self.from)?;
        // A third within seconds: the first has had its time.
        if let Some((mut former, _)) = self.former.take() {
            former.finish(age_ms, &mut self.told, lines);
        }
        self.former = self.current.replace(fresh).map(|former| (former, age_ms));
        Ok(())
    }
}

/// One file, and how far it was read.
struct Reading {
    file: File,
    device: u64,
    inode: u64,
    at: u64,
    /// A line whose end is still to come.
    begun: Vec<u8>,
}

impl Reading {
    fn open(path: &Path, from: LogStart) -> io::Result<Self> {
        // A FIFO would hold the open until it has a writer.
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let at = match from {
            LogStart::Start => 0,
            LogStart::End => last_line(&file, found.len())?,
        };
        Ok(Self { file, device: found.dev(), inode: found.ino(), at, begun: Vec::new() })
    }

    fn is(&self, other: &Metadata) -> bool {
        (self.device, self.inode) == (other.dev(), other.ino())
    }

    /// Whether there is more.
    fn read(
        &mut self,
        chunk: &mut [u8],
        age_ms: u64,
        told: &mut Told,
        lines: &mut Vec<Line>,
    ) -> io::Result<bool> {
        let len = self.file.metadata()?.len();
        if len < self.at {
            // Emptied, to be written anew.
            (self.at, self.begun) = (0, Vec::new());
        }
        if len - self.at > BEHIND_BYTES_MAX {
            self.skip(len - AHEAD_BYTES, age_ms, told, lines);
        }
        while lines.len() < LINES_PER_EVENT {
            if !told.caught_up && !told.flood.has_room(age_ms) {
                return Ok(false);
            }
            let count = match self.file.read_at(chunk, self.at) {
                Ok(0) => {
                    told.caught_up = true;
                    return Ok(false);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.at += count as u64;
            self.cut(&chunk[..count], age_ms, told, lines);
        }
        Ok(true)
    }

    fn skip(&mut self, to: u64, age_ms: u64, told: &Told, lines: &mut Vec<Line>) {
        let what = format!("{} bytes were skipped, to catch up", to - self.at);
        lines.push(remark(&told.target, &told.name, age_ms, what));
        self.at = to;
        self.begun.clear();
    }

    fn cut(&mut self, bytes: &[u8], age_ms: u64, told: &mut Told, lines: &mut Vec<Line>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let line = piece.strip_suffix(b"\n").unwrap_or(piece);
            // One byte more than is shown says that there was more.
            let room = (LINE_BYTES_MAX + 1).saturating_sub(self.begun.len());
            self.begun.extend_from_slice(&line[..line.len().min(room)]);
            if line.len() < piece.len() {
                self.end(age_ms, told, lines);
            }
        }
    }

    /// The last line too, though nothing ends it.
    fn finish(&mut self, age_ms: u64, told: &mut Told, lines: &mut Vec<Line>) {
        if !self.begun.is_empty() {
            self.end(age_ms, told, lines);
        }
    }

    fn end(&mut self, age_ms: u64, told: &mut Told, lines: &mut Vec<Line>) {
        if told.lets_pass(age_ms) {
            lines.push(Line {
                target: told.target.clone(),
                source: told.name.clone(),
                age_ms,
                priority: INFORMATION,
                text: text(&self.begun),
            });
        }
        self.begun.clear();
    }
}

/// Where the line begins that is being written at the end of the file.
fn last_line(file: &File, len: u64) -> io::Result<u64> {
    let mut tail = [0; LINE_BYTES_MAX];
    let from = len.saturating_sub(tail.len() as u64);
    let count = file.read_at(&mut tail, from)?;
    let newline = tail[..count].iter().rposition(|byte| *byte == b'\n');
    Ok(match newline {
        Some(newline) => from + newline as u64 + 1,
        // One line that is as long as the file, or longer than is shown.
        None if from == 0 => 0,
        None => len,
    })
}
