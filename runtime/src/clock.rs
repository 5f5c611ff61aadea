//! The box's own time: an age that never goes back and counts across boots.
//!
//! Within one boot the age follows `CLOCK_BOOTTIME`, so it counts suspend and
//! the time the daemon was down. Across boots it goes on from the last age that
//! was written down, because how long the box was off is not known to it.
//! Invariant: only `daemon` reads a clock into the pure rooms; they are given `now`.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::failpoint::{slept_ms, wall_off_ms};
use crate::model::Instant;

/// The wall clock is taken at its word only from 2026-01-01T00:00:00Z, where a
/// box without a battery wakes in 1970, and up to 2076-01-01T00:00:00Z, where a
/// battery that fails, or another's mad clock, says any year. Otherwise there is
/// no time, and what goes by it waits.
const WALL_UNIX_MS: Range<i64> = 1_767_225_600_000..3_345_062_400_000;

/// What the trust slot keeps of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedClock {
    /// `/proc/sys/kernel/random/boot_id` of the boot that `offset_ms` is about.
    pub boot_id: String,
    /// Boots counted so far.
    pub boot: u64,
    /// Age in milliseconds at that boot's start.
    pub offset_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Clock {
    saved: SavedClock,
}

impl Clock {
    /// Goes on from what was saved. `last_age_ms` is the newest age known from
    /// the journal; a new boot starts there.
    pub fn resume(saved: SavedClock, boot_id: &str, last_age_ms: u64) -> Self {
        if saved.boot_id == boot_id {
            return Self { saved };
        }
        let offset_ms = last_age_ms.max(saved.offset_ms);
        Self { saved: SavedClock { boot_id: boot_id.to_owned(), boot: saved.boot + 1, offset_ms } }
    }

    pub fn saved(&self) -> &SavedClock {
        &self.saved
    }

    pub fn now(&self) -> Instant {
        let unix_ms = wall_ms().filter(|ms| WALL_UNIX_MS.contains(ms));
        Instant { age_ms: self.age_ms(), boot: self.saved.boot, unix_ms }
    }

    pub fn age_ms(&self) -> u64 {
        self.saved.offset_ms + boottime_ms()
    }
}

/// What the wall clock says, true or not.
fn wall_ms() -> Option<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()?.checked_add(wall_off_ms())
}

/// Milliseconds since the kernel booted, suspend included.
pub fn boottime_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000
        + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
        + slept_ms()
}

/// A number of a name's own, for moments that are not to be one: FNV-1a (RFC 9923)
/// spreads short names well, and needs no crate.
pub fn spread(name: impl AsRef<str>) -> u64 {
    name.as_ref().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// This boot's id, as the kernel gives it.
pub fn boot_id() -> std::io::Result<String> {
    // No test can boot the machine it runs on; it says that it did.
    #[cfg(feature = "failpoints")]
    if let Ok(pretended) = std::env::var("HOMEOSTAT_BOOT_ID") {
        return Ok(pretended);
    }
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_in_the_same_boot_goes_on_and_a_new_boot_starts_at_the_last_known_age() {
        let first = Clock::resume(SavedClock::default(), "boot-a", 0);
        assert_eq!((first.saved().boot, first.saved().offset_ms), (1, 0));

        let same = Clock::resume(first.saved().clone(), "boot-a", 5_000);
        assert_eq!(same.saved(), first.saved());

        let next = Clock::resume(first.saved().clone(), "boot-b", 5_000);
        assert_eq!((next.saved().boot, next.saved().offset_ms), (2, 5_000));
    }

    #[test]
    fn a_journal_that_lost_its_tail_does_not_turn_the_age_back() {
        let saved = SavedClock { boot_id: "boot-a".into(), boot: 3, offset_ms: 9_000 };
        assert_eq!(Clock::resume(saved, "boot-b", 100).saved().offset_ms, 9_000);
    }
}
