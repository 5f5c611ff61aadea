//! From a proposal to an outcome.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::catalogue::Terms;
use super::{Attrs, Graph, IncidentId, Instant, TargetId};

/// How far the daemon may go. Ordered: each allows what the one before does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Findings and incidents only; no healer is asked.
    Observe,
    /// Healers are asked and their proposals shown; nothing is done.
    Suggest,
    /// What the guard permits is done.
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Suggest => "suggest",
            Self::Enforce => "enforce",
        })
    }
}

/// Who wants an action done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Origin {
    /// A healer plugin, for an incident.
    Healer { plugin: String, incident: IncidentId },
    /// The same, with the yes of the person that the policy asks for.
    Approved { plugin: String, incident: IncidentId, uid: u32 },
    /// A person at the socket.
    Operator { uid: u32 },
    /// Somebody, by other means than ours: `systemctl stop`.
    Others,
    /// The configuration says the workload runs, and nobody said otherwise.
    Desired,
}

/// What a healer answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "decision")]
pub enum Decision {
    Act(Proposal),
    Wait {
        ms: u64,
        why: String,
    },
    /// Not mine; ask the next healer of the route.
    Decline {
        why: String,
    },
    GiveUp {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub action: String,
    pub target: TargetId,
    pub params: Attrs,
    pub reason: String,
    /// Probes that must be good besides the catalogue's own proof.
    pub also_prove: Vec<String>,
}

/// Names one attempt for ever: the daemon's birth counter, which the trust
/// slot never lets go back, and the journal sequence of its permit. A journal
/// that lost its tail can so never name two attempts alike. Shown as `7-1042`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub birth: u64,
    pub seq: u64,
}

impl AttemptId {
    /// Names a run that no permit of ours began, after what its supervisor calls
    /// it, in hex. Births count from 1, so no attempt of ours is called so.
    pub fn of_others(run: &str) -> Self {
        let digits = &run[..run.len().min(13)];
        Self { birth: 0, seq: u64::from_str_radix(digits, 16).unwrap_or(0) }
    }

    pub fn is_of_others(self) -> bool {
        self.birth == 0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.birth, self.seq)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted an attempt id such as 7-1042, found {0:?}")]
pub struct BadAttemptId(String);

impl FromStr for AttemptId {
    type Err = BadAttemptId;

    fn from_str(text: &str) -> Result<Self, BadAttemptId> {
        let parse = || {
            let (birth, seq) = text.split_once('-')?;
            Some(Self { birth: birth.parse().ok()?, seq: seq.parse().ok()? })
        };
        parse().ok_or_else(|| BadAttemptId(text.to_owned()))
    }
}

impl Serialize for AttemptId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttemptId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A target under repair.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub target: TargetId,
    pub attempt: AttemptId,
    pub terms: Terms,
}

impl Lease {
    /// Whether an action on `target` with `terms` has to wait for this one: it is
    /// on the same target, or one of the two needs the other's and is held by it.
    pub fn hinders(&self, target: &TargetId, terms: &Terms, graph: &Graph) -> bool {
        self.target == *target
            || graph.depends_on(target, &self.target) && self.terms.holds_closure()
            || graph.depends_on(&self.target, target) && terms.holds_closure()
    }
}

/// Why the guard said no. `retry_age_ms` is the box's age from which on the
/// same proposal could pass; none when only a person can change the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub rule: Rule,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_age_ms: Option<u64>,
}

/// The guard's rules, in the order they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// No such action, target or parameter in the catalogue.
    Catalogue,
    /// Mode is below `enforce`.
    Mode,
    /// An operator paused healing.
    Paused,
    /// The policy does not grant this action to this plugin.
    Grant,
    /// The operator stopped this workload.
    Intent,
    /// The box booted a moment ago.
    BootGrace,
    /// Another action holds the lease of this dependency closure.
    Lease,
    /// The same action on the same target was a moment ago.
    Cooldown,
    /// The production line says not now, or does not say.
    Interlock,
    /// Another replica of its group is under repair.
    Replica,
    /// Too many incidents at once: whatever is going on, more of the same makes it worse.
    Storm,
    /// It disrupts too much to be done outside a maintenance window.
    Maintenance,
    /// Too many actions in the window.
    Rate,
    /// The box booted itself too often: it is a person's turn.
    Reboot,
    /// A person has to say yes first, and has not, or said no.
    Approval,
    /// The journal cannot make a permit durable.
    Journal,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Catalogue => "catalogue",
            Self::Mode => "mode",
            Self::Paused => "paused",
            Self::Grant => "grant",
            Self::Intent => "intent",
            Self::BootGrace => "boot-grace",
            Self::Lease => "lease",
            Self::Cooldown => "cooldown",
            Self::Interlock => "interlock",
            Self::Replica => "replica",
            Self::Storm => "storm",
            Self::Maintenance => "maintenance",
            Self::Rate => "rate",
            Self::Reboot => "reboot",
            Self::Approval => "approval",
            Self::Journal => "journal",
        })
    }
}

/// What the hands report: whether the action itself went through. Whether it
/// helped is the proof's to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    Done {
        detail: String,
    },
    Failed {
        detail: String,
    },
    /// The permit ran out, or the mode changed, before anything was touched.
    Lapsed {
        detail: String,
    },
}

/// How an attempt stands, in the contract's words (`heal.attempt.outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptOutcome {
    /// Permitted and not yet ended.
    Acting,
    /// Ended well, its proof still open.
    Proving,
    Recovered,
    Proven,
    Failed,
    /// Recovered, and ill again inside the hold window.
    Relapsed,
    Refused,
    /// Begun, and its end was not seen.
    Unknown,
}

impl AttemptOutcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Acting => "acting",
            Self::Proving => "proving",
            Self::Recovered => "recovered",
            Self::Proven => "proven",
            Self::Failed => "failed",
            Self::Relapsed => "relapsed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// One try at a repair, as the healer and `explain` see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// None when the guard refused: nothing was attempted.
    pub id: Option<AttemptId>,
    pub action: String,
    pub target: TargetId,
    pub params: Attrs,
    /// None when the guard refused it.
    pub terms: Option<Terms>,
    pub by: String,
    pub begun: Instant,
    pub outcome: AttemptOutcome,
    pub detail: String,
}

/// One entry of the catalogue as it applies to an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remedy {
    pub action: String,
    pub target: TargetId,
    /// JSON schema of the parameters.
    pub params: String,
    pub allowed: bool,
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
