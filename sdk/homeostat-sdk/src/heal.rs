//! An incident as a healer is shown it, and what a healer may answer.
//!
//! Invariant: as in `types`, the fields are those of `wit/homeostat.wit`.

use serde::{Deserialize, Serialize};

use crate::types::{Attrs, CRITICAL, Finding, Instant, NOTE, Value, attr};

/// One target of the incident's surroundings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub id: String,
    /// `box`, `workload`, `model`, `accelerator`, `link` or `external`.
    pub kind: String,
    /// `running`, `stopped`, `exited`, `stopping`, or `unknown`.
    pub state: String,
    pub needs: Vec<String>,
}

/// One entry of the catalogue as it applies to this incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    pub action: String,
    pub target: String,
    /// JSON schema of the parameters.
    pub params: String,
    /// Whether the guard would let it pass now.
    pub allowed: bool,
    /// `RULE: detail` when it would not.
    pub why_not: String,
    /// 0 none, 1 one workload, 2 several, 3 the box.
    pub disruption: u8,
    pub reversible: bool,
    /// Tries and proven tries on this box, discounted with age.
    pub tried: f64,
    pub proven: f64,
    /// Mean seconds from permit to recovery.
    pub cost_s: f64,
}

/// One try at a repair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub action: String,
    pub target: String,
    pub params: Attrs,
    /// The plugin, or the person, that wanted it.
    pub by: String,
    pub begun: Instant,
    /// How long ago it began, in milliseconds.
    pub age_ms: u64,
    /// `acting`, `proving`, `recovered`, `proven`, `failed`, `relapsed`,
    /// `refused` or `unknown`.
    pub outcome: String,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub id: String,
    /// What the same trouble has in common on any day.
    pub signature: String,
    pub now: Instant,
    /// For a healer that wants chance: the same in a replay.
    pub seed: u64,
    pub opened: Instant,
    /// The target that is held to be the cause.
    pub root: String,
    pub findings: Vec<Finding>,
    pub graph: Vec<Node>,
    pub remedies: Vec<Remedy>,
    pub attempts: Vec<Attempt>,
    pub facts: Attrs,
}

impl Incident {
    /// What is wrong with the root itself, worst first.
    pub fn root_findings(&self) -> Vec<&Finding> {
        let of_root = || self.findings.iter().filter(|it| it.target == self.root);
        let by_severity = (NOTE..=CRITICAL).rev();
        by_severity.flat_map(|wanted| of_root().filter(move |it| it.severity == wanted)).collect()
    }

    /// The catalogue's entry for `action` on `target`.
    pub fn remedy(&self, action: &str, target: &str) -> Option<&Remedy> {
        self.remedies.iter().find(|it| it.action == action && it.target == target)
    }

    /// Tries of `action` on `target` so far, oldest first.
    pub fn attempts_of<'a>(
        &'a self,
        action: &'a str,
        target: &'a str,
    ) -> impl DoubleEndedIterator<Item = &'a Attempt> {
        self.attempts.iter().filter(move |it| it.action == action && it.target == target)
    }

    pub fn fact(&self, name: &str) -> Option<&Value> {
        attr(&self.facts, name)
    }
}

/// What a healer wants done. The guard judges it, and only then is it done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub action: String,
    pub target: String,
    pub params: Attrs,
    /// In plain words: an operator reads it in `homeostat explain`.
    pub reason: String,
    /// Probes that must be good besides the catalogue's own proof.
    pub also_prove: Vec<String>,
}

impl Proposal {
    pub fn new(action: &str, target: &str, reason: impl Into<String>) -> Self {
        Self {
            action: action.to_owned(),
            target: target.to_owned(),
            params: Attrs::new(),
            reason: reason.into(),
            also_prove: Vec::new(),
        }
    }

    pub fn with(mut self, param: &str, value: impl Into<Value>) -> Self {
        self.params.push((param.to_owned(), value.into()));
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub ms: u64,
    pub why: String,
}

/// What a healer answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    Act(Proposal),
    /// Ask again after so long.
    Wait(Pause),
    /// Not mine; ask the next healer of the route.
    Decline(String),
    /// Out of ideas: a person must look.
    GiveUp(String),
}

impl Decision {
    pub fn wait(ms: u64, why: impl Into<String>) -> Self {
        Self::Wait(Pause { ms, why: why.into() })
    }
}
