//! One probe: its latest readings, the grace it is granted, and its silence.
//!
//! Invariant: only a reading raises or clears `failing`; silence is counted in
//! frames that were watched, so a daemon that slept accuses nobody.

use serde::{Deserialize, Serialize};

use crate::config::ProbeRule;

/// For a series that does not say how often it comes.
const PERIOD_MS: u64 = 10_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Probe {
    pub name: String,
    /// Latest readings, newest in the lowest bit; 1 is bad.
    readings: u32,
    count: u32,
    grace_until_age_ms: Option<u64>,
    silent_ms: u64,
    overdue_s: f64,
    pub failing: Option<Failing>,
    pub silent: Option<Silent>,
    /// The frame brought a reading.
    #[serde(skip)]
    heard: bool,
    #[serde(skip)]
    pub column: usize,
    #[serde(skip)]
    period_ms: u64,
}

/// What was seen when it was raised; it does not change while it stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Failing {
    pub since_age_ms: u64,
    pub bad: u32,
    pub of: u32,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Silent {
    pub since_age_ms: u64,
    pub why: Silence,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Silence {
    /// In flight for so long past its timeout.
    NeverReturned { overdue_s: f64 },
    /// Nothing came, or only "I cannot tell".
    NoReading { for_s: f64 },
}

impl Probe {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub fn bind(&mut self, column: usize, period_ms: u32) {
        self.column = column;
        self.period_ms = if period_ms == 0 { PERIOD_MS } else { period_ms.into() };
    }

    /// In another life of the watcher. Silence that stands, stands; what is
    /// counted of one begins anew, or lives too short to hear an answer would
    /// add up to an accusation.
    pub fn resume(&mut self) {
        if self.silent.is_none() {
            self.silent_ms = 0;
        }
    }

    pub fn begin_frame(&mut self) {
        self.heard = false;
    }

    /// Another process answers from now on, and may take its time to.
    pub fn renew(&mut self, grace_until_age_ms: Option<u64>) {
        let name = std::mem::take(&mut self.name);
        let Self { heard, column, period_ms, .. } = *self;
        *self = Self { name, grace_until_age_ms, heard, column, period_ms, ..Self::default() };
    }

    pub fn reading(&mut self, age_ms: u64, good: bool, rule: &ProbeRule) {
        self.heard = true;
        let in_grace = self.in_grace(age_ms);
        if !in_grace {
            self.grace_until_age_ms = None;
        } else if good {
            // What came while it was starting is no evidence against it now.
            (self.readings, self.count, self.grace_until_age_ms) = (0, 0, None);
        }
        self.readings = self.readings << 1 | u32::from(!good);
        self.count = (self.count + 1).min(rule.of);
        let bad = self.bad(rule);
        if bad < rule.fails {
            self.failing = None;
        } else if self.failing.is_none() && !good && !in_grace {
            self.failing = Some(Failing { since_age_ms: age_ms, bad, of: self.count });
        }
    }

    pub fn overdue(&mut self, overdue_s: f64) {
        self.overdue_s = overdue_s;
    }

    /// Ends a frame that came `passed_ms` after the one before.
    pub fn pass(&mut self, passed_ms: u64, now_age_ms: u64, rule: &ProbeRule) {
        if self.heard || self.in_grace(now_age_ms) {
            self.silent_ms = 0;
        } else {
            self.silent_ms += passed_ms.min(self.period_ms);
        }
        let allowed_ms = self.period_ms * u64::from(rule.silent_periods);
        let why = if self.overdue_s > rule.overdue_s {
            Some(Silence::NeverReturned { overdue_s: self.overdue_s })
        } else if self.silent_ms >= allowed_ms {
            Some(Silence::NoReading { for_s: self.silent_ms as f64 / 1_000.0 })
        } else {
            None
        };
        self.silent = match (why, self.silent) {
            (None, _) => None,
            (Some(_), Some(standing)) => Some(standing),
            (Some(why), None) => Some(Silent { since_age_ms: now_age_ms, why }),
        };
    }

    /// Whether enough was seen, in this life or a remembered one, to say
    /// whether it is well.
    pub fn is_known(&self) -> bool {
        let seen = (1_u64 << self.count) - 1;
        let good = u64::from(!self.readings) & seen != 0;
        good || self.failing.is_some()
    }

    fn in_grace(&self, age_ms: u64) -> bool {
        self.grace_until_age_ms.is_some_and(|until| age_ms < until)
    }

    fn bad(&self, rule: &ProbeRule) -> u32 {
        let seen = (1_u64 << self.count.min(rule.of)) - 1;
        (u64::from(self.readings) & seen).count_ones()
    }
}
