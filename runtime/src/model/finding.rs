//! What a detector says is wrong now.

use serde::{Deserialize, Serialize};

use super::{Attrs, TargetId};

/// 0 note (shown, opens nothing), 1 warning, 2 error, 3 critical.
pub type Severity = u8;

/// The lowest severity that opens an incident.
pub const SEVERITY_OPENS: Severity = 1;

/// The journal sequence of the record that opened it; shown as `i42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub u64);

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "i{}", self.0)
    }
}

impl std::str::FromStr for IncidentId {
    type Err = std::num::ParseIntError;

    /// Takes `i42` and `42`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.strip_prefix('i').unwrap_or(text).parse().map(Self)
    }
}

/// Something wrong with one target, as a level: it stands until a report of
/// the same detector that judged the target leaves it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Names the finding within its detector; the same trouble keeps its key.
    pub key: String,
    /// Dotted, open vocabulary: `process.gone`, `probe.failing`, `threshold.NAME`.
    pub kind: String,
    pub target: TargetId,
    pub severity: Severity,
    /// Indices into the detector's bound series.
    pub series: Vec<u32>,
    pub message: String,
    pub evidence: Attrs,
}

/// All that a detector says is wrong now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Targets it could not judge: nothing renewed, nothing cleared.
    pub unjudged: Vec<TargetId>,
}
