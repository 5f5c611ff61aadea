//! Notices a disk that does not answer at all.
//!
//! A dying card can keep a sync waiting for minutes, and a panic in one of
//! sled's own threads for ever. The writer cannot say so: it is the one that
//! waits. Invariant: this only speaks; it never touches the database.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::place::Place;
use super::shared::Shared;

/// A commit that takes longer is told.
const STALL: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// When the writer went to the disk, while it is there.
#[derive(Debug, Default)]
pub struct Busy(Mutex<Option<Instant>>);

impl Busy {
    /// Runs a visit to the disk.
    pub fn during<T>(&self, visit: impl FnOnce() -> T) -> T {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let result = visit();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        result
    }

    /// Runs `tell` if the writer has been there for too long, and keeps it from
    /// coming back meanwhile: what it says afterwards is newer.
    fn if_stalled(&self, tell: impl FnOnce(Duration)) {
        let since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waited) = since.map(|since| since.elapsed())
            && waited >= STALL
        {
            tell(waited);
        }
    }
}

/// Looks until the writer is `finished`.
pub fn watch(shared: &Arc<Shared>, place: &Place, finished: &Receiver<()>) {
    while finished.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        shared.busy.if_stalled(|waited| {
            let text = format!(
                "wanted to write the journal in {}, found: the disk has not answered for {} s; \
                 look in the kernel's log for a failing disk",
                place.dir().display(),
                waited.as_secs(),
            );
            // The writer takes it back once its commit is through.
            shared.set_condition("store.failing", text.clone());
            shared.durable.send_modify(|durable| durable.failing = Some(text));
        });
    }
}
