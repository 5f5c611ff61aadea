//! What came in: series, samples, lines, marks, and the frame that carries them
//! to a detector.

use serde::{Deserialize, Serialize};

use super::{TargetId, selects};

/// A moment of the box's own time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instant {
    /// Milliseconds of the box's age: persisted, never goes back, counts across boots.
    pub age_ms: u64,
    /// Which boot of the box, counted from 1.
    pub boot: u64,
    /// Unix time in milliseconds, only when the wall clock is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix_ms: Option<i64>,
}

/// A value of an open vocabulary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    Flag(bool),
    Int(i64),
    /// JSON has no NaN and no infinity: both are written as null and read as NaN.
    Num(#[serde(deserialize_with = "number_or_null")] f64),
    Text(String),
}

fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl Value {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Int(int) => int.fmt(f),
            Self::Num(num) => num.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Named values, in order.
pub type Attrs = Vec<(String, Value)>;

/// The value under `name`, if there is one.
pub fn attr<'a>(attrs: &'a Attrs, name: &str) -> Option<&'a Value> {
    attrs.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Index of a series in the box's registry; fixed while the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeriesId(pub u32);

/// A named stream of numbers of one target. Names and units follow
/// OpenTelemetry's semantic conventions where they have one; units are UCUM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub unit: String,
    pub target: TargetId,
    pub period_ms: u32,
    pub labels: Vec<(String, String)>,
}

impl Series {
    /// By `NAME` or `NAME@TARGET`, each with an optional `*` at its end.
    pub fn is_selected_by(&self, selector: &str) -> bool {
        let (name, target) = selector.split_once('@').unwrap_or((selector, "*"));
        selects(name, &self.name) && selects(target, self.target.as_str())
    }
}

/// Readings taken at one moment. A series without a reading is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub age_ms: u64,
    pub values: Vec<(SeriesId, f64)>,
}

/// One line of text that a workload or a log wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub target: TargetId,
    /// Where it came from: `output` for a workload's own, `kmsg`, a file's name.
    pub source: String,
    pub age_ms: u64,
    /// syslog severity: 0 emergency to 7 debug; 6 where the source has none.
    pub priority: u8,
    pub text: String,
}

/// What we ourselves did or learnt: `workload.started`, `workload.exited`,
/// `workload.stopped`, `action.ended`, `incident.closed`, `box.booted`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub target: TargetId,
    pub age_ms: u64,
    pub what: String,
    pub attrs: Attrs,
}

/// What came in since a detector's last call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub seq: u64,
    /// Rows dropped under load since the last frame.
    pub lost: u32,
    pub now: Instant,
    /// Age in milliseconds of each row.
    pub rows: Vec<u64>,
    /// Row-major, `rows.len() × bound series`; NaN is no reading.
    pub values: Vec<f64>,
    pub lines: Vec<Line>,
    pub marks: Vec<Mark>,
}
