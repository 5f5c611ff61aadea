//! The life of an incident: a fold over the journal, and nothing else.
//!
//! ```text
//!            ┌──────────────── failed, refused, relapsed ────────────────┐
//!            ▼                                                           │
//!  opened ▶ open ▶ deciding ▶ acting ▶ proving ▶ recovered ▶ proven ▶ closed
//!            ▲  └▶ waiting ─┘    └─────────┴────────┘
//!            └──── stuck ◀── given up, or nobody left to ask
//! ```
//!
//! Invariant: [`Incidents::apply`] decides nothing and holds no clock. What is
//! to be done next is [`step::next`]'s to say, from the same state, and becomes
//! state only by being written down first.

mod fold;
mod life;
pub mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::action::Rule;
use crate::model::catalogue::{Proof, Terms};
use crate::model::finding::SEVERITY_OPENS;
use crate::model::view::IncidentView;
use crate::model::{
    Attempt, AttemptId, AttemptOutcome, Attrs, Finding, FindingRef, IncidentId, Instant, Lease,
    Origin, Proposal, TargetId,
};

/// Closed incidents kept for `status`; the journal has them all.
const CLOSED_KEPT: usize = 32;
/// Unusable answers in a row after which a healer is passed by.
const UNANSWERED_MAX: u32 = 3;
/// Attempts kept of one incident; the journal has them all.
const ATTEMPTS_KEPT: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// To be decided.
    Open,
    /// A healer was asked.
    Deciding {
        healer: String,
        since_age_ms: u64,
    },
    /// Nothing to do before `until_age_ms`.
    Waiting {
        why: String,
        until_age_ms: u64,
    },
    /// Permitted; the hands are at work, or a crash hid what they did.
    Acting {
        attempt: AttemptId,
    },
    /// The action went through; its proof is open.
    Proving {
        attempt: AttemptId,
        since_age_ms: u64,
        good: u32,
    },
    /// Proven by evidence; the hold window runs.
    Recovered {
        attempt: Option<AttemptId>,
        since_age_ms: u64,
    },
    /// Out of ideas, loudly.
    Stuck {
        why: String,
        since_age_ms: u64,
    },
    Closed {
        why: String,
    },
}

impl Phase {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Deciding { .. } => "deciding",
            Self::Waiting { .. } => "waiting",
            Self::Acting { .. } => "acting",
            Self::Proving { .. } => "proving",
            Self::Recovered { .. } => "recovered",
            Self::Stuck { .. } => "stuck",
            Self::Closed { .. } => "closed",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Open | Self::Acting { .. } => String::new(),
            Self::Deciding { healer, .. } => format!("asked {healer}"),
            Self::Waiting { why, .. } | Self::Stuck { why, .. } | Self::Closed { why } => {
                why.clone()
            }
            Self::Proving { good, .. } => format!("{good} good proofs in a row"),
            Self::Recovered { .. } => "quiet; the hold window runs".into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub id: IncidentId,
    pub root: TargetId,
    /// Kind of the finding that opened it.
    pub kind: String,
    /// What the same trouble has in common on any day: kind and target.
    pub signature: String,
    pub opened: Instant,
    pub changed: Instant,
    pub phase: Phase,
    /// Every finding that ever belonged to it, as bad as it ever was.
    pub findings: BTreeMap<FindingRef, Finding>,
    pub attempts: Vec<Attempt>,
    /// What the live attempt is to prove besides the catalogue's own proof.
    pub also_prove: Vec<String>,
    /// How the last attempt is taken back, where it can be.
    pub undo: Option<Undo>,
    /// How often in a row the guard gave the same refusal.
    pub refusals: u32,
    /// What the guard would not do yet.
    pub held: Option<Held>,
    /// Healers that declined since the incident was last looked at anew.
    pub declined: BTreeSet<String>,
    /// How often since then a healer in a row gave no usable answer.
    pub unanswered: BTreeMap<String, u32>,
    /// What waits for a person's word.
    pub pending: Option<Pending>,
    /// Actions that a person said no to.
    pub denied: BTreeSet<String>,
}

/// Takes back an attempt that did not help.
#[derive(Clone, Debug, PartialEq)]
pub struct Undo {
    /// Who wanted the attempt stands for this as well.
    pub origin: Origin,
    pub proposal: Proposal,
    /// What it takes back did not help, or broke off half-way.
    pub due: bool,
    /// How often it was carried out, and failed.
    pub failures: u32,
}

/// A proposal that was refused for a while. Nothing is asked or written down
/// while the same rule goes on to stand against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub origin: Origin,
    pub proposal: Proposal,
    pub rule: Rule,
}

/// A proposal that a person may approve.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub plugin: String,
    pub proposal: Proposal,
    /// It is asked for anew then; none while nothing but the person is missing.
    pub until_age_ms: Option<u64>,
}

impl Incident {
    /// The attempt that is being carried out or proven: it holds the lease.
    pub fn live_attempt(&self) -> Option<AttemptId> {
        match self.phase {
            Phase::Acting { attempt } | Phase::Proving { attempt, .. } => Some(attempt),
            _ => None,
        }
    }

    pub fn attempt(&self, id: AttemptId) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.id == Some(id))
    }

    /// Whether `finding` is this incident's own trouble: its root, ill in the
    /// same or another way. The box can be ill in several ways that have
    /// nothing to do with each other, so there the kind must be the same.
    pub fn is_about(&self, finding: &Finding) -> bool {
        finding.target == self.root
            && (self.root != TargetId::the_box() || finding.kind == self.kind)
    }

    pub fn view(&self) -> IncidentView {
        IncidentView {
            id: self.id,
            root: self.root.clone(),
            kind: self.kind.clone(),
            signature: self.signature.clone(),
            phase: self.phase.word().into(),
            detail: self.phase.detail(),
            opened: self.opened,
            changed: self.changed,
            findings: self.findings.values().cloned().collect(),
            attempts: self.attempts.clone(),
        }
    }
}

/// A permit without an incident: an operator's word, or the desired state.
#[derive(Clone, Debug, PartialEq)]
pub struct Errand {
    pub origin: Origin,
    pub action: String,
    pub target: TargetId,
    pub terms: Terms,
    /// The daemon died under it.
    pub unknown: bool,
}

/// An attempt that began, and whose end nobody saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    pub attempt: AttemptId,
    pub incident: Option<IncidentId>,
    pub action: String,
    pub target: TargetId,
    pub params: Attrs,
    /// The boot in which it began, where that is known.
    pub boot: Option<u64>,
}

/// All incidents, and the findings that stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Incidents {
    open: BTreeMap<IncidentId, Incident>,
    closed: VecDeque<Incident>,
    standing: BTreeMap<FindingRef, Finding>,
    errands: BTreeMap<AttemptId, Errand>,
    /// Findings that a person knows of: they make nothing ill until they clear,
    /// or get worse.
    dismissed: BTreeSet<FindingRef>,
}

impl Incidents {
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// Latest first.
    pub fn closed(&self) -> impl Iterator<Item = &Incident> {
        self.closed.iter().rev()
    }

    pub fn get(&self, id: IncidentId) -> Option<&Incident> {
        self.open.get(&id)
    }

    pub fn standing(&self) -> &BTreeMap<FindingRef, Finding> {
        &self.standing
    }

    /// What is wrong now, as a healer is to see it: what was wrong before leads it
    /// to a remedy that nothing asks for. Where nothing of the root stands, as
    /// between an exit and the detector's word of it, what was wrong with it does.
    pub fn findings_of(&self, incident: &Incident) -> Vec<Finding> {
        let stands = |reference: &&FindingRef| {
            self.standing.contains_key(*reference) && !self.is_dismissed(reference)
        };
        let is_root_well = !self.is_ill(incident);
        let shown = incident.findings.iter().filter(|(reference, finding)| {
            stands(reference) || (is_root_well && finding.target == incident.root)
        });
        let newest = |(reference, finding)| self.standing.get(reference).unwrap_or(finding);
        shown.map(newest).cloned().collect()
    }

    pub fn errands(&self) -> &BTreeMap<AttemptId, Errand> {
        &self.errands
    }

    /// Whether anything that the incident is about is wrong now.
    pub fn is_ill(&self, incident: &Incident) -> bool {
        self.standing.iter().any(|(reference, it)| {
            it.severity >= SEVERITY_OPENS && incident.is_about(it) && !self.is_dismissed(reference)
        })
    }

    pub fn is_dismissed(&self, finding: &FindingRef) -> bool {
        self.dismissed.contains(finding)
    }

    /// Targets under repair: an attempt is acting, or its proof is open.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        let incidents = self.open.values().filter_map(|incident| {
            let attempt = incident.live_attempt()?;
            let Attempt { target, terms, .. } = incident.attempt(attempt)?;
            Some(Lease { target: target.clone(), attempt, terms: (*terms)? })
        });
        let errands = self.errands.iter().map(|(id, errand)| Lease {
            target: errand.target.clone(),
            attempt: *id,
            terms: errand.terms,
        });
        incidents.chain(errands)
    }

    /// What proves an attempt that has not ended.
    pub fn proof_of(&self, attempt: AttemptId) -> Proof {
        let errand = self.errands.get(&attempt).map(|errand| errand.terms);
        let terms = errand.or_else(|| {
            self.open
                .values()
                .find_map(|incident| incident.attempt(attempt))
                .and_then(|it| it.terms)
        });
        terms.map_or(Proof::Nothing, |terms| terms.proof)
    }

    /// Attempts whose proof is open, with what they were made on.
    pub fn open_proofs(&self) -> Vec<(TargetId, AttemptId)> {
        let proving = self.open.values().filter_map(|incident| {
            let Phase::Proving { attempt, .. } = incident.phase else { return None };
            Some((incident.attempt(attempt)?.target.clone(), attempt))
        });
        proving.collect()
    }

    /// The open incident that an attempt belongs to.
    pub fn incident_of(&self, attempt: AttemptId) -> Option<IncidentId> {
        self.open.values().find(|incident| incident.attempt(attempt).is_some()).map(|it| it.id)
    }

    /// What an attempt is to prove besides the catalogue's own proof.
    pub fn also_prove(&self, attempt: AttemptId) -> &[String] {
        self.incident_of(attempt).and_then(|id| self.get(id)).map_or(&[], |it| &it.also_prove)
    }

    /// Attempts whose end nobody saw.
    pub fn unknown_attempts(&self) -> Vec<Unseen> {
        let incidents = self.open.values().filter_map(|incident| {
            let Phase::Acting { attempt: id } = incident.phase else { return None };
            let attempt = incident.attempt(id)?;
            (attempt.outcome == AttemptOutcome::Unknown).then(|| Unseen {
                attempt: id,
                incident: Some(incident.id),
                action: attempt.action.clone(),
                target: attempt.target.clone(),
                params: attempt.params.clone(),
                boot: Some(attempt.begun.boot),
            })
        });
        let errands =
            self.errands.iter().filter(|(_, errand)| errand.unknown).map(|(id, errand)| Unseen {
                attempt: *id,
                incident: None,
                action: errand.action.clone(),
                target: errand.target.clone(),
                params: Attrs::new(),
                boot: None,
            });
        incidents.chain(errands).collect()
    }

    /// The open incident that a finding belongs to: one about the same trouble,
    /// or one whose kind explains it and whose root its target needs.
    pub fn home(&self, finding: &Finding, scene: &step::Scene<'_>) -> Option<&Incident> {
        let same = self.open.values().find(|incident| incident.is_about(finding));
        same.or_else(|| {
            self.open.values().find(|it| scene.explains(it, &finding.kind, &finding.target))
        })
    }
}

/// What the same trouble has in common on any day.
pub fn signature(kind: &str, target: &TargetId) -> String {
    format!("{kind}@{target}")
}
