//! May this run now? The only maker of [`Permit`].
//!
//! Invariant: pure. What it needs to know of the world is handed in as a
//! [`Scene`]; what it remembers is a fold over the journal ([`History`]). A
//! permit is sealed with the record that wrote it down, so nothing can be done
//! that the journal does not hold.

mod history;
mod rule;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::GuardConfig;
use crate::model::action::Rule;
use crate::model::catalogue::{ActionSpec, Catalogue, NOTIFY, SYSTEM_REBOOT};
use crate::model::view::Pause;
use crate::model::{
    AttemptId, Event, Graph, IncidentId, Lease, Mode, Origin, Proposal, Record, Refusal, Remedy,
    TargetId,
};

use rule::{intent, interlock, journal, lease, mode, paused, refuse};

pub use history::History;

/// What the guard is told of the world.
pub struct Scene<'a> {
    pub now_age_ms: u64,
    /// Unix time, while the wall clock is trusted.
    pub unix_ms: Option<i64>,
    /// How long the box is up: boot grace goes by the boot, not by the daemon.
    pub up_ms: u64,
    pub birth: u64,
    pub mode: Mode,
    pub paused: Option<&'a Pause>,
    /// Why the journal cannot make a permit durable, if it cannot.
    pub journal_failing: Option<&'a str>,
    pub graph: &'a Graph,
    /// Workloads that are meant to be stopped.
    pub unwanted: &'a dyn Fn(&TargetId) -> bool,
    /// Targets under repair.
    pub leases: &'a [Lease],
    /// Why the line may not be disturbed now, if it may not.
    pub interlock: Option<&'a str>,
    /// Ages of the box at the reboots that it asked for, oldest first.
    pub reboots_age_ms: &'a [u64],
    /// Whether a person said no to this action for this incident.
    pub denied: &'a dyn Fn(IncidentId, &str) -> bool,
}

/// A proposal that passed; not yet written down.
#[derive(Debug)]
pub struct Admitted {
    incident: Option<IncidentId>,
    birth: u64,
    origin: Origin,
    proposal: Proposal,
    spec: Arc<ActionSpec>,
    expires_age_ms: u64,
}

/// Leave to do one thing once. Made by the guard alone, from the record that
/// holds it.
#[derive(Debug)]
pub struct Permit {
    id: AttemptId,
    incident: Option<IncidentId>,
    origin: Origin,
    proposal: Proposal,
    spec: Arc<ActionSpec>,
    expires_age_ms: u64,
}

impl Permit {
    pub fn id(&self) -> AttemptId {
        self.id
    }

    pub fn incident(&self) -> Option<IncidentId> {
        self.incident
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn spec(&self) -> &ActionSpec {
        &self.spec
    }

    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    pub fn target(&self) -> &TargetId {
        &self.proposal.target
    }

    pub fn expires_age_ms(&self) -> u64 {
        self.expires_age_ms
    }
}

impl Admitted {
    /// What the journal is to hold.
    pub fn event(&self) -> Event {
        Event::Permitted {
            incident: self.incident,
            birth: self.birth,
            origin: self.origin.clone(),
            proposal: self.proposal.clone(),
            terms: self.spec.terms,
            expires_age_ms: self.expires_age_ms,
        }
    }

    /// The permit, once the journal took it in.
    pub fn seal(self, record: &Record) -> Permit {
        Permit {
            id: AttemptId { birth: self.birth, seq: record.seq },
            incident: self.incident,
            origin: self.origin,
            proposal: self.proposal,
            spec: self.spec,
            expires_age_ms: self.expires_age_ms,
        }
    }
}

pub struct Guard {
    config: GuardConfig,
    /// Actions that the policy grants each plugin.
    grants: BTreeMap<String, BTreeSet<String>>,
    catalogue: Arc<Catalogue>,
}

impl Guard {
    pub fn new(
        config: GuardConfig,
        grants: BTreeMap<String, BTreeSet<String>>,
        catalogue: Arc<Catalogue>,
    ) -> Self {
        Self { config, grants, catalogue }
    }

    /// Asks every rule in turn; the first that says no is the answer.
    pub fn check(
        &self,
        origin: &Origin,
        proposal: &Proposal,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<Admitted, Refusal> {
        let spec = self.catalogued(proposal, scene)?;
        spec.check(&proposal.params).or_else(|detail| refuse(Rule::Catalogue, detail))?;
        self.judge(&spec, origin, &proposal.target, history, scene)?;
        Ok(Admitted {
            incident: match origin {
                Origin::Healer { incident, .. } | Origin::Approved { incident, .. } => {
                    Some(*incident)
                }
                Origin::Operator { .. } | Origin::Desired | Origin::Others => None,
            },
            birth: scene.birth,
            origin: origin.clone(),
            proposal: proposal.clone(),
            spec,
            expires_age_ms: scene.now_age_ms + self.config.permit_ttl_ms,
        })
    }

    /// What stands against an action, whatever its parameters.
    fn judge(
        &self,
        spec: &ActionSpec,
        origin: &Origin,
        target: &TargetId,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        journal(scene)?;
        match origin {
            Origin::Healer { plugin, incident } => {
                self.granted(plugin, spec)?;
                mode(scene)?;
                self.healing(spec, target, history, scene)?;
                self.approval(*incident, spec, scene)
            }
            // The person stands for the mode as well; all else is as it was.
            Origin::Approved { plugin, .. } => {
                self.granted(plugin, spec)?;
                self.healing(spec, target, history, scene)
            }
            Origin::Operator { .. } | Origin::Desired | Origin::Others => {
                lease(spec, target, scene)
            }
        }
    }

    /// What any repair has to pass, whoever vouches for it.
    fn healing(
        &self,
        spec: &ActionSpec,
        target: &TargetId,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        paused(scene)?;
        intent(spec, target, scene)?;
        // Telling a person disturbs nothing, so nothing else stands in its way.
        if spec.name != NOTIFY {
            self.boot_grace(scene)?;
            lease(spec, target, scene)?;
        }
        if spec.terms.disruption > 0 {
            interlock(scene)?;
            self.replica(target, scene)?;
            self.storm(history, scene)?;
        }
        // What did not help is not left standing until the next window.
        if spec.is_undo() {
            return Ok(());
        }
        if spec.terms.disruption > 0 {
            self.maintenance(spec, scene)?;
        }
        if spec.name == SYSTEM_REBOOT {
            self.reboots(scene)?;
        }
        self.cooldown(spec, target, history, scene)?;
        self.rate(spec, history, scene)
    }

    /// The catalogue as it applies to `target` for `plugin` now: what a healer
    /// may choose from, and why not the rest. In `suggest` it chooses as it
    /// would in `enforce`, so that what is suggested is what would be done; and
    /// what only wants a person's word may be proposed, or nobody would be asked.
    pub fn remedies(
        &self,
        plugin: &str,
        incident: IncidentId,
        target: &TargetId,
        history: &History,
        scene: &Scene<'_>,
    ) -> Vec<Remedy> {
        let scene = &Scene { mode: scene.mode.max(Mode::Enforce), ..*scene };
        let origin = Origin::Healer { plugin: plugin.to_owned(), incident };
        let applicable = self.catalogue.iter().filter(|spec| spec.applies_to(target));
        applicable
            .map(|spec| {
                let refusal = self.judge(spec, &origin, target, history, scene).err();
                // A person's yes may still come.
                let refusal =
                    refusal.filter(|it| it.rule != Rule::Approval || it.retry_age_ms.is_none());
                let tally = history.tally(&spec.name, target);
                Remedy {
                    action: spec.name.clone(),
                    target: target.clone(),
                    params: spec.params_schema(),
                    allowed: refusal.is_none(),
                    why_not: refusal
                        .map_or(String::new(), |it| format!("{}: {}", it.rule, it.detail)),
                    disruption: spec.terms.disruption,
                    reversible: spec.reversible,
                    tried: tally.tried,
                    proven: tally.proven,
                    cost_s: tally.cost_s(),
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
