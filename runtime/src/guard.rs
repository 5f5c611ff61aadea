//! May this run now? The only maker of [`Permit`].
//!
//! Invariant: pure. What it needs to know of the world is handed in as a
//! [`Scene`]; what it remembers is a fold over the journal ([`History`]). A
//! permit is sealed with the record that wrote it down, so nothing can be done
//! that the journal does not hold.

mod history;
mod window;

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

/// A clock that is not trusted may be set any moment, ...
const CLOCK_LOOK_MS: u64 = 60_000;
/// ... and a window is looked for again at least this often.
const WINDOW_LOOK_MS: u64 = 3_600_000;

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
    pub leases: &'a [(TargetId, AttemptId)],
    /// Why the line may not be disturbed now, if it may not.
    pub interlock: Option<&'a str>,
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
        match origin {
            Origin::Healer { plugin, incident } => {
                self.granted(plugin, spec)?;
                mode(scene)?;
                self.healing(spec, proposal, history, scene)?;
                self.approval(*incident, spec, scene)?;
            }
            // The person stands for the mode as well; all else is as it was.
            Origin::Approved { plugin, .. } => {
                self.granted(plugin, spec)?;
                self.healing(spec, proposal, history, scene)?;
            }
            Origin::Operator { .. } | Origin::Desired => lease(proposal, scene)?,
        }
        Ok(Admitted {
            incident: match origin {
                Origin::Healer { incident, .. } | Origin::Approved { incident, .. } => {
                    Some(*incident)
                }
                Origin::Operator { .. } | Origin::Desired => None,
            },
            birth: scene.birth,
            origin: origin.clone(),
            proposal: proposal.clone(),
            expires_age_ms: scene.now_age_ms + self.config.permit_ttl_ms,
        })
    }

    /// What any repair has to pass, whoever vouches for it.
    fn healing(
        &self,
        spec: &ActionSpec,
        proposal: &Proposal,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        paused(scene)?;
        intent(proposal, scene)?;
        // Telling a person disturbs nothing, so nothing else stands in its way.
        if spec.name != NOTIFY {
            self.boot_grace(scene)?;
            lease(proposal, scene)?;
        }
        if spec.disruption > 0 {
            interlock(scene)?;
            self.replica(proposal, scene)?;
            self.storm(history, scene)?;
            self.maintenance(spec, scene)?;
        }
        self.cooldown(proposal, history, scene)?;
        self.rate(spec, history, scene)
    }

    /// Why nothing disrupting is done, while too much goes wrong at once.
    pub fn storm_detail(&self, history: &History, now_age_ms: u64) -> Option<String> {
        let since_age_ms = now_age_ms.saturating_sub(self.config.storm_window_ms);
        let (count, _) = history.incidents_since(since_age_ms);
        (count > self.config.storm_max).then(|| {
            format!(
                "{count} incidents in {} ms, at most {} are taken for single faults; nothing \
                 disrupting is done until it is quieter, or `homeostat resume`",
                self.config.storm_window_ms, self.config.storm_max
            )
        })
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
        let objection = self.check(origin, &proposal, history, scene).err()?;
        let asks = objection.rule == Rule::Approval && objection.retry_age_ms.is_some();
        (!asks).then_some(objection)
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

    /// Never both replicas: while one is under repair, the others serve.
    fn replica(&self, proposal: &Proposal, scene: &Scene<'_>) -> Result<(), Refusal> {
        let Some(group) = self.config.replicas.get(&proposal.target) else { return Ok(()) };
        let other = scene.leases.iter().find(|(other, _)| {
            *other != proposal.target && self.config.replicas.get(other) == Some(group)
        });
        match other {
            None => Ok(()),
            Some((other, attempt)) => refuse_until(
                Rule::Replica,
                format!("{other} of the same group {group:?} is under repair by {attempt}"),
                scene.now_age_ms + 500,
            ),
        }
    }

    fn storm(&self, history: &History, scene: &Scene<'_>) -> Result<(), Refusal> {
        let Some(detail) = self.storm_detail(history, scene.now_age_ms) else { return Ok(()) };
        let since_age_ms = scene.now_age_ms.saturating_sub(self.config.storm_window_ms);
        let (_, first_age_ms) = history.incidents_since(since_age_ms);
        refuse_until(Rule::Storm, detail, first_age_ms + self.config.storm_window_ms + 1)
    }

    /// What disrupts as much as a window is declared for waits for one.
    fn maintenance(&self, spec: &ActionSpec, scene: &Scene<'_>) -> Result<(), Refusal> {
        let mut windows =
            self.config.windows.iter().filter(|it| it.disruption <= spec.disruption).peekable();
        if windows.peek().is_none() {
            return Ok(());
        }
        let names = || {
            let names: Vec<_> = self.config.windows.iter().map(|it| it.name.as_str()).collect();
            names.join(", ")
        };
        let Some(unix_ms) = scene.unix_ms else {
            return refuse_until(
                Rule::Maintenance,
                format!(
                    "{} waits for a maintenance window ({}), and the wall clock is not trusted",
                    spec.name,
                    names()
                ),
                scene.now_age_ms + CLOCK_LOOK_MS,
            );
        };
        let windows: Vec<_> = windows.collect();
        if windows.iter().any(|it| window::is_open(it, unix_ms)) {
            return Ok(());
        }
        let opens_ms = windows.iter().filter_map(|it| window::opens(it, unix_ms)).min();
        // Not longer than an hour: the clock may be set, or the policy changed.
        let wait_ms = opens_ms
            .and_then(|at| u64::try_from(at - unix_ms).ok())
            .map_or(WINDOW_LOOK_MS, |ms| ms.min(WINDOW_LOOK_MS));
        refuse_until(
            Rule::Maintenance,
            format!("{} waits for a maintenance window: {}", spec.name, names()),
            scene.now_age_ms + wait_ms,
        )
    }

    /// The last to be asked: a person is not troubled with what would not pass.
    fn approval(
        &self,
        incident: IncidentId,
        spec: &ActionSpec,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        if !self.config.approval.contains(spec.name) {
            return Ok(());
        }
        if (scene.denied)(incident, spec.name) {
            return refuse(Rule::Approval, format!("a person said no to {}", spec.name));
        }
        refuse_until(
            Rule::Approval,
            format!(
                "{} wants a person's word: `homeostat approve {incident}` or `deny {incident}`, \
                 within {} s",
                spec.name,
                self.config.approval_ttl_ms / 1_000
            ),
            scene.now_age_ms + self.config.approval_ttl_ms,
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

fn interlock(scene: &Scene<'_>) -> Result<(), Refusal> {
    match scene.interlock {
        None => Ok(()),
        Some(why) => refuse_until(Rule::Interlock, why.to_owned(), scene.now_age_ms + 1_000),
    }
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
