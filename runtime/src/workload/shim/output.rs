//! A workload's output: from the FIFO into a bounded log, and as lines to
//! whoever listens.
//!
//! The workload holds both ends of the FIFO, so a dead shim never costs it a
//! SIGPIPE; what it writes meanwhile waits in the FIFO.
//!
//! Invariant: nothing grows with what a workload writes, neither memory nor disk.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::secret::{Redactor, Stream};

/// Of a longer line this much is shown; the log has all of it.
pub const LINE_MAX_BYTES: usize = 4096;

const CHUNK_BYTES: usize = 4096;
/// Read per round, so that a flood never hides an exit.
const CHUNKS_PER_ROUND: usize = 8;
/// Read at the end; a FIFO holds 64 KiB unless somebody raised it.
const CHUNKS_AT_END: usize = 256;

pub struct Output {
    fifo: File,
    log: Log,
    cutter: Cutter,
    /// None where nothing has to be kept out.
    redacted: Option<Stream>,
}

impl Output {
    /// Makes the FIFO or takes the one that is there, with what waits in it.
    pub fn open(fifo: &Path, log: Log, redactor: Redactor) -> io::Result<Self> {
        match rustix::fs::mkfifoat(CWD, fifo, Mode::RUSR | Mode::WUSR) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2)");
        let fifo = File::options().read(true).write(true).custom_flags(nonblock).open(fifo)?;
        let redacted = (!redactor.is_empty()).then(|| Stream::new(redactor));
        Ok(Self { fifo, log, cutter: Cutter::default(), redacted })
    }

    /// The workload's end: blocking, readable too, and its own, so that it may
    /// open `/dev/stdout` again after it dropped its privileges.
    pub fn workload_end(path: &Path, owner: Option<u32>) -> io::Result<File> {
        let file = File::options().read(true).write(true).open(path)?;
        if owner.is_some() {
            fchown(&file, owner, None)?;
        }
        Ok(file)
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fifo.as_fd()
    }

    /// Moves what waits, up to a bound.
    pub fn pump(&mut self, on_line: &mut dyn FnMut(String)) {
        self.pump_chunks(CHUNKS_PER_ROUND, on_line);
    }

    /// Moves all that waits, and the last line though nothing ends it.
    pub fn finish(&mut self, on_line: &mut dyn FnMut(String)) {
        self.pump_chunks(CHUNKS_AT_END, on_line);
        if let Some(stream) = &mut self.redacted {
            let mut rest = Vec::new();
            stream.finish(&mut rest);
            self.keep(&rest, on_line);
        }
        self.cutter.finish(on_line);
    }

    /// News of the log since the last call: what fails, or that it works again.
    pub fn news(&mut self) -> Option<String> {
        self.log.news.take()
    }

    fn keep(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(String)) {
        if !bytes.is_empty() {
            self.log.write(bytes);
            self.cutter.push(bytes, on_line);
        }
    }

    fn pump_chunks(&mut self, chunks: usize, on_line: &mut dyn FnMut(String)) {
        let mut chunk = [0u8; CHUNK_BYTES];
        for _ in 0..chunks {
            match self.fifo.read(&mut chunk) {
                Ok(0) => return,
                Ok(len) => match &mut self.redacted {
                    None => self.keep(&chunk[..len], on_line),
                    Some(stream) => {
                        let mut clean = Vec::with_capacity(len);
                        stream.push(&chunk[..len], &mut clean);
                        self.keep(&clean, on_line);
                    }
                },
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// `output.log`, and `output.log.1` (the latest before it) onwards.
pub struct Log {
    path: PathBuf,
    max_bytes: u64,
    files: u32,
    file: Option<File>,
    len: u64,
    failing: bool,
    news: Option<String>,
}

impl Log {
    pub fn new(path: PathBuf, max_bytes: u64, files: u32) -> Self {
        Self { path, max_bytes, files, file: None, len: 0, failing: false, news: None }
    }

    /// A log that cannot be written is said once, and tried again each time: a
    /// full disk must not stop a workload.
    fn write(&mut self, bytes: &[u8]) {
        match self.try_write(bytes) {
            Ok(()) if self.failing => {
                self.failing = false;
                self.news = Some("the log can be written again".into());
            }
            Ok(()) => {}
            Err(err) => {
                self.file = None;
                if !self.failing {
                    self.failing = true;
                    self.news = Some(format!("cannot write {}: {err}", self.path.display()));
                }
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let adds = bytes.len() as u64;
        if self.file.is_none() {
            self.open()?;
        }
        if self.len > 0 && self.len + adds > self.max_bytes {
            self.rotate()?;
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes)?;
            self.len += adds;
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = File::options().append(true).create(true).mode(0o640).open(&self.path)?;
        self.len = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        if self.files <= 1 {
            fs::remove_file(&self.path)?;
        }
        for older in (1..self.files).rev() {
            let from = self.numbered(older - 1);
            match fs::rename(&from, self.numbered(older)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        self.open()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Cuts a stream into lines of bounded length.
#[derive(Default)]
pub struct Cutter {
    begun: Vec<u8>,
    /// The rest of a line that was shown already.
    skipping: bool,
}

impl Cutter {
    pub fn push(&mut self, bytes: &[u8], on_line: &mut dyn FnMut(String)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            if !self.skipping {
                let room = LINE_MAX_BYTES - self.begun.len();
                self.begun.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() > room {
                    self.emit("…", on_line);
                    self.skipping = true;
                } else if ends {
                    self.emit("", on_line);
                }
            }
            if ends {
                self.skipping = false;
            }
        }
    }

    pub fn finish(&mut self, on_line: &mut dyn FnMut(String)) {
        if !self.begun.is_empty() {
            self.emit("", on_line);
        }
    }

    fn emit(&mut self, mark: &str, on_line: &mut dyn FnMut(String)) {
        let text = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
        let mut line = String::from_utf8_lossy(text).into_owned();
        line.push_str(mark);
        self.begun.clear();
        on_line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut cutter = Cutter::default();
        for piece in pieces {
            cutter.push(piece, &mut |line| lines.push(line));
        }
        cutter.finish(&mut |line| lines.push(line));
        lines
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_fall() {
        assert_eq!(cut(&[b"on", b"e\ntwo\r\n", b"\nrest"]), ["one", "two", "", "rest"]);
        assert_eq!(cut(&[b"\xff\xfe bad\n"]), ["\u{fffd}\u{fffd} bad"]);
    }

    #[test]
    fn a_line_without_end_is_shown_once_and_bounded() {
        let long = vec![b'x'; 3 * LINE_MAX_BYTES];
        let lines = cut(&[&long, &long, b"tail\nnext\n"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].len(), LINE_MAX_BYTES + "…".len());
        assert_eq!(lines[1], "next");
        let exact = vec![b'y'; LINE_MAX_BYTES];
        assert_eq!(cut(&[&exact, b"\n"])[0].len(), LINE_MAX_BYTES);
    }

    #[test]
    fn the_log_keeps_so_many_files_of_such_a_size() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("output.log");
        let mut log = Log::new(path.clone(), 10, 3);
        for round in 0..9 {
            log.write(format!("line {round}\n").as_bytes());
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("a log");
        assert_eq!(read("output.log"), "line 8\n");
        assert_eq!(read("output.log.1"), "line 7\n");
        assert_eq!(read("output.log.2"), "line 6\n");
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 3);

        let mut alone = Log::new(dir.path().join("alone.log"), 10, 1);
        alone.write(b"line 1\n");
        alone.write(b"line 2\n");
        assert_eq!(read("alone.log"), "line 2\n");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_said_once_and_again_when_it_can() {
        let dir = tempfile::tempdir().expect("a directory");
        let blocked = dir.path().join("blocked");
        fs::write(&blocked, "a file where a directory is wanted").expect("w");
        let mut log = Log::new(blocked.join("output.log"), 100, 2);
        log.write(b"lost\n");
        assert!(log.news.take().is_some_and(|news| news.contains("cannot write")));
        log.write(b"lost\n");
        assert_eq!(log.news.take(), None);
        fs::remove_file(&blocked).expect("rm");
        log.write(b"kept\n");
        assert!(log.news.take().is_some_and(|news| news.contains("again")));
    }
}
