//! Room that is kept for the day the disk is full.
//!
//! A file of blocks that nobody else can take. When a write finds no room it
//! is given up, so that audit records still fit; it is taken back only when
//! there is plenty again. Invariant: it never holds data.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// Reopening sled fills its last segment, up to 512 KiB, before anything is
/// written; as much again is for the records.
const LEN: u64 = 1024 * 1024;
/// Free bytes from which on it is taken back, as a multiple of its length: the
/// rest of the box must not be starved by it.
const PLENTY: u64 = 4;

#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    held: bool,
    given_up: bool,
}

impl Reserve {
    pub fn new(path: PathBuf) -> Self {
        let held = fs::metadata(&path).is_ok_and(|file| file.len() == LEN);
        Self { path, held, given_up: false }
    }

    pub fn held(&self) -> bool {
        self.held
    }

    /// The disk was full, and what is written now uses it up.
    pub fn given_up(&self) -> bool {
        self.given_up
    }

    /// Gives its room to whoever is first. Whether there was any.
    pub fn release(&mut self) -> bool {
        self.held = false;
        // Removed even when it was found short: half a reserve is room too.
        let released = fs::remove_file(&self.path).is_ok();
        self.given_up |= released;
        released
    }

    /// Takes the room again if there is plenty.
    pub fn take(&mut self) -> io::Result<()> {
        if self.held {
            return Ok(());
        }
        if free_bytes(&self.path)? < LEN * PLENTY {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = allocate(&self.path);
        if taken.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        self.held = taken.is_ok();
        self.given_up &= !self.held;
        taken
    }
}

/// Bytes that an unprivileged program may still write beside `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path.parent().unwrap_or(path))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn allocate(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, LEN) {
        // Where blocks cannot be set aside by a call, they are written.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => fill(&mut file),
        other => Ok(other?),
    }
}

fn fill(file: &mut File) -> io::Result<()> {
    let block = [0xA5; 4096];
    for _ in 0..LEN / 4096 {
        file.write_all(&block)?;
    }
    file.sync_all()
}
