//! How far the journal was durable, written beside the database.
//!
//! A damaged tail looks to sled like the torn end of a crash, and it cuts it
//! without a word. The mark says what must be there. It is written after the
//! commit and not synced, so it may be behind and is never ahead: a journal
//! that ends before it has lost something.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::model::Seq;

const MAGIC: [u8; 4] = *b"hmMK";
const LEN: usize = 24;

/// The first is a fresh store's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub durable: Seq,
    /// Counts the runs of the daemon; part of every stamp.
    pub run: u64,
}

#[derive(Debug)]
pub struct MarkFile(File);

impl Mark {
    /// None when there is no mark, or one that does not read.
    pub fn read(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let bytes = bytes.get(..LEN)?;
        let word = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice is eight bytes long"))
        };
        let sound =
            bytes[..4] == MAGIC && crc32fast::hash(&bytes[8..]).to_le_bytes() == bytes[4..8];
        sound.then(|| Self { durable: word(8), run: word(16) })
    }

    fn encode(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.durable.to_le_bytes());
        bytes[16..].copy_from_slice(&self.run.to_le_bytes());
        let crc = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

impl MarkFile {
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(false).open(path).map(Self)
    }

    pub fn write(&self, mark: Mark) -> io::Result<()> {
        self.0.write_all_at(&mark.encode(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_an_altered_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(Mark::read(&path), None);
        let mark = Mark { durable: 9, run: 3 };
        MarkFile::open(&path).unwrap().write(mark).unwrap();
        assert_eq!(Mark::read(&path), Some(mark));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Mark::read(&path), None);
    }
}
