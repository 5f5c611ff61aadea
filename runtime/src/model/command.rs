//! What a person at the socket may ask of the daemon.

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
    /// Stage a fault, for a drill.
    Inject {
        target: TargetId,
        #[serde(flatten)]
        fault: DrillFault,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "error")]
pub enum CommandError {
    #[error("no workload is called {name:?}; `homeostat status` lists them")]
    NoSuchWorkload { name: String },
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
