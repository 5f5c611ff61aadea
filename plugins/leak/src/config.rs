//! Rules as a site writes them, and as they are obeyed.
//!
//! Invariant: a [`Rule`] exists only after everything about it was checked; the
//! first mistake is named with its rule.

use std::collections::BTreeMap;

use homeostat_sdk::text::selects;
use homeostat_sdk::{CRITICAL, Error, Series, WARNING};
use serde::Deserialize;

const RULES_MAX: usize = 64;
const SECONDS_MAX: f64 = 31_536_000.0;
const MEMORY: &str = "process.memory.usage";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub rules: Vec<RuleConfig>,
    /// The memory limit of workloads, in bytes or as `512MiB`, by target. It is
    /// the one under `limits` of the workload.
    pub memory: BTreeMap<String, Bytes>,
    /// A limit that is reached later than this is nobody's worry yet.
    pub horizon_s: f64,
    /// How far back it looks, ...
    pub window_s: f64,
    /// ... and how much of that it must have seen.
    pub span_min_s: f64,
    /// A process that starts rises, and leaks nothing.
    pub settle_s: f64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    name: String,
    /// `leak.NAME` where nothing else is said.
    kind: Option<String>,
    severity: Option<u8>,
    #[serde(default = "any")]
    target: String,
    series: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    limit: f64,
    /// Whether the limit lies above or below.
    #[serde(default)]
    toward: Toward,
    horizon_s: Option<f64>,
    window_s: Option<f64>,
    span_min_s: Option<f64>,
    settle_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Toward {
    #[default]
    Rise,
    Fall,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Bytes {
    Number(f64),
    Text(String),
}

#[derive(Debug)]
pub struct Rule {
    pub name: String,
    pub kind: String,
    pub severity: u8,
    target: String,
    pub series: String,
    labels: BTreeMap<String, String>,
    pub limit: f64,
    pub toward: Toward,
    pub horizon_s: f64,
    pub window_ms: u64,
    pub span_ms_min: u64,
    pub settle_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            memory: BTreeMap::new(),
            horizon_s: 86_400.0,
            window_s: 21_600.0,
            span_min_s: 1_800.0,
            settle_s: 300.0,
        }
    }
}

fn any() -> String {
    "*".into()
}

impl Config {
    pub fn resolve(self) -> Result<Vec<Rule>, Error> {
        let mut rules: Vec<Rule> = Vec::new();
        for (target, bytes) in &self.memory {
            let wrong = |why: String| Error::config(format!("memory.{target:?}: {why}"));
            if !target.contains(':') {
                return Err(wrong("wanted a target, such as `workload:digits`".into()));
            }
            let limit = bytes.count().map_err(wrong)?;
            let rule = RuleConfig::memory(target, limit);
            rules.push(rule.resolve(&self).map_err(wrong)?);
        }
        for (at, rule) in self.rules.iter().enumerate() {
            let name = rule.name.clone();
            let wrong = |why: String| Error::config(format!("rule {name:?} (rules[{at}]): {why}"));
            let rule = rule.clone().resolve(&self).map_err(wrong)?;
            if self.rules[..at].iter().any(|it| it.name == name) {
                return Err(wrong("another rule has the same name".into()));
            }
            rules.push(rule);
        }
        if rules.len() > RULES_MAX {
            let found = rules.len();
            return Err(Error::config(format!("wanted at most {RULES_MAX} rules, found {found}")));
        }
        Ok(rules)
    }
}

impl RuleConfig {
    fn memory(target: &str, limit: f64) -> Self {
        Self {
            name: "memory".into(),
            kind: None,
            severity: None,
            target: target.to_owned(),
            series: MEMORY.into(),
            labels: BTreeMap::new(),
            limit,
            toward: Toward::Rise,
            horizon_s: None,
            window_s: None,
            span_min_s: None,
            settle_s: None,
        }
    }

    fn resolve(self, whole: &Config) -> Result<Rule, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err("a name is made of letters, digits, `-`, `_` and `.`".into());
        }
        let severity = self.severity.unwrap_or(WARNING);
        if severity > CRITICAL {
            return Err(format!("`severity` wants 0 to {CRITICAL}, found {severity}"));
        }
        if !self.limit.is_finite() {
            return Err(format!("`limit` wants a number, found {}", self.limit));
        }
        let seconds = |name: &str, own: Option<f64>, whole: f64, min: f64| {
            let seconds = own.unwrap_or(whole);
            if !(min..=SECONDS_MAX).contains(&seconds) {
                return Err(format!(
                    "`{name}` wants seconds from {min} to a year, found {seconds}"
                ));
            }
            Ok(seconds)
        };
        let window_s = seconds("window_s", self.window_s, whole.window_s, 60.0)?;
        let span_min_s = seconds("span_min_s", self.span_min_s, whole.span_min_s, 30.0)?;
        // The window gives up a step at its end, so it must be longer.
        if span_min_s > window_s * 0.9 {
            return Err(format!(
                "`span_min_s` wants at most nine tenths of `window_s`, found {span_min_s} of {window_s}"
            ));
        }
        Ok(Rule {
            kind: self.kind.unwrap_or_else(|| format!("leak.{}", self.name)),
            severity,
            horizon_s: seconds("horizon_s", self.horizon_s, whole.horizon_s, 1.0)?,
            window_ms: (window_s * 1_000.0) as u64,
            span_ms_min: (span_min_s * 1_000.0) as u64,
            settle_ms: (seconds("settle_s", self.settle_s, whole.settle_s, 0.0)? * 1_000.0) as u64,
            name: self.name,
            target: self.target,
            series: self.series,
            labels: self.labels,
            limit: self.limit,
            toward: self.toward,
        })
    }
}

impl Rule {
    pub fn watches(&self, series: &Series) -> bool {
        let labelled = |(name, selector): (&String, &String)| {
            series.label(name).is_some_and(|value| selects(selector, value))
        };
        selects(&self.series, &series.name)
            && selects(&self.target, &series.target)
            && self.labels.iter().all(labelled)
    }
}

impl Bytes {
    fn count(&self) -> Result<f64, String> {
        let count = match self {
            Self::Number(count) => Some(*count),
            Self::Text(text) => {
                let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];
                let read = units.iter().find_map(|(unit, bits)| {
                    let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
                    Some(number * f64::from(1_u32 << bits))
                });
                read.or_else(|| text.parse().ok())
            }
        };
        let count = count.filter(|count| *count > 0.0 && count.is_finite());
        count.ok_or_else(|| format!("wanted bytes, or text such as `512MiB`, found {self:?}"))
    }
}
