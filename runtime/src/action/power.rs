//! Booting the box. Counted in the trust slot before it is done, and judged by
//! the boot id after.
//!
//! Invariant: a reboot that cannot be counted is not done, or a box that boots
//! into the same trouble would boot for ever.

use std::time::Duration;

use tokio::sync::watch;

use crate::model::Outcome;
use crate::store::{SharedSlot, SlotError};

/// What was told to boot has so long to go down.
pub const GOES_DOWN_WITHIN: Duration = Duration::from_secs(120);

/// Shared with whoever else keeps floors in the slot.
#[derive(Clone)]
pub struct Reboots {
    slot: SharedSlot,
    /// Ages of the box at the reboots that were asked for, oldest first.
    ages_ms: watch::Sender<Vec<u64>>,
}

impl Reboots {
    pub fn new(slot: SharedSlot) -> Self {
        let ages_ms = slot.look(|floors| floors.reboot_ages_ms.clone());
        Self { slot, ages_ms: watch::Sender::new(ages_ms) }
    }

    /// What the guard judges by.
    pub fn ages_ms(&self) -> watch::Receiver<Vec<u64>> {
        self.ages_ms.subscribe()
    }

    /// Durable when it returns.
    pub async fn count(&self, now_age_ms: u64) -> Result<(), String> {
        let slot = self.slot.clone();
        let counted = tokio::task::spawn_blocking(move || -> Result<Vec<u64>, SlotError> {
            slot.update(|floors| floors.count_reboot(now_age_ms))?;
            Ok(slot.look(|floors| floors.reboot_ages_ms.clone()))
        });
        match counted.await {
            Ok(Ok(ages_ms)) => {
                self.ages_ms.send_replace(ages_ms);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What is known after a daemon that was told to boot the box is there no more.
pub fn judged(boot_then: u64, boot_now: u64) -> Option<Outcome> {
    (boot_now != boot_then)
        .then(|| Outcome::Done { detail: format!("the box booted: boot {boot_now}") })
}

pub fn still_up(limit: Duration) -> Outcome {
    let detail = format!("the box was told to boot {} s ago, and did not", limit.as_secs());
    Outcome::Failed { detail }
}
