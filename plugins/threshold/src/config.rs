//! Rules as a site writes them, and as they are obeyed.
//!
//! Invariant: a [`Rule`] exists only after everything about it was checked;
//! the first mistake is named with its rule.

use std::collections::BTreeMap;

use homeostat_sdk::latch::LineRule;
use homeostat_sdk::text::Pattern;
use homeostat_sdk::{CRITICAL, ERROR, Error};
use serde::Deserialize;

use crate::message::Message;

const RULES_MAX: usize = 256;
const TIMES_MAX: u32 = 1_000;
const WITHIN_S_DEFAULT: f64 = 60.0;
const SERIES_MESSAGE: &str = "{series} of {target} is {value} {unit}, the limit is {raise}";
const LINE_MESSAGE: &str = "{target} wrote {count} times in {within} s: {line}";
/// What ends the evidence of lines: the process that wrote them was replaced,
/// or somebody closed the matter.
const RELEASE: &[&str] = &["workload.started", "incident.closed", "box.booted"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub rules: Vec<RuleConfig>,
}

/// One rule, over `series` or over `line`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    name: String,
    /// `threshold.NAME` where nothing else is said.
    kind: Option<String>,
    severity: Option<u8>,
    /// May hold `{target}`, `{value}` and the like: see `message.rs`.
    message: Option<String>,
    #[serde(default = "any")]
    target: String,

    /// Name of the series, or the beginning of one and `*`.
    series: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    op: Option<Op>,
    raise: Option<f64>,
    /// Once raised, it stands while the value is beyond this; `raise` where
    /// nothing else is said.
    clear: Option<f64>,
    /// Raised only after so long without a reading on the good side.
    for_s: Option<f64>,

    /// Text in a line; `*` is any text, `\*` an asterisk.
    line: Option<String>,
    /// Where the line came from: `output`, `kmsg`.
    #[serde(default = "any")]
    source: String,
    /// Marks that end it; an empty list makes it stand for good.
    release: Option<Vec<String>>,

    /// So many readings beyond `raise`, or matching lines, ...
    times: Option<u32>,
    /// ... in so long.
    within_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Op {
    #[serde(rename = ">")]
    Above,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = "<=")]
    AtMost,
}

/// What the findings of a rule have in common.
#[derive(Debug)]
pub struct Rule {
    pub name: String,
    pub kind: String,
    pub severity: u8,
    pub message: Message,
    pub target: String,
}

#[derive(Debug)]
pub struct SeriesRule {
    pub rule: Rule,
    pub series: String,
    pub labels: BTreeMap<String, String>,
    pub op: Op,
    pub raise: f64,
    pub when: When,
}

/// When readings beyond the limit make a finding, and when it ends.
#[derive(Clone, Copy, Debug)]
pub enum When {
    Lasting { for_ms: u64, clear: f64 },
    Repeated { times: usize, within_ms: u64 },
}

#[derive(Debug)]
pub struct LatchRule {
    pub rule: Rule,
    pub lines: LineRule,
}

#[derive(Debug, Default)]
pub struct Rules {
    pub series: Vec<SeriesRule>,
    pub lines: Vec<LatchRule>,
}

impl AsRef<LineRule> for LatchRule {
    fn as_ref(&self) -> &LineRule {
        &self.lines
    }
}

impl Op {
    pub fn is_beyond(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
        }
    }

    /// Whether `clear` lies on the good side of `raise`, or on it.
    fn lies_back(self, clear: f64, raise: f64) -> bool {
        match self {
            Self::Above | Self::AtLeast => clear <= raise,
            Self::Below | Self::AtMost => clear >= raise,
        }
    }
}

impl Config {
    pub fn resolve(self) -> Result<Rules, Error> {
        if self.rules.len() > RULES_MAX {
            let found = self.rules.len();
            return Err(Error::config(format!("wanted at most {RULES_MAX} rules, found {found}")));
        }
        let mut names: Vec<String> = Vec::new();
        let mut rules = Rules::default();
        for (at, config) in self.rules.into_iter().enumerate() {
            let name = config.name.clone();
            let wrong = |why: String| Error::config(format!("rule {name:?} (rules[{at}]): {why}"));
            if names.contains(&name) {
                return Err(wrong("another rule has the same name".into()));
            }
            names.push(name.clone());
            match (&config.series, &config.line) {
                (Some(_), None) => rules.series.push(config.over_series().map_err(wrong)?),
                (None, Some(_)) => rules.lines.push(config.over_lines().map_err(wrong)?),
                _ => return Err(wrong("wanted either `series` or `line`".into())),
            }
        }
        Ok(rules)
    }
}

impl RuleConfig {
    fn over_series(self) -> Result<SeriesRule, String> {
        let foreign = [("release", self.release.is_some()), ("source", self.source != "*")];
        refuse(&foreign, "is for rules over lines")?;
        let op = self.op.ok_or("wanted `op`: one of \">\", \">=\", \"<\", \"<=\"")?;
        let raise = self.raise.ok_or("wanted `raise`: the limit")?;
        let clear = self.clear.unwrap_or(raise);
        if !raise.is_finite() || !clear.is_finite() || !op.lies_back(clear, raise) {
            return Err(format!(
                "wanted `clear` on the good side of `raise`, found {clear} and {raise}"
            ));
        }
        let when = match (self.times, self.within_s) {
            (None, None) => When::Lasting { for_ms: ms("for_s", self.for_s, 0.0)?, clear },
            (Some(_), _) => {
                let foreign = [("for_s", self.for_s.is_some()), ("clear", self.clear.is_some())];
                refuse(&foreign, "does not go with `times`")?;
                let (times, within_ms) = self.repeated()?;
                When::Repeated { times, within_ms }
            }
            (None, Some(_)) => return Err("`within_s` wants `times`".into()),
        };
        Ok(SeriesRule {
            series: self.series.clone().unwrap_or_default(),
            labels: self.labels.clone(),
            op,
            raise,
            when,
            rule: self.common(SERIES_MESSAGE)?,
        })
    }

    fn over_lines(self) -> Result<LatchRule, String> {
        let foreign = [
            ("labels", !self.labels.is_empty()),
            ("op", self.op.is_some()),
            ("raise", self.raise.is_some()),
            ("clear", self.clear.is_some()),
            ("for_s", self.for_s.is_some()),
        ];
        refuse(&foreign, "is for rules over series")?;
        let pattern = Pattern::new(self.line.as_deref().unwrap_or_default())?;
        let (times, within_ms) = self.repeated()?;
        let release = self
            .release
            .clone()
            .unwrap_or_else(|| RELEASE.iter().map(|mark| (*mark).to_owned()).collect());
        let lines = LineRule {
            name: self.name.clone(),
            target: self.target.clone(),
            source: self.source.clone(),
            priority_max: u8::MAX,
            patterns: vec![pattern],
            except: Vec::new(),
            times,
            within_ms,
            release,
            quiet_ms: None,
        };
        Ok(LatchRule { lines, rule: self.common(LINE_MESSAGE)? })
    }

    fn repeated(&self) -> Result<(usize, u64), String> {
        let times = self.times.unwrap_or(1);
        if !(1..=TIMES_MAX).contains(&times) {
            return Err(format!("`times` wants 1 to {TIMES_MAX}, found {times}"));
        }
        Ok((times as usize, ms("within_s", self.within_s, WITHIN_S_DEFAULT)?))
    }

    fn common(self, message: &str) -> Result<Rule, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            return Err("a name is made of letters, digits, `-`, `_` and `.`".into());
        }
        let severity = self.severity.unwrap_or(ERROR);
        if severity > CRITICAL {
            return Err(format!("`severity` wants 0 to {CRITICAL}, found {severity}"));
        }
        Ok(Rule {
            kind: self.kind.unwrap_or_else(|| format!("threshold.{}", self.name)),
            severity,
            message: Message::parse(self.message.as_deref().unwrap_or(message))?,
            target: self.target,
            name: self.name,
        })
    }
}

fn any() -> String {
    "*".into()
}

fn refuse(foreign: &[(&str, bool)], why: &str) -> Result<(), String> {
    match foreign.iter().find(|(_, set)| *set) {
        Some((name, _)) => Err(format!("`{name}` {why}")),
        None => Ok(()),
    }
}

fn ms(name: &str, seconds: Option<f64>, default: f64) -> Result<u64, String> {
    let seconds = seconds.unwrap_or(default);
    // A year, so that no sum of ages overflows.
    if !(0.0..=31_536_000.0).contains(&seconds) {
        return Err(format!("`{name}` wants seconds from 0 to a year, found {seconds}"));
    }
    Ok((seconds * 1_000.0) as u64)
}
