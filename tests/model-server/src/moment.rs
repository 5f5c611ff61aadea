//! One instant on two clocks: the calendar's, to be read beside other logs, and
//! the kernel's monotonic one, to be subtracted.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// `mono_ns` is `CLOCK_MONOTONIC`, the same for every process of one boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    pub unix_ns: u64,
    pub mono_ns: u64,
}

impl Moment {
    pub fn now() -> Self {
        Self { unix_ns: read(ClockId::Realtime), mono_ns: read(ClockId::Monotonic) }
    }

    /// So much later, as far as the calendar is not set in between.
    pub fn after(self, length: Duration) -> Self {
        let ns = length.as_nanos() as u64;
        Self { unix_ns: self.unix_ns + ns, mono_ns: self.mono_ns + ns }
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Both clocks start at zero or later; 64 bits of nanoseconds reach the year 2554.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
