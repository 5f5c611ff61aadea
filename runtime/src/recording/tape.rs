//! The ring, shared: the driver writes, whoever asks reads.
//!
//! Invariant: the lock is held for as long as it takes to put down or to clone
//! handles of what is there, and no reader holds it while it writes text.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::ring::{Entry, Ring};
use crate::config::RecordingConfig;
use crate::model::{Batch, IncidentId, Instant, Line, Mark, Series, TargetId};

/// Incidents that wait for their recording to be written.
const WAITING_MAX: usize = 16;

/// An incident whose recording is to be kept.
#[derive(Clone, Debug)]
pub struct Opened {
    pub incident: IncidentId,
    pub root: TargetId,
    pub kind: String,
    pub now: Instant,
}

#[derive(Clone)]
pub struct Tape {
    ring: Arc<Mutex<Ring>>,
    series: Arc<[Series]>,
    opened: mpsc::Sender<Opened>,
}

/// What a reader gets at once.
#[derive(Debug, Default)]
pub struct Heard {
    pub entries: Vec<Entry>,
    /// Number of the entry after the last of them: where to go on.
    pub next: u64,
    /// Entries that were pushed out before they were read.
    pub missed: u64,
}

impl Tape {
    /// A tape of these series, in the order of their ids.
    pub fn new(config: &RecordingConfig, series: &[Series]) -> (Self, mpsc::Receiver<Opened>) {
        let (opened, openings) = mpsc::channel(WAITING_MAX);
        let ring = Arc::new(Mutex::new(Ring::new(config)));
        (Self { ring, series: series.into(), opened }, openings)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn batch(&self, batch: &Batch) {
        self.ring().batch(batch);
    }

    pub fn line(&self, line: Line) {
        self.ring().line(line);
    }

    pub fn mark(&self, mark: Mark) {
        self.ring().mark(mark);
    }

    /// Has what led to an incident kept. What cannot be kept is told and let go.
    pub fn keep(&self, opened: Opened) {
        let incident = opened.incident;
        if self.opened.try_send(opened).is_err() {
            tracing::warn!(%incident, "too many incidents at once: its recording is not kept");
        }
    }

    /// All series of the box; a `SeriesId` is an index into them.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// Number of the next entry.
    pub fn next(&self) -> u64 {
        self.ring().next()
    }

    /// From where to read to have what came since `age_ms`, and what stood then.
    pub fn from_age(&self, age_ms: u64) -> (u64, Vec<Arc<Mark>>) {
        let ring = self.ring();
        let number = ring.at_age(age_ms);
        (number, ring.standing(number))
    }

    /// At most `limit` entries from `number` on.
    pub fn hear(&self, number: u64, limit: usize) -> Heard {
        let ring = self.ring();
        let (from, entries) = ring.since(number);
        let entries: Vec<_> = entries.take(limit).cloned().collect();
        Heard { next: from + entries.len() as u64, missed: from.saturating_sub(number), entries }
    }
}
