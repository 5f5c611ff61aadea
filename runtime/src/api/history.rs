//! The journal, as the socket reads it.
//!
//! Invariant: readers may block on the disk, so they are called off the
//! runtime's own thread and never for more than a bounded number of records.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{Event, FindingRef, IncidentId, Record, Seq};
use crate::story;

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

/// A finding is written down shortly before the incident that it opens or joins.
const LOOK_BACK: u64 = 256;

pub(super) async fn replay(
    history: &Arc<dyn History>,
    from: Seq,
    limit: usize,
) -> Result<Vec<Record>, HistoryError> {
    off_thread(history, move |history| history.replay(from, limit)).await
}

/// The records of an incident, and those that say what its findings were.
pub(super) async fn incident(
    history: &Arc<dyn History>,
    id: IncidentId,
) -> Result<Vec<Record>, HistoryError> {
    off_thread(history, move |history| {
        let own = history.incident(id)?;
        let mut all = BTreeMap::new();
        for record in &own {
            let names = story::refers_to(&record.event);
            if names.is_empty() {
                continue;
            }
            let from = record.seq.saturating_sub(LOOK_BACK).max(1);
            let before = history.replay(from, LOOK_BACK as usize)?;
            let raised = before.into_iter().filter(|earlier| raises(&earlier.event, names));
            all.extend(raised.map(|raised| (raised.seq, raised)));
        }
        all.extend(own.into_iter().map(|record| (record.seq, record)));
        Ok(all.into_values().collect())
    })
    .await
}

fn raises(event: &Event, names: &[FindingRef]) -> bool {
    matches!(event, Event::FindingRaised { detector, finding }
        if names.iter().any(|name| name.detector == *detector && name.key == finding.key))
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
