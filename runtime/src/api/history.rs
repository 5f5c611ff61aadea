//! The journal, as the socket reads it.
//!
//! Invariant: readers may block on the disk, so they are called off the
//! runtime's own thread and never for more than a bounded number of records.

use std::sync::Arc;

use crate::model::{IncidentId, Record, Seq};

/// What the journal can be asked. The store's reader is one; a test has its own.
pub trait History: Send + Sync {
    /// The first `limit` records from `from` on, oldest first. Some may be missing.
    fn replay(&self, from: Seq, limit: usize) -> Result<Vec<Record>, HistoryError>;
    /// All records of one incident, oldest first; none when it is unknown.
    fn incident(&self, id: IncidentId) -> Result<Vec<Record>, HistoryError>;
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be read: {0}")]
pub struct HistoryError(pub String);

pub(super) async fn replay(
    history: &Arc<dyn History>,
    from: Seq,
    limit: usize,
) -> Result<Vec<Record>, HistoryError> {
    off_thread(history, move |history| history.replay(from, limit)).await
}

pub(super) async fn incident(
    history: &Arc<dyn History>,
    id: IncidentId,
) -> Result<Vec<Record>, HistoryError> {
    off_thread(history, move |history| history.incident(id)).await
}

async fn off_thread<T: Send + 'static>(
    history: &Arc<dyn History>,
    read: impl FnOnce(&dyn History) -> Result<T, HistoryError> + Send + 'static,
) -> Result<T, HistoryError> {
    let history = Arc::clone(history);
    tokio::task::spawn_blocking(move || read(&*history))
        .await
        .unwrap_or_else(|error| Err(HistoryError(error.to_string())))
}
