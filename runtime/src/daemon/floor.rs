//! Keeps the trust slot's floor above the journal's numbers, so that a journal
//! that is lost is followed by one with numbers of its own.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::interval;

use crate::store::{Durable, SharedSlot};

/// Between two tries to write both copies, where one could not be.
const REPAIR_EVERY: Duration = Duration::from_secs(600);

/// Looks at every commit, and writes to the slot once in thousands of records.
pub fn keep(slot: SharedSlot, mut durable: watch::Receiver<Durable>) {
    tokio::spawn(async move {
        let mut repair = interval(REPAIR_EVERY);
        let condition = slot.condition();
        loop {
            let is_due = tokio::select! {
                changed = durable.changed() => match changed {
                    Ok(()) => slot.is_near(durable.borrow_and_update().seq),
                    Err(_) => return,
                },
                // Not at each commit: a disk that refuses is not asked all the time.
                _ = repair.tick() => condition.borrow().is_some(),
            };
            if !is_due {
                continue;
            }
            let seq = durable.borrow().seq;
            let slot = slot.clone();
            let raise = move || slot.update(|floors| floors.keep_above(seq));
            if let Ok(Err(error)) = tokio::task::spawn_blocking(raise).await {
                tracing::warn!(%error, "the floor of the journal's numbers is not raised");
            }
        }
    });
}
