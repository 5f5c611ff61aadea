//! The attempts of a workload that outlive a boot.
//!
//! Invariant: one writer, the daemon; a shim only reads it, to refuse what was
//! begun before.

use std::collections::VecDeque;
use std::io;

use serde::{Deserialize, Serialize};

use super::record::{ExitRecord, Place, read_json, write_json};
use crate::model::{AttemptId, ExitStatus};

/// Attempts remembered per workload.
pub const HISTORY_LEN: usize = 32;

/// `attempts.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Attempts begun, ever.
    pub starts: u64,
    pub attempts: VecDeque<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub attempt: AttemptId,
    pub boot_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub status: ExitStatus,
    pub wanted: bool,
}

impl History {
    /// One that cannot be read counts as empty: the run directory still knows
    /// the latest attempt.
    pub fn load(place: &Place) -> Self {
        read_json(&place.history()).ok().flatten().unwrap_or_default()
    }

    pub fn find(&self, attempt: AttemptId) -> Option<&Entry> {
        self.attempts.iter().find(|entry| entry.attempt == attempt)
    }

    /// True when it is news.
    pub fn begin(&mut self, attempt: AttemptId, boot_id: &str) -> bool {
        if self.find(attempt).is_some() {
            return false;
        }
        self.starts += 1;
        while self.attempts.len() >= HISTORY_LEN {
            self.attempts.pop_front();
        }
        self.attempts.push_back(Entry { attempt, boot_id: boot_id.to_owned(), end: None });
        true
    }

    pub fn end(&mut self, exit: &ExitRecord) {
        self.begin(exit.attempt, &exit.boot_id);
        for entry in self.attempts.iter_mut().filter(|entry| entry.attempt == exit.attempt) {
            entry.end = Some(End { status: exit.status, wanted: exit.wanted });
        }
    }

    pub fn write(&self, place: &Place) -> io::Result<()> {
        place.make_state()?;
        write_json(&place.history(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_counts_each_attempt_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(&dir.path().join("run"), &dir.path().join("state"), "a");
        let mut history = History::default();
        for seq in 0..100 {
            assert!(history.begin(AttemptId { birth: 1, seq }, "boot"));
            assert!(!history.begin(AttemptId { birth: 1, seq }, "boot"));
        }
        assert_eq!((history.starts, history.attempts.len()), (100, HISTORY_LEN));
        history.write(&place).expect("written");
        assert_eq!(History::load(&place), history);
    }
}
