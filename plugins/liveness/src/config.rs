//! What a site may set, and what holds where it says nothing.

use homeostat_sdk::Error;
use homeostat_sdk::text::selects;
use serde::Deserialize;

/// Longest run of readings that is remembered.
pub const READINGS_MAX: u32 = 32;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// So many bad readings ...
    pub probe_fails: u32,
    /// ... of the latest so many make `probe.failing`.
    pub probe_of: u32,
    /// From a start, or a boot, to a probe's first good reading: its bad
    /// readings are no fault before. A start that says how long its workload
    /// takes (`start_grace_ms`) is believed; an override here beats both.
    pub start_grace_s: f64,
    /// A probe in flight may be so long past its timeout.
    pub overdue_s: f64,
    /// A probe that brings nothing for so many of its periods is silent.
    pub silent_periods: u32,
    /// Between the readings of a process and the marks about it, so much delay
    /// is no contradiction.
    pub settle_s: f64,
    /// The first that matches and sets a field decides it.
    pub overrides: Vec<Override>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// `workload:digits`, `workload:*`.
    #[serde(default = "any")]
    pub target: String,
    #[serde(default = "any")]
    pub probe: String,
    pub probe_fails: Option<u32>,
    pub probe_of: Option<u32>,
    pub start_grace_s: Option<f64>,
    pub overdue_s: Option<f64>,
    pub silent_periods: Option<u32>,
}

/// What holds for one probe.
#[derive(Clone, Copy, Debug)]
pub struct ProbeRule {
    pub fails: u32,
    pub of: u32,
    pub overdue_s: f64,
    pub silent_periods: u32,
}

/// How long a start may take, and who said so.
#[derive(Clone, Copy, Debug)]
pub enum Grace {
    /// The workload's own word beats it.
    Default {
        ms: u64,
    },
    Override {
        ms: u64,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probe_fails: 2,
            probe_of: 3,
            start_grace_s: 30.0,
            overdue_s: 5.0,
            silent_periods: 4,
            settle_s: 3.0,
            overrides: Vec::new(),
        }
    }
}

fn any() -> String {
    "*".into()
}

impl Config {
    pub fn check(&self) -> Result<(), Error> {
        let seconds = [
            ("start_grace_s", Some(self.start_grace_s)),
            ("overdue_s", Some(self.overdue_s)),
            ("settle_s", Some(self.settle_s)),
        ];
        check_seconds("", &seconds)?;
        check_counts("", self.probe_fails, self.probe_of, self.silent_periods)?;
        for (at, it) in self.overrides.iter().enumerate() {
            let place = format!("overrides[{at}].");
            let seconds = [("start_grace_s", it.start_grace_s), ("overdue_s", it.overdue_s)];
            check_seconds(&place, &seconds)?;
            check_counts(
                &place,
                it.probe_fails.unwrap_or(self.probe_fails),
                it.probe_of.unwrap_or(self.probe_of),
                it.silent_periods.unwrap_or(self.silent_periods),
            )?;
        }
        Ok(())
    }

    pub fn probe(&self, target: &str, probe: &str) -> ProbeRule {
        let mine = |it: &&Override| selects(&it.target, target) && selects(&it.probe, probe);
        let mine = || self.overrides.iter().filter(mine);
        // Set together, so that no mixture asks for 5 of 3.
        let (fails, of) = mine()
            .find(|it| it.probe_fails.is_some() || it.probe_of.is_some())
            .map_or((self.probe_fails, self.probe_of), |it| {
                (it.probe_fails.unwrap_or(self.probe_fails), it.probe_of.unwrap_or(self.probe_of))
            });
        ProbeRule {
            fails,
            of,
            overdue_s: mine().find_map(|it| it.overdue_s).unwrap_or(self.overdue_s),
            silent_periods: mine().find_map(|it| it.silent_periods).unwrap_or(self.silent_periods),
        }
    }

    pub fn start_grace_ms(&self, target: &str) -> Grace {
        let mine = self.overrides.iter().filter(|it| selects(&it.target, target));
        match mine.filter(|it| it.probe == "*").find_map(|it| it.start_grace_s) {
            Some(seconds) => Grace::Override { ms: to_ms(seconds) },
            None => Grace::Default { ms: to_ms(self.start_grace_s) },
        }
    }

    pub fn settle_ms(&self) -> u64 {
        to_ms(self.settle_s)
    }
}

impl Grace {
    pub fn ms(self) -> u64 {
        match self {
            Self::Default { ms } | Self::Override { ms } => ms,
        }
    }

    /// With what the start itself said.
    pub fn of_start(self, told_ms: Option<f64>) -> u64 {
        match (self, told_ms) {
            (Self::Default { .. }, Some(told_ms)) if told_ms >= 0.0 => told_ms as u64,
            _ => self.ms(),
        }
    }
}

fn to_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}

fn check_seconds(place: &str, fields: &[(&str, Option<f64>)]) -> Result<(), Error> {
    for (name, value) in fields {
        // A year, so that no sum of ages overflows.
        if let Some(value) = value
            && !(0.0..=31_536_000.0).contains(value)
        {
            return Err(Error::config(format!(
                "{place}{name} wants seconds from 0 to a year, found {value}"
            )));
        }
    }
    Ok(())
}

fn check_counts(place: &str, fails: u32, of: u32, silent_periods: u32) -> Result<(), Error> {
    if fails == 0 || fails > of || of > READINGS_MAX {
        return Err(Error::config(format!(
            "{place}probe_fails of {place}probe_of wants 1 <= N <= M <= {READINGS_MAX}, \
             found {fails} of {of}"
        )));
    }
    if silent_periods == 0 {
        return Err(Error::config(format!("{place}silent_periods wants at least 1, found 0")));
    }
    Ok(())
}
