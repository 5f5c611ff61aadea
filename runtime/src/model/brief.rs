//! An incident as a healer is shown it (`heal.incident` of the contract).

use serde::{Deserialize, Serialize};

use super::{Attempt, Attrs, Finding, IncidentId, Instant, Remedy, TargetId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Brief {
    pub id: IncidentId,
    pub signature: String,
    pub now: Instant,
    /// For a healer that wants chance: the same in a replay.
    pub seed: u64,
    pub opened: Instant,
    pub root: TargetId,
    pub findings: Vec<Finding>,
    pub graph: Vec<Node>,
    pub remedies: Vec<Remedy>,
    pub attempts: Vec<Attempt>,
    pub facts: Attrs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: TargetId,
    pub kind: String,
    /// `running`, `stopped`, `exited`, `stopping`, or `unknown`.
    pub state: String,
    pub needs: Vec<TargetId>,
}
