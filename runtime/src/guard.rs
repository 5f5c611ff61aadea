//! May this run now? The only maker of [`Permit`].
//!
//! Invariant: pure. What it needs to know of the world is handed in as a
//! [`Scene`]; what it remembers is a fold over the journal ([`History`]). A
//! permit is sealed with the record that wrote it down, so nothing can be done
//! that the journal does not hold.

mod history;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::GuardConfig;
use crate::model::action::Rule;
use crate::model::catalogue::{self, ActionSpec, NOTIFY, WORKLOAD_STOP};
use crate::model::view::Pause;
use crate::model::{
    AttemptId, Event, Graph, IncidentId, Mode, Origin, Proposal, Record, Refusal, Remedy, Target,
    TargetId,
};

pub use history::History;

/// What the guard is told of the world.
pub struct Scene<'a> {
    pub now_age_ms: u64,
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
    pub leases: &'a [(TargetId, AttemptId)],
}

/// A proposal that passed; not yet written down.
#[derive(Debug)]
pub struct Admitted {
    incident: Option<IncidentId>,
    birth: u64,
    origin: Origin,
    proposal: Proposal,
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
    spec: &'static ActionSpec,
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

    pub fn spec(&self) -> &'static ActionSpec {
        self.spec
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
            expires_age_ms: self.expires_age_ms,
        }
    }

    /// The permit, once the journal took it in.
    pub fn seal(self, record: &Record) -> Permit {
        let spec =
            catalogue::spec(&self.proposal.action).expect("an admitted action is in the catalogue");
        Permit {
            id: AttemptId { birth: self.birth, seq: record.seq },
            incident: self.incident,
            origin: self.origin,
            proposal: self.proposal,
            spec,
            expires_age_ms: self.expires_age_ms,
        }
    }
}

pub struct Guard {
    config: GuardConfig,
    /// Actions that the policy grants each plugin.
    grants: BTreeMap<String, BTreeSet<String>>,
}

impl Guard {
    pub fn new(config: GuardConfig, grants: BTreeMap<String, BTreeSet<String>>) -> Self {
        Self { config, grants }
    }

    /// Asks every rule in turn; the first that says no is the answer.
    pub fn check(
        &self,
        origin: &Origin,
        proposal: &Proposal,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<Admitted, Refusal> {
        let (spec, _) = catalogued(proposal, scene)?;
        journal(scene)?;
        if let Origin::Healer { plugin, .. } = origin {
            self.granted(plugin, spec)?;
            mode(scene)?;
            paused(scene)?;
            intent(proposal, scene)?;
            // Telling a person disturbs nothing, so nothing else stands in its way.
            if spec.name != NOTIFY {
                self.boot_grace(scene)?;
                lease(proposal, scene)?;
            }
            self.cooldown(proposal, history, scene)?;
            self.rate(spec, history, scene)?;
        } else {
            lease(proposal, scene)?;
        }
        Ok(Admitted {
            incident: match origin {
                Origin::Healer { incident, .. } => Some(*incident),
                Origin::Operator { .. } | Origin::Desired => None,
            },
            birth: scene.birth,
            origin: origin.clone(),
            proposal: proposal.clone(),
            expires_age_ms: scene.now_age_ms + self.config.permit_ttl_ms,
        })
    }

    /// The catalogue as it applies to `target` for `plugin` now: what a healer
    /// may choose from, and why not the rest. In `suggest` it chooses as it
    /// would in `enforce`, so that what is suggested is what would be done.
    pub fn remedies(
        &self,
        plugin: &str,
        incident: IncidentId,
        target: &TargetId,
        history: &History,
        scene: &Scene<'_>,
    ) -> Vec<Remedy> {
        let Some(kind) = scene.graph.get(target).map(|target| target.kind) else {
            return Vec::new();
        };
        let scene = &Scene { mode: scene.mode.max(Mode::Enforce), ..*scene };
        let applicable = catalogue::CATALOGUE.iter().filter(|spec| spec.targets.contains(&kind));
        applicable
            .map(|spec| {
                let origin = Origin::Healer { plugin: plugin.to_owned(), incident };
                let refusal = self.objection(spec, &origin, target, history, scene);
                let tally = history.tally(spec.name, target);
                Remedy {
                    action: spec.name.into(),
                    target: target.clone(),
                    params: spec.params_schema(),
                    allowed: refusal.is_none(),
                    why_not: refusal
                        .map_or(String::new(), |it| format!("{}: {}", it.rule, it.detail)),
                    disruption: spec.disruption,
                    reversible: spec.reversible,
                    tried: tally.tried,
                    proven: tally.proven,
                    cost_s: tally.cost_s(),
                }
            })
            .collect()
    }

    /// What stands against an action whatever its parameters.
    fn objection(
        &self,
        spec: &'static ActionSpec,
        origin: &Origin,
        target: &TargetId,
        history: &History,
        scene: &Scene<'_>,
    ) -> Option<Refusal> {
        let params = spec
            .params
            .iter()
            .filter(|param| param.required)
            .map(|param| (param.name.to_owned(), crate::model::Value::text("")))
            .collect();
        let proposal = Proposal {
            action: spec.name.into(),
            target: target.clone(),
            params,
            reason: String::new(),
            also_prove: Vec::new(),
        };
        self.check(origin, &proposal, history, scene).err()
    }

    fn granted(&self, plugin: &str, spec: &ActionSpec) -> Result<(), Refusal> {
        if self.grants.get(plugin).is_some_and(|actions| actions.contains(spec.name)) {
            return Ok(());
        }
        refuse(
            Rule::Grant,
            format!(
                "the box's policy does not grant {} to {plugin}; add it to the plugin's `grants`",
                spec.name
            ),
        )
    }

    fn boot_grace(&self, scene: &Scene<'_>) -> Result<(), Refusal> {
        let Some(left_ms) = self.config.boot_grace_ms.checked_sub(scene.up_ms).filter(|ms| *ms > 0)
        else {
            return Ok(());
        };
        refuse_until(
            Rule::BootGrace,
            format!(
                "the box booted {} ms ago; {} ms are granted it",
                scene.up_ms, self.config.boot_grace_ms
            ),
            scene.now_age_ms + left_ms,
        )
    }

    fn cooldown(
        &self,
        proposal: &Proposal,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        let Some(last_age_ms) = history.last(&proposal.action, &proposal.target) else {
            return Ok(());
        };
        let free_age_ms = last_age_ms + self.config.cooldown_ms;
        if free_age_ms <= scene.now_age_ms {
            return Ok(());
        }
        refuse_until(
            Rule::Cooldown,
            format!(
                "{} on {} was {} ms ago; {} ms must lie between two",
                proposal.action,
                proposal.target,
                scene.now_age_ms.saturating_sub(last_age_ms),
                self.config.cooldown_ms
            ),
            free_age_ms,
        )
    }

    fn rate(&self, spec: &ActionSpec, history: &History, scene: &Scene<'_>) -> Result<(), Refusal> {
        if spec.disruption == 0 {
            return Ok(());
        }
        let since_age_ms = scene.now_age_ms.saturating_sub(self.config.rate_window_ms);
        let (count, first_age_ms) = history.disruptions_since(since_age_ms);
        if count < self.config.rate_max {
            return Ok(());
        }
        refuse_until(
            Rule::Rate,
            format!(
                "{count} disrupting actions in {} ms; at most {} are allowed",
                self.config.rate_window_ms, self.config.rate_max
            ),
            first_age_ms + self.config.rate_window_ms + 1,
        )
    }
}

fn refuse<T>(rule: Rule, detail: String) -> Result<T, Refusal> {
    Err(Refusal { rule, detail, retry_age_ms: None })
}

fn refuse_until<T>(rule: Rule, detail: String, retry_age_ms: u64) -> Result<T, Refusal> {
    Err(Refusal { rule, detail, retry_age_ms: Some(retry_age_ms) })
}

fn catalogued<'a>(
    proposal: &Proposal,
    scene: &'a Scene<'_>,
) -> Result<(&'static ActionSpec, &'a Target), Refusal> {
    let Some(spec) = catalogue::spec(&proposal.action) else {
        let known: Vec<_> = catalogue::CATALOGUE.iter().map(|spec| spec.name).collect();
        let detail = format!("wanted one of {}, found {:?}", known.join(", "), proposal.action);
        return refuse(Rule::Catalogue, detail);
    };
    let Some(target) = scene.graph.get(&proposal.target) else {
        return refuse(
            Rule::Catalogue,
            format!("this box has no target {:?}", proposal.target.as_str()),
        );
    };
    if !spec.targets.contains(&target.kind) {
        let detail = format!("{} does not apply to a {}", spec.name, target.kind.word());
        return refuse(Rule::Catalogue, detail);
    }
    match spec.check(&proposal.params) {
        Ok(()) => Ok((spec, target)),
        Err(detail) => refuse(Rule::Catalogue, detail),
    }
}

fn journal(scene: &Scene<'_>) -> Result<(), Refusal> {
    match scene.journal_failing {
        Some(why) => refuse_until(
            Rule::Journal,
            format!("no permit can be made durable: {why}"),
            scene.now_age_ms + 1_000,
        ),
        None => Ok(()),
    }
}

fn mode(scene: &Scene<'_>) -> Result<(), Refusal> {
    if scene.mode == Mode::Enforce {
        return Ok(());
    }
    refuse(Rule::Mode, format!("the box is in mode {}; only `enforce` acts", scene.mode))
}

fn paused(scene: &Scene<'_>) -> Result<(), Refusal> {
    match scene.paused {
        None => Ok(()),
        Some(Pause { until_age_ms: Some(until) }) => {
            refuse_until(Rule::Paused, "an operator paused healing".into(), *until)
        }
        Some(Pause { until_age_ms: None }) => {
            refuse(Rule::Paused, "an operator paused healing until it is resumed".into())
        }
    }
}

fn intent(proposal: &Proposal, scene: &Scene<'_>) -> Result<(), Refusal> {
    if proposal.action == NOTIFY
        || proposal.action == WORKLOAD_STOP
        || !(scene.unwanted)(&proposal.target)
    {
        return Ok(());
    }
    refuse(Rule::Intent, format!("{} is meant to be stopped", proposal.target))
}

/// No second action on what another action's proof depends on: two targets
/// stand in each other's way when one needs the other.
fn lease(proposal: &Proposal, scene: &Scene<'_>) -> Result<(), Refusal> {
    let target = &proposal.target;
    let held = scene.leases.iter().find(|(other, _)| {
        other == target
            || scene.graph.depends_on(target, other)
            || scene.graph.depends_on(other, target)
    });
    match held {
        None => Ok(()),
        Some((other, attempt)) => refuse_until(
            Rule::Lease,
            format!("attempt {attempt} on {other} is not ended or not proven yet"),
            scene.now_age_ms + 500,
        ),
    }
}

#[cfg(test)]
mod tests;
