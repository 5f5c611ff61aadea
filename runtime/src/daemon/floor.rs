//! Keeps the trust slot's floor above the journal's numbers, so that a journal
//! that is lost is followed by one with numbers of its own.

use tokio::sync::watch;

use crate::store::{Durable, SharedSlot};

/// Looks at every commit, and writes to the slot once in thousands of records.
pub fn keep(slot: SharedSlot, mut durable: watch::Receiver<Durable>) {
    tokio::spawn(async move {
        while durable.changed().await.is_ok() {
            let seq = durable.borrow_and_update().seq;
            if !slot.look(|floors| floors.is_near(seq)) {
                continue;
            }
            let slot = slot.clone();
            let raise = move || slot.update(|floors| floors.keep_above(seq));
            if let Ok(Err(error)) = tokio::task::spawn_blocking(raise).await {
                tracing::warn!(%error, "the floor of the journal's numbers is not raised");
            }
        }
    });
}
