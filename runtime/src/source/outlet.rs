//! Where readings leave the room: a bounded channel to whoever decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::{InterlockResult, ProbeResult, SourceEvent};
use crate::model::{Batch, Line};

/// Whether anybody still listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    Yes,
    No,
}

/// What became of lines.
#[derive(Debug)]
pub(super) enum Sent {
    Yes,
    /// There is no room; these are they.
    Full(Vec<Line>),
    /// Nobody listens any more.
    Closed,
}

#[derive(Clone, Debug)]
pub(super) struct Outlet {
    events: mpsc::Sender<SourceEvent>,
    dropped: Arc<AtomicU64>,
}

impl Outlet {
    pub(super) fn new(events: mpsc::Sender<SourceEvent>) -> Self {
        Self { events, dropped: Arc::default() }
    }

    /// Numbers never wait: under load they are dropped, and counted.
    pub(super) fn batch(&self, batch: Batch) -> Open {
        match self.events.try_send(SourceEvent::Batch(batch)) {
            Ok(()) => Open::Yes,
            Err(TrySendError::Full(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                Open::Yes
            }
            Err(TrySendError::Closed(_)) => Open::No,
        }
    }

    /// A probe's word may be what a proof waits for, so it waits for room.
    pub(super) async fn probe(&self, result: ProbeResult) -> Open {
        match self.events.send(SourceEvent::Probe(result)).await {
            Ok(()) => Open::Yes,
            Err(_) => Open::No,
        }
    }

    /// An interlock's word holds up a repair, so it waits for room.
    pub(super) async fn interlock(&self, result: InterlockResult) -> Open {
        match self.events.send(SourceEvent::Interlock(result)).await {
            Ok(()) => Open::Yes,
            Err(_) => Open::No,
        }
    }

    /// For threads, which wait for room as they see fit.
    pub(super) fn lines(&self, lines: Vec<Line>) -> Sent {
        match self.events.try_send(SourceEvent::Lines(lines)) {
            Ok(()) => Sent::Yes,
            Err(TrySendError::Full(SourceEvent::Lines(lines))) => Sent::Full(lines),
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Sent::Closed,
        }
    }

    /// Batches dropped so far, counted on after this handle is gone.
    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}
