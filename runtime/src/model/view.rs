//! What the daemon shows of itself: one value, replaced whole by the driver.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Attempt, AttemptId, Finding, IncidentId, Instant, Mode, TargetId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    pub box_name: String,
    pub site: String,
    pub version: String,
    pub birth: u64,
    pub now: Instant,
    pub mode: Mode,
    /// Healing is paused until this age; `Some(None)` until resumed.
    pub paused: Option<Pause>,
    /// What is degraded, worst first: what, why, what to do.
    pub conditions: Vec<Condition>,
    pub workloads: Vec<WorkloadView>,
    pub plugins: Vec<PluginView>,
    #[serde(default)]
    pub trust: TrustView,
    /// Targets that no detector judges.
    pub unprotected: Vec<TargetId>,
    /// Findings that stand now, by detector.
    pub findings: BTreeMap<String, Vec<Finding>>,
    /// Open ones, and the latest closed ones, newest first.
    pub incidents: Vec<IncidentView>,
    pub journal_seq: u64,
    pub journal_durable: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub until_age_ms: Option<u64>,
}

/// Something is degraded and the daemon goes on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condition {
    /// Dotted name, such as `store.read-only`.
    pub name: String,
    /// What was wanted, what was found, what to do.
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadView {
    pub name: String,
    pub desired_running: bool,
    pub state: WorkloadState,
    pub attempt: Option<AttemptId>,
    pub pid: Option<u32>,
    pub shim_pid: Option<u32>,
    pub starts: u64,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadState {
    Stopped,
    Running,
    Stopping,
    Exited,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginView {
    pub name: String,
    pub version: String,
    pub world: String,
    pub digest: String,
    pub state: PluginState,
    pub detail: String,
    pub calls: u64,
    pub faults: u64,
    /// By whose word it runs.
    #[serde(default)]
    pub named_by: NamedBy,
    /// Until then it runs beside what is there, and nothing follows from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_until_age_ms: Option<u64>,
    /// Until then a quarantine takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_until_age_ms: Option<u64>,
    /// What it says in shadow.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow_findings: Vec<Finding>,
}

/// Whom the box believes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustView {
    /// Of the key root; 0 before it is known.
    pub root_version: u64,
    /// The box made its root itself, and its own key holds it.
    pub own_root: bool,
    /// Names of publishers, or beginnings of names and `*`.
    pub publishers: Vec<String>,
    /// Ids.
    pub revoked_keys: Vec<String>,
    /// SHA-256, in hex.
    pub revoked_digests: Vec<String>,
}

/// Who named a plugin's digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedBy {
    /// The box's own file.
    #[default]
    File,
    /// A person, with `homeostat plugin install`.
    Operator,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginState {
    #[default]
    Starting,
    Running,
    Backoff,
    Quarantined,
    Refused,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentView {
    pub id: IncidentId,
    pub root: TargetId,
    pub kind: String,
    pub signature: String,
    /// open, deciding, waiting, acting, recovered, proven, closed, stuck
    pub phase: String,
    pub detail: String,
    pub opened: Instant,
    pub changed: Instant,
    pub findings: Vec<Finding>,
    pub attempts: Vec<Attempt>,
}
