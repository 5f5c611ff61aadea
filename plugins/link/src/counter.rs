//! What a counter that only rises has to tell.
//!
//! Invariant: a counter that fell was reset, by a boot, a driver or a link made
//! anew; what it counted before says nothing of what it counts now.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::config::FLAPS_MAX;

/// A rate is taken over at least so long, or one packet would make a storm.
pub const RATE_MS: u64 = 10_000;

/// How fast it rises.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    base: Option<(u64, f64)>,
    last: f64,
}

impl Rate {
    /// Per second, once enough time has passed.
    pub fn reading(&mut self, age_ms: u64, value: f64) -> Option<f64> {
        let was_reset = value < self.last;
        self.last = value;
        let Some((since_age_ms, from)) = self.base.filter(|_| !was_reset) else {
            self.base = Some((age_ms, value));
            return None;
        };
        let for_ms = age_ms.saturating_sub(since_age_ms);
        (for_ms >= RATE_MS).then(|| {
            self.base = Some((age_ms, value));
            (value - from) * 1_000.0 / for_ms as f64
        })
    }
}

/// How much of it fell into the time just past.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    last: Option<f64>,
    rises: VecDeque<(u64, u32)>,
}

impl Recent {
    pub fn reading(&mut self, age_ms: u64, value: f64, window_ms: u64) -> u32 {
        let risen = self.last.map_or(0.0, |last| value - last);
        self.last = Some(value);
        if risen > 0.0 {
            self.rises.push_back((age_ms, risen.min(f64::from(u32::MAX)) as u32));
        }
        // So many rises are enough for any rule.
        while self.rises.front().is_some_and(|(at, _)| age_ms.saturating_sub(*at) > window_ms)
            || self.rises.len() > FLAPS_MAX as usize
        {
            self.rises.pop_front();
        }
        self.rises.iter().fold(0, |sum, (_, risen)| sum.saturating_add(*risen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_taken_over_ten_seconds_and_begins_anew_when_the_counter_does() {
        let mut rate = Rate::default();
        let mut tell = |age_s: u64, value| rate.reading(age_s * 1_000, value);
        assert_eq!(tell(1, 1_000.0), None);
        assert_eq!(tell(6, 5_000.0), None);
        assert_eq!(tell(11, 1_200.0), None, "it fell: it was reset");
        assert_eq!(tell(16, 1_300.0), None);
        assert_eq!(tell(21, 1_700.0), Some(50.0));
        assert_eq!(tell(41, 1_700.0), Some(0.0));
    }

    #[test]
    fn what_is_recent_leaves_the_window_and_is_bounded() {
        let mut recent = Recent::default();
        assert_eq!(recent.reading(0, 7.0, 10_000), 0);
        assert_eq!(recent.reading(1_000, 9.0, 10_000), 2);
        assert_eq!(recent.reading(2_000, 1.0, 10_000), 2, "it was reset");
        assert_eq!(recent.reading(3_000, 2.0, 10_000), 3);
        assert_eq!(recent.reading(12_000, 2.0, 10_000), 1);
        for n in 0..1_000_u64 {
            recent.reading(n, n as f64, 10_000);
        }
        assert!(recent.rises.len() <= FLAPS_MAX as usize);
    }
}
