//! Reading the kernel's small text files into a buffer that is kept, and saying
//! once, not every second, what cannot be read.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// No file that is read here has a reason to be longer: the longest is the list
/// of a cgroup's processes.
const FILE_BYTES_MAX: usize = 1024 * 1024;
const STEP_BYTES: usize = 4096;

/// A buffer that holds one file at a time.
#[derive(Debug, Default)]
pub(super) struct Page {
    bytes: Vec<u8>,
}

impl Page {
    pub(super) fn read(&mut self, path: &Path) -> io::Result<&[u8]> {
        let mut file = File::open(path)?;
        let mut len = 0;
        loop {
            if self.bytes.len() < len + STEP_BYTES {
                self.bytes.resize(len + STEP_BYTES, 0);
            }
            match file.read(&mut self.bytes[len..]) {
                Ok(0) => return Ok(&self.bytes[..len]),
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if len > FILE_BYTES_MAX {
                return Err(io::Error::other(format!("longer than {FILE_BYTES_MAX} bytes")));
            }
        }
    }
}

/// Remembers whether one thing could be read, and speaks when that changes.
#[derive(Debug)]
pub(super) struct Said {
    what: String,
    failing: bool,
}

impl Said {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), failing: false }
    }

    /// The value, if there is one; a change is logged.
    pub(super) fn note<T, E: Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!("{} can be read again", self.what);
                }
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!("{} cannot be read: {error}", self.what);
                }
                None
            }
        }
    }

    #[cfg(test)]
    pub(super) fn failing(&self) -> bool {
        self.failing
    }
}

/// What stands between white space.
pub(super) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

pub(super) fn number<T: std::str::FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// A file that is there and does not say what the kernel would.
pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not what the kernel writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_the_buffer_is_read_whole_and_an_endless_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("long");
        std::fs::write(&long, vec![b'7'; 3 * STEP_BYTES + 1]).unwrap();
        let mut page = Page::default();
        assert_eq!(page.read(&long).unwrap().len(), 3 * STEP_BYTES + 1);
        std::fs::write(&long, "short").unwrap();
        assert_eq!(page.read(&long).unwrap(), b"short");
        assert!(page.read(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn numbers_and_words_take_what_the_kernel_writes_and_nothing_else() {
        assert_eq!(words(b"  12\t x \n").collect::<Vec<_>>(), [&b"12"[..], b"x"]);
        assert_eq!(number::<u64>(b"12"), Some(12));
        assert_eq!(number::<f64>(b"0.25"), Some(0.25));
        assert_eq!(number::<u64>(b"12x"), None);
        assert_eq!(number::<u64>(b""), None);
        assert_eq!(number::<u64>(b"\xff"), None);
    }
}
