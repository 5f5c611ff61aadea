//! What a person at the socket may ask of the daemon.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DrillFault, IncidentId, TargetId};

/// An operator's word. It is desired state, so it outlives the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    WorkloadStart {
        name: String,
    },
    WorkloadStop {
        name: String,
    },
    /// Heal nothing for so long, or until resumed.
    Pause {
        for_ms: Option<u64>,
    },
    Resume {},
    /// Yes to what the guard holds back for this incident.
    Approve {
        incident: IncidentId,
    },
    /// No to it.
    Deny {
        incident: IncidentId,
    },
    /// Look at it again now.
    IncidentRetry {
        incident: IncidentId,
    },
    /// Close it, ill or not.
    IncidentClose {
        incident: IncidentId,
    },
    /// Run what is in that file, instead of what ran under its name.
    PluginInstall {
        /// Absolute; the daemon reads it.
        file: PathBuf,
        #[serde(default)]
        settings: PluginSettings,
        /// So long it runs beside what is there, and nothing follows from what it says.
        shadow_ms: Option<u64>,
        /// So long a quarantine takes it back.
        trial_ms: u64,
    },
    /// Take away what was installed under that name.
    PluginRemove {
        name: String,
    },
    /// Let nobody run these components, and believe these keys no more.
    TrustRevoke {
        /// Ids of keys.
        #[serde(default)]
        keys: Vec<String>,
        /// SHA-256 of components, in hex.
        #[serde(default)]
        digests: Vec<String>,
    },
    /// Take the next key root from a file.
    TrustUpdate {
        /// Absolute; the daemon reads it.
        file: PathBuf,
    },
    /// Stage a fault, for a drill.
    Inject {
        target: TargetId,
        #[serde(flatten)]
        fault: DrillFault,
    },
}

/// What the box's file says of a plugin, for one that it does not name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// Handed to the plugin as it is; an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Value>,
    /// Selectors of the targets that it judges; all of them when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_ms: Option<u32>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "error")]
pub enum CommandError {
    #[error("no workload is called {name:?}; `homeostat status` lists them")]
    NoSuchWorkload { name: String },
    #[error("no plugin is called {name:?}; `homeostat plugin list` has those there are")]
    NoSuchPlugin { name: String },
    #[error("no open incident is called {incident}; `homeostat incidents` lists them")]
    NoSuchIncident { incident: IncidentId },
    #[error("{incident} is {phase}: {hint}")]
    NotNow { incident: IncidentId, phase: String, hint: String },
    #[error("refused by rule {rule}: {detail}")]
    Refused { rule: String, detail: String },
    #[error("failed: {detail}")]
    Failed { detail: String },
    #[error("the daemon is stopping")]
    Stopping {},
}
