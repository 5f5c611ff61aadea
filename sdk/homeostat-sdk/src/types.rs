//! The contract's nouns, as a plugin sees them: inert data.
//!
//! Invariant: each record here has the fields of its namesake in
//! `wit/homeostat.wit`, in name and meaning; the bindings lift straight into
//! them, and a recording stores them under the same names.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Shown only; opens no incident.
pub const NOTE: u8 = 0;
pub const WARNING: u8 = 1;
pub const ERROR: u8 = 2;
pub const CRITICAL: u8 = 3;

/// Most findings that the daemon takes in one report; more are a fault.
pub const FINDINGS_MAX: usize = 256;

/// A value of an open vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    Flag(bool),
    Int(i64),
    Num(f64),
    Text(String),
}

impl Value {
    pub fn as_flag(&self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// The number, whether it came whole or not.
    pub fn as_num(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(*int as f64),
            Self::Num(num) => Some(*num),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Int(int) => int.fmt(f),
            Self::Num(num) => num.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Self {
        Self::Int(int.into())
    }
}

impl From<u32> for Value {
    fn from(int: u32) -> Self {
        Self::Int(int.into())
    }
}

/// Counts and ages; what exceeds `i64` is held at its ceiling.
impl From<u64> for Value {
    fn from(int: u64) -> Self {
        Self::Int(i64::try_from(int).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(num: f64) -> Self {
        Self::Num(num)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Named values, in order.
pub type Attrs = Vec<(String, Value)>;

/// The value under `name`, if there is one.
pub fn attr<'a>(attrs: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    attrs.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Why a plugin refuses its configuration or its series. `code` is a short
/// stable word for programs, `message` says what was wanted and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub code: String,
    pub message: String,
}

impl Error {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    /// The configuration parses and means nothing.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new("config.invalid", message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

/// A moment of the box's own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// Milliseconds of the box's age: never goes back, counts across boots.
    pub age_ms: u64,
    /// Which boot of the box, counted from 1.
    pub boot: u64,
    /// Unix time in milliseconds, only when the wall clock is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_ms: Option<i64>,
}

/// A named stream of numbers of one target. Names and units follow
/// OpenTelemetry's semantic conventions where they have one; units are UCUM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub unit: String,
    pub target: String,
    /// How often a reading is expected, in milliseconds; 0 when nobody knows.
    pub period_ms: u32,
    pub labels: Vec<(String, String)>,
}

impl Series {
    /// The value of one label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// One line of text that a workload or a log wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub target: String,
    /// `output` for a workload's own, `kmsg`, a file's name.
    pub source: String,
    pub age_ms: u64,
    /// syslog severity: 0 emergency to 7 debug; 6 where the source has none.
    pub priority: u8,
    pub text: String,
}

/// What the daemon itself did or learnt: `workload.started`,
/// `workload.exited`, `workload.stopped`, `action.ended`, `incident.closed`,
/// `box.booted`, `maintenance.on`, `maintenance.off`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub target: String,
    pub age_ms: u64,
    pub what: String,
    pub attrs: Attrs,
}

impl Mark {
    pub fn attr(&self, name: &str) -> Option<&Value> {
        attr(&self.attrs, name)
    }

    pub fn flag(&self, name: &str) -> Option<bool> {
        self.attr(name)?.as_flag()
    }

    pub fn num(&self, name: &str) -> Option<f64> {
        self.attr(name)?.as_num()
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.attr(name)?.as_text()
    }
}

/// Something wrong with one target now. It stands until a report of the same
/// detector judges the target and leaves it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Names it within this detector; the same trouble keeps its key.
    pub key: String,
    /// Dotted, open vocabulary: `process.gone`.
    pub kind: String,
    pub target: String,
    /// [`NOTE`], [`WARNING`], [`ERROR`] or [`CRITICAL`].
    pub severity: u8,
    /// Columns of the bound series it rests on.
    pub series: Vec<u32>,
    pub message: String,
    pub evidence: Attrs,
}

impl Finding {
    /// An [`ERROR`] with the key `KIND/TARGET`; say more with the methods below.
    pub fn new(kind: &str, target: &str, message: impl Into<String>) -> Self {
        Self {
            key: format!("{kind}/{target}"),
            kind: kind.to_owned(),
            target: target.to_owned(),
            severity: ERROR,
            series: Vec::new(),
            message: message.into(),
            evidence: Attrs::new(),
        }
    }

    /// For several findings of one kind on one target: the key becomes
    /// `KIND/TARGET/part`.
    pub fn part(mut self, part: &str) -> Self {
        self.key = format!("{}/{}/{part}", self.kind, self.target);
        self
    }

    pub fn severity(mut self, severity: u8) -> Self {
        self.severity = severity;
        self
    }

    /// One more column of the bound series that it rests on.
    pub fn column(mut self, column: usize) -> Self {
        self.series.extend(u32::try_from(column));
        self
    }

    /// One more piece of evidence.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.evidence.push((name.to_owned(), value.into()));
        self
    }
}

/// All that a detector says is wrong now, a level and not an edge.
///
/// A target that is neither in `unjudged` nor the target of a finding was
/// looked at and is well: what stood on it is cleared. Name in `unjudged` what
/// you could not look at, and nothing is renewed or cleared there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub unjudged: Vec<String>,
}

impl Report {
    /// Makes it one that the daemon takes: of more than [`FINDINGS_MAX`] the
    /// worst are kept, and the targets of the others become unjudged.
    pub fn fit(mut self) -> Self {
        if self.findings.len() <= FINDINGS_MAX {
            return self;
        }
        let mut found = std::mem::take(&mut self.findings);
        for severity in (NOTE..=CRITICAL).rev() {
            for finding in found.extract_if(.., |it| it.severity == severity) {
                if self.findings.len() < FINDINGS_MAX {
                    self.findings.push(finding);
                } else if !self.unjudged.contains(&finding.target) {
                    self.unjudged.push(finding.target);
                }
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_too_long_keeps_the_worst_and_says_what_it_leaves_out() {
        let one = |n: usize| {
            let severity = if n == FINDINGS_MAX { CRITICAL } else { WARNING };
            Finding::new("kind", &format!("workload:{n}"), "it").severity(severity)
        };
        let report = Report { findings: (0..=FINDINGS_MAX).map(one).collect(), unjudged: vec![] };
        let fit = report.fit();
        assert_eq!(fit.findings.len(), FINDINGS_MAX);
        assert_eq!(fit.findings[0].severity, CRITICAL);
        assert_eq!(fit.unjudged, [format!("workload:{}", FINDINGS_MAX - 1)]);
    }
}
