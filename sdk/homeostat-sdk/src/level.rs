//! A number against its limits: raised beyond one, cleared on the good side of
//! another, so that a value at the limit does not flutter.
//!
//! Invariant: only a reading raises or clears; a hole changes nothing but how
//! long nobody looked.

use serde::{Deserialize, Serialize};

/// A pause in the readings longer than so many periods, and than the floor,
/// breaks what lasts: nobody knows what happened meanwhile.
const GAP_PERIODS: u64 = 3;
const GAP_MS_MIN: u64 = 10_000;

/// Which side of a limit is the bad one. Being at the limit is being beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Above,
    Below,
}

/// When a value is too much.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub side: Side,
    pub raise: f64,
    /// It is well again only this far back from `raise`.
    pub margin: f64,
    /// Beyond for so long, without a reading on the good side.
    pub for_ms: u64,
}

/// One series against one limit, across frames and restarts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    pub standing: Option<Standing>,
    #[serde(default)]
    beyond_since_age_ms: Option<u64>,
    #[serde(default)]
    last_age_ms: u64,
}

/// What was seen when it was raised; it does not change while it stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    pub since_age_ms: u64,
    pub value: f64,
}

impl Limit {
    pub fn is_beyond(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value >= self.raise,
            Side::Below => value <= self.raise,
        }
    }

    fn is_well(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value < self.raise && value <= self.raise - self.margin,
            Side::Below => value > self.raise && value >= self.raise + self.margin,
        }
    }
}

impl Level {
    pub fn reading(&mut self, age_ms: u64, value: f64, limit: &Limit, period_ms: u32) {
        let gap_ms = (u64::from(period_ms) * GAP_PERIODS).max(GAP_MS_MIN);
        let beyond = limit.is_beyond(value);
        if age_ms.saturating_sub(self.last_age_ms) > gap_ms || !beyond {
            self.beyond_since_age_ms = None;
        }
        self.last_age_ms = age_ms;
        if beyond {
            let since_age_ms = *self.beyond_since_age_ms.get_or_insert(age_ms);
            if self.standing.is_none() && age_ms.saturating_sub(since_age_ms) >= limit.for_ms {
                self.standing = Some(Standing { since_age_ms, value });
            }
        } else if limit.is_well(value) {
            self.standing = None;
        }
    }

    /// Whether a life without it would say something else.
    pub fn is_worth_saving(&self) -> bool {
        self.standing.is_some() || self.beyond_since_age_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(limit: Limit, readings: &[(u64, f64)]) -> Vec<bool> {
        let mut level = Level::default();
        let mut tell = |(age_s, value): &(u64, f64)| {
            level.reading(age_s * 1_000, *value, &limit, 1_000);
            level.standing.is_some()
        };
        readings.iter().map(&mut tell).collect()
    }

    #[test]
    fn a_limit_raises_and_only_what_is_well_back_clears() {
        let high = Limit { side: Side::Above, raise: 0.9, margin: 0.1, for_ms: 0 };
        let seen = raised(high, &[(1, 0.89), (2, 0.9), (3, 0.81), (4, 0.8), (5, 0.85)]);
        assert_eq!(seen, [false, true, true, false, false]);
        let low = Limit { side: Side::Below, raise: 0.0, margin: 0.0, for_ms: 0 };
        assert_eq!(raised(low, &[(1, 1.0), (2, 0.0), (3, 1.0)]), [false, true, false]);
    }

    #[test]
    fn what_must_last_lasts_without_a_good_reading_and_without_a_gap() {
        let limit = Limit { side: Side::Above, raise: 5.0, margin: 1.0, for_ms: 3_000 };
        let seen = raised(limit, &[(1, 6.0), (3, 6.0), (4, 6.0)]);
        assert_eq!(seen, [false, false, true]);
        let seen = raised(limit, &[(1, 6.0), (3, 4.5), (4, 6.0), (6, 6.0)]);
        assert_eq!(seen, [false; 4]);
        let seen = raised(limit, &[(1, 6.0), (100, 6.0)]);
        assert_eq!(seen, [false, false]);
    }
}
