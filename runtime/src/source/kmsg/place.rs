//! How far the kernel's messages were read, for the daemon after this one.
//!
//! Invariant: it counts within one boot. After another boot the kernel counts
//! from the start, and so do we.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::clock;

pub(super) struct Place {
    path: PathBuf,
    boot_id: String,
    written: Option<u64>,
    failing: bool,
}

impl Place {
    pub(super) fn new(path: PathBuf) -> Self {
        let boot_id = clock::boot_id().unwrap_or_default();
        Self { path, boot_id, written: None, failing: false }
    }

    /// The record that was read last in this boot.
    pub(super) fn read(&mut self) -> Option<u64> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (boot_id, seq) = text.trim().split_once(' ')?;
        self.written = (boot_id == self.boot_id).then(|| seq.parse().ok()).flatten();
        self.written
    }

    pub(super) fn write(&mut self, seq: Option<u64>) {
        let Some(seq) = seq.filter(|seq| self.written != Some(*seq)) else { return };
        self.written = Some(seq);
        let text = format!("{} {seq}\n", self.boot_id);
        let written = replace(&self.path, &text);
        if let Err(error) = &written
            && !self.failing
        {
            let path = self.path.display();
            tracing::warn!("{path}: {error}; a restart will read the kernel's messages again");
        }
        self.failing = written.is_err();
    }
}

/// Whole or not at all. Not flushed: what matters here does not outlive the boot.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(&fresh, path)
}
