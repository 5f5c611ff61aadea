//! What is written down: every step of the path is an event, and incidents are
//! a fold over them.

use serde::{Deserialize, Serialize};

use super::catalogue::Terms;
use super::{
    AttemptId, Attrs, Decision, DrillFault, Finding, IncidentId, Instant, Mode, Origin, Outcome,
    Proposal, Refusal, TargetId,
};

/// Place in the journal, from 1.
pub type Seq = u64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub seq: Seq,
    pub at: Instant,
    pub event: Event,
}

/// How long a record is kept when room is short: telemetry goes first, then
/// what belongs to closed incidents; audit never goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Telemetry,
    Incident(IncidentId),
    Audit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Event {
    // The daemon.
    DaemonStarted {
        birth: u64,
        version: String,
        mode: Mode,
        /// SHA-256 of its file, in hex; empty in records of versions that did
        /// not say.
        #[serde(default)]
        configuration: String,
    },
    DaemonStopped {},
    /// Records are missing: what was salvaged from a damaged database.
    JournalGap {
        why: String,
        salvaged: u64,
        first_lost: Option<Seq>,
        aside: String,
    },
    Paused {
        by: Origin,
        until_age_ms: Option<u64>,
    },
    Resumed {
        by: Option<Origin>,
    },

    /// An operator staged a fault.
    DrillBegan {
        target: TargetId,
        #[serde(flatten)]
        fault: DrillFault,
        by: Origin,
    },

    // Plugins.
    PluginStarted {
        plugin: String,
        version: String,
        digest: String,
    },
    PluginFaulted {
        plugin: String,
        why: String,
        then: AfterFault,
    },
    PluginRefused {
        plugin: String,
        why: String,
    },
    /// The box's word for a plugin, by a person: what runs now, or in a while.
    PluginInstalled {
        plugin: String,
        version: String,
        sequence: u64,
        publisher: String,
        digest: String,
        /// Runs beside what is there for so long; 0 takes its place at once.
        shadow_ms: u64,
        /// So long after that a quarantine takes it back.
        trial_ms: u64,
        by: Origin,
    },
    /// What was installed runs no more.
    PluginWithdrawn {
        plugin: String,
        digest: String,
        /// What runs in its place; nothing when there was nothing.
        back_to: Option<String>,
        why: String,
        /// None where the daemon took it back by itself.
        by: Option<Origin>,
    },
    /// It stood its trial: nothing older follows it.
    PluginAccepted {
        plugin: String,
        digest: String,
        sequence: u64,
    },
    /// From now on other keys are believed, or fewer components run.
    TrustChanged {
        root_version: u64,
        revoked_keys: Vec<String>,
        revoked_digests: Vec<String>,
        by: Origin,
    },
    /// A plugin in shadow says it, and nothing follows.
    ShadowRaised {
        plugin: String,
        finding: Finding,
    },
    ShadowCleared {
        plugin: String,
        key: String,
        target: TargetId,
        kind: String,
    },
    /// No detector judges this target any more.
    ProtectionLost {
        target: TargetId,
    },
    ProtectionRegained {
        target: TargetId,
    },

    // Workloads.
    /// What a person wants; outlives restarts of the daemon.
    WorkloadDesired {
        workload: String,
        running: bool,
        by: Origin,
    },
    WorkloadStarted {
        workload: String,
        attempt: AttemptId,
        pid: u32,
    },
    WorkloadExited {
        workload: String,
        attempt: AttemptId,
        status: ExitStatus,
        wanted: bool,
    },
    WorkloadAdopted {
        workload: String,
        attempt: AttemptId,
        pid: u32,
        why: String,
    },

    // Detection.
    FindingRaised {
        detector: String,
        finding: Finding,
    },
    FindingCleared {
        detector: String,
        key: String,
        target: TargetId,
        kind: String,
    },

    // The life of an incident. Its id is the `seq` of its `IncidentOpened`.
    IncidentOpened {
        root: TargetId,
        kind: String,
        signature: String,
        findings: Vec<Sighting>,
    },
    IncidentJoined {
        incident: IncidentId,
        sighting: Sighting,
    },
    /// A fault was staged on its root so long before it opened.
    IncidentDrilled {
        incident: IncidentId,
        drill: Seq,
        #[serde(flatten)]
        fault: DrillFault,
        by: Origin,
        after_ms: u64,
    },
    HealerAsked {
        incident: IncidentId,
        healer: String,
    },
    Decided {
        incident: IncidentId,
        healer: String,
        decision: Decision,
    },
    /// The healer gave no usable answer.
    DecisionFailed {
        incident: IncidentId,
        healer: String,
        why: String,
        /// It never will: it is refused, quarantined, or not there.
        #[serde(default)]
        for_good: bool,
    },
    Refused {
        incident: Option<IncidentId>,
        origin: Origin,
        proposal: Proposal,
        refusal: Refusal,
    },
    /// Its `seq` with `birth` is the attempt's id. Nothing is touched before it is durable.
    Permitted {
        incident: Option<IncidentId>,
        birth: u64,
        origin: Origin,
        proposal: Proposal,
        /// As the catalogue had it then.
        terms: Terms,
        expires_age_ms: u64,
    },
    AttemptEnded {
        incident: Option<IncidentId>,
        attempt: AttemptId,
        outcome: Outcome,
    },
    /// A crash left the outcome unknown; this is what was observed afterwards.
    EffectObserved {
        incident: Option<IncidentId>,
        attempt: AttemptId,
        outcome: Outcome,
    },
    /// A person said yes to what the guard held back.
    Approved {
        incident: IncidentId,
        by: Origin,
    },
    /// A person said no: this action is out, for this incident.
    Denied {
        incident: IncidentId,
        by: Origin,
    },
    /// A person closes it, ill or not: what stands now opens no other.
    IncidentDismissed {
        incident: IncidentId,
        by: Origin,
    },
    ProofSeen {
        incident: IncidentId,
        good: bool,
        detail: String,
    },
    ProofFailed {
        incident: IncidentId,
        attempt: Option<AttemptId>,
        why: String,
    },
    IncidentRecovered {
        incident: IncidentId,
        attempt: Option<AttemptId>,
    },
    IncidentRelapsed {
        incident: IncidentId,
        attempt: Option<AttemptId>,
        why: String,
    },
    /// Recovered and quiet for the hold window.
    IncidentProven {
        incident: IncidentId,
        attempt: Option<AttemptId>,
    },
    IncidentStuck {
        incident: IncidentId,
        why: String,
    },
    /// A stuck incident is looked at again.
    IncidentReopened {
        incident: IncidentId,
        why: String,
    },
    IncidentClosed {
        incident: IncidentId,
        why: String,
    },
}

/// A finding and who made it. An incident's own records carry what they speak
/// of, because a `FindingRaised` may be dropped for room long before them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    pub detector: String,
    pub finding: Finding,
}

impl Sighting {
    pub fn reference(&self) -> FindingRef {
        FindingRef { detector: self.detector.clone(), key: self.finding.key.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FindingRef {
    pub detector: String,
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "after")]
pub enum AfterFault {
    Restarted { from_checkpoint: bool },
    Backoff { ms: u64 },
    Quarantined,
}

/// How a process ended. A process that was adopted is not our child: then its
/// end is seen and its status is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "status")]
pub enum ExitStatus {
    Code { code: i32 },
    Signal { signal: i32 },
    Unknown,
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code { code } => write!(f, "exit code {code}"),
            Self::Signal { signal } => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("status unknown"),
        }
    }
}

impl Event {
    /// The incident it belongs to; `IncidentOpened` belongs to its own seq.
    pub fn incident(&self, seq: Seq) -> Option<IncidentId> {
        match self {
            Self::IncidentOpened { .. } => Some(IncidentId(seq)),
            Self::IncidentJoined { incident, .. }
            | Self::IncidentDrilled { incident, .. }
            | Self::HealerAsked { incident, .. }
            | Self::Decided { incident, .. }
            | Self::DecisionFailed { incident, .. }
            | Self::Approved { incident, .. }
            | Self::Denied { incident, .. }
            | Self::IncidentDismissed { incident, .. }
            | Self::ProofSeen { incident, .. }
            | Self::ProofFailed { incident, .. }
            | Self::IncidentRecovered { incident, .. }
            | Self::IncidentRelapsed { incident, .. }
            | Self::IncidentProven { incident, .. }
            | Self::IncidentStuck { incident, .. }
            | Self::IncidentReopened { incident, .. }
            | Self::IncidentClosed { incident, .. } => Some(*incident),
            Self::Refused { incident, .. }
            | Self::Permitted { incident, .. }
            | Self::AttemptEnded { incident, .. }
            | Self::EffectObserved { incident, .. } => *incident,
            _ => None,
        }
    }

    pub fn class(&self, seq: Seq) -> Class {
        match self {
            // What was permitted, and by whose word, is kept for good.
            Self::DaemonStarted { .. }
            | Self::JournalGap { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::DrillBegan { .. }
            | Self::PluginRefused { .. }
            | Self::PluginInstalled { .. }
            | Self::PluginWithdrawn { .. }
            | Self::PluginAccepted { .. }
            | Self::TrustChanged { .. }
            | Self::WorkloadDesired { .. }
            | Self::Approved { .. }
            | Self::Denied { .. }
            | Self::IncidentDismissed { .. }
            | Self::Permitted { .. }
            | Self::AttemptEnded { .. }
            | Self::EffectObserved { .. }
            // What was learnt of a remedy, beside the permit that it is about.
            | Self::IncidentRecovered { attempt: Some(_), .. }
            | Self::IncidentProven { attempt: Some(_), .. } => Class::Audit,
            // Said again and again while an outage lasts; the last word stands.
            Self::HealerAsked { .. }
            | Self::Decided { decision: Decision::Wait { .. }, .. } => Class::Telemetry,
            other => other.incident(seq).map_or(Class::Telemetry, Class::Incident),
        }
    }
}

/// Attributes of a mark that tells of a workload's exit.
pub fn exit_attrs(attempt: AttemptId, status: ExitStatus, wanted: bool) -> Attrs {
    use super::Value;
    vec![
        ("attempt".into(), Value::text(attempt.to_string())),
        ("status".into(), Value::text(status.to_string())),
        ("wanted".into(), Value::Flag(wanted)),
    ]
}
