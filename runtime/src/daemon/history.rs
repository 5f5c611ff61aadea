//! The store's reader, as the socket asks it.

use tokio::sync::watch;

use crate::api::{History, HistoryError};
use crate::model::{IncidentId, Record, Seq};
use crate::store::{Durable, Reader};

pub struct Told(pub Reader);

impl History for Told {
    fn replay(&self, from: Seq, limit: usize) -> Result<Vec<Record>, HistoryError> {
        let records = self.0.replay(from).take(limit);
        records.collect::<Result<_, _>>().map_err(|error| HistoryError(error.to_string()))
    }

    fn incident(&self, id: IncidentId) -> Result<Vec<Record>, HistoryError> {
        self.0.incident(id).map_err(|error| HistoryError(error.to_string()))
    }
}

/// The newest durable record alone.
pub fn durable_seq(mut durable: watch::Receiver<Durable>) -> watch::Receiver<Seq> {
    let (newest, seen) = watch::channel(durable.borrow().seq);
    tokio::spawn(async move {
        while durable.changed().await.is_ok() {
            let seq = durable.borrow_and_update().seq;
            if newest.send(seq).is_err() {
                return;
            }
        }
    });
    seen
}
