//! What a site may change about the built-in rules.
//!
//! Invariant: a rule is named as its findings' kind is, without `host.`; a name
//! or a field that no such rule has is refused.

use std::collections::BTreeMap;

use homeostat_sdk::latch::LineRule;
use homeostat_sdk::level::Side;
use homeostat_sdk::text::Pattern;
use homeostat_sdk::{CRITICAL, Error};
use serde::Deserialize;

use crate::fault::{self, Fault};
use crate::gauge::{self, Gauge};

const TIMES_MAX: u32 = 1_000;
const SECONDS_MAX: f64 = 31_536_000.0;
const DEBUG: u8 = 7;
/// What ends the kernel's evidence besides a quiet time.
const RELEASE: &[&str] = &["box.booted", "action.ended", "incident.closed"];

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub rules: BTreeMap<String, Change>,
    /// Where space and inodes are watched: selectors of mount points.
    pub mountpoints: Vec<String>,
    /// What must be writable even where it never was seen so.
    pub writable: Vec<String>,
}

/// What to change about one rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    off: bool,
    /// Of messages.
    severity: Option<u8>,
    times: Option<u32>,
    within_s: Option<f64>,
    quiet_s: Option<f64>,
    /// Of levels.
    warn: Option<f64>,
    error: Option<f64>,
    margin: Option<f64>,
    for_s: Option<f64>,
}

#[derive(Debug)]
pub struct FaultRule {
    pub fault: &'static Fault,
    pub severity: u8,
    pub lines: LineRule,
}

impl AsRef<LineRule> for FaultRule {
    fn as_ref(&self) -> &LineRule {
        &self.lines
    }
}

#[derive(Debug)]
pub struct Rules {
    pub faults: Vec<FaultRule>,
    pub gauges: Vec<Gauge>,
    pub mountpoints: Vec<String>,
    pub writable: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let (rules, writable) = (BTreeMap::new(), Vec::new());
        Self { rules, mountpoints: vec!["/".into()], writable }
    }
}

impl Config {
    pub fn resolve(self) -> Result<Rules, Error> {
        let names = fault::ALL.iter().map(|it| it.name).chain(gauge::ALL.iter().map(|it| it.name));
        let names: Vec<_> = names.collect();
        if let Some(unknown) = self.rules.keys().find(|name| !names.contains(&name.as_str())) {
            return Err(Error::config(format!(
                "there is no rule {unknown:?}; there are {}",
                names.join(", ")
            )));
        }
        let change = |name: &str| self.rules.get(name).cloned().unwrap_or_default();
        let wrong = |name: &str, why: String| Error::config(format!("rules.{name}: {why}"));
        let mut faults = Vec::new();
        for fault in fault::ALL {
            let rule = change(fault.name).on_fault(fault);
            faults.extend(rule.map_err(|why| wrong(fault.name, why))?);
        }
        let mut gauges = Vec::new();
        for gauge in gauge::ALL {
            let rule = change(gauge.name).on_gauge(gauge);
            gauges.extend(rule.map_err(|why| wrong(gauge.name, why))?);
        }
        let Self { mountpoints, writable, .. } = self;
        Ok(Rules { faults, gauges, mountpoints, writable })
    }
}

impl Change {
    /// None where the rule is off.
    fn on_fault(self, fault: &'static Fault) -> Result<Option<FaultRule>, String> {
        let foreign = [
            ("warn", self.warn),
            ("error", self.error),
            ("margin", self.margin),
            ("for_s", self.for_s),
        ];
        if let Some((name, _)) = foreign.iter().find(|(_, value)| value.is_some()) {
            return Err(format!("`{name}` is for levels; this rule is about messages"));
        }
        let severity = self.severity.unwrap_or(fault.severity);
        if severity > CRITICAL {
            return Err(format!("`severity` wants 0 to {CRITICAL}, found {severity}"));
        }
        let times = self.times.unwrap_or(fault.times);
        if !(1..=TIMES_MAX).contains(&times) {
            return Err(format!("`times` wants 1 to {TIMES_MAX}, found {times}"));
        }
        let quiet_ms = ms("quiet_s", self.quiet_s.unwrap_or(fault.quiet_s))?;
        let pattern = |text: &&str| Pattern::new(text);
        let lines = LineRule {
            name: fault.name.to_owned(),
            target: "box".into(),
            source: "kmsg".into(),
            priority_max: DEBUG,
            patterns: fault.patterns.iter().map(pattern).collect::<Result<_, _>>()?,
            except: fault.except.iter().map(pattern).collect::<Result<_, _>>()?,
            times: times as usize,
            within_ms: ms("within_s", self.within_s.unwrap_or(fault.within_s))?,
            release: RELEASE.iter().map(|it| (*it).to_owned()).collect(),
            quiet_ms: (quiet_ms > 0).then_some(quiet_ms),
        };
        Ok((!self.off).then_some(FaultRule { fault, severity, lines }))
    }

    fn on_gauge(self, gauge: &Gauge) -> Result<Option<Gauge>, String> {
        let foreign = [
            ("severity", self.severity.is_some()),
            ("times", self.times.is_some()),
            ("within_s", self.within_s.is_some()),
            ("quiet_s", self.quiet_s.is_some()),
        ];
        if let Some((name, _)) = foreign.iter().find(|(_, set)| *set) {
            return Err(format!("`{name}` is for messages; this rule is about a level"));
        }
        let mut changed = gauge.clone();
        changed.warn = self.warn.or(gauge.warn);
        changed.error = self.error.or(gauge.error);
        changed.margin = self.margin.unwrap_or(gauge.margin);
        changed.for_s = self.for_s.unwrap_or(gauge.for_s);
        ms("for_s", changed.for_s)?;
        if !(0.0..=f64::MAX).contains(&changed.margin) {
            return Err(format!("`margin` wants 0 or more, found {}", changed.margin));
        }
        if let (Some(warn), Some(error)) = (changed.warn, changed.error) {
            let in_order = match gauge.side {
                Side::Above => warn <= error,
                Side::Below => warn >= error,
            };
            if !in_order {
                return Err(format!(
                    "`error` wants to be worse than `warn`, found {error} and {warn}"
                ));
            }
        }
        Ok((!self.off).then_some(changed))
    }
}

fn ms(name: &str, seconds: f64) -> Result<u64, String> {
    // A year, so that no sum of ages overflows.
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(format!("`{name}` wants seconds from 0 to a year, found {seconds}"));
    }
    Ok((seconds * 1_000.0) as u64)
}
