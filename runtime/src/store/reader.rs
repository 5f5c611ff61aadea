//! Reading the journal, by any thread and at any time.
//!
//! Invariant: a reader sees every record that was appended, in order, whether
//! it is on the disk yet or not, and holds nothing between two pages.

use std::sync::Arc;

use super::StoreError;
use super::archive::Row;
use super::shared::Shared;
use crate::model::view::Condition;
use crate::model::{IncidentId, Record, Seq};

const PAGE_ROWS: usize = 256;

#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Every record from `from` on, up to the newest there is when it gets
    /// there. A record that this version cannot read is an error in its place;
    /// a database that does not read ends the replay with one.
    pub fn replay(
        &self,
        from: Seq,
    ) -> impl Iterator<Item = Result<Record, StoreError>> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        let mut next = Some(from);
        let mut page = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if page.len() == 0 {
                match shared.rows(next?, PAGE_ROWS) {
                    Ok(rows) => page = rows.into_iter(),
                    Err(fault) => {
                        next = None;
                        return Some(Err(StoreError::unreadable(&fault)));
                    }
                }
            }
            let row: Row = page.next()?;
            next = Some(row.head.seq + 1);
            Some(record(&row))
        })
    }

    /// All records that belong to an incident, in order.
    pub fn incident(&self, id: IncidentId) -> Result<Vec<Record>, StoreError> {
        let rows = self.shared.incident(id).map_err(|fault| StoreError::unreadable(&fault))?;
        rows.iter().map(record).collect()
    }

    /// The newest record.
    pub fn last(&self) -> Option<Record> {
        self.latest(1).pop()
    }

    /// The newest `n` records, oldest first. What does not read is left out.
    pub fn latest(&self, n: usize) -> Vec<Record> {
        let rows = self.shared.newest(n).unwrap_or_else(|fault| {
            tracing::warn!("reading the newest records: {fault}");
            Vec::new()
        });
        rows.iter().filter_map(|row| record(row).ok()).collect()
    }

    /// What is degraded in the store now.
    pub fn conditions(&self) -> Vec<Condition> {
        self.shared.conditions()
    }
}

fn record(row: &Row) -> Result<Record, StoreError> {
    serde_json::from_slice(&row.body)
        .map_err(|error| StoreError::Record { seq: row.head.seq, why: error.to_string() })
}
