//! The rules, one by one. Each says yes by saying nothing, or no with a reason,
//! and from when on the same could pass.

use std::sync::Arc;

use super::history::History;
use super::window;
use super::{Guard, Scene};
use crate::model::action::Rule;
use crate::model::catalogue::{ActionSpec, NOTIFY, UNDO, WORKLOAD_STOP};
use crate::model::view::Pause;
use crate::model::{IncidentId, Lease, Mode, Proposal, Refusal, TargetId};

/// A clock that is not trusted may be set any moment, ...
const CLOCK_LOOK_MS: u64 = 60_000;
/// ... and a window is looked for again at least this often.
const WINDOW_LOOK_MS: u64 = 3_600_000;

impl Guard {
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

    /// The entry of the catalogue, if it applies to such a target.
    pub(super) fn catalogued(
        &self,
        proposal: &Proposal,
        scene: &Scene<'_>,
    ) -> Result<Arc<ActionSpec>, Refusal> {
        let Some(spec) = self.catalogue.get(&proposal.action) else {
            let known: Vec<_> = self.catalogue.names().collect();
            let detail = format!("wanted one of {}, found {:?}", known.join(", "), proposal.action);
            return refuse(Rule::Catalogue, detail);
        };
        let target = &proposal.target;
        if scene.graph.get(target).is_none() {
            return refuse(
                Rule::Catalogue,
                format!("this box has no target {:?}", target.as_str()),
            );
        }
        if !spec.applies_to(target) {
            let detail = format!(
                "{} does not apply to {target}, but to {}",
                spec.name,
                spec.targets.join(", ")
            );
            return refuse(Rule::Catalogue, detail);
        }
        Ok(Arc::clone(spec))
    }

    pub(super) fn granted(&self, plugin: &str, spec: &ActionSpec) -> Result<(), Refusal> {
        // Whoever may do it may take it back.
        let action = spec.name.strip_suffix(UNDO).unwrap_or(&spec.name);
        if self.grants.get(plugin).is_some_and(|actions| actions.contains(action)) {
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

    pub(super) fn boot_grace(&self, scene: &Scene<'_>) -> Result<(), Refusal> {
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

    pub(super) fn cooldown(
        &self,
        spec: &ActionSpec,
        target: &TargetId,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        let Some(last_age_ms) = history.last(&spec.name, target) else {
            return Ok(());
        };
        let free_age_ms = last_age_ms + self.config.cooldown_ms;
        if free_age_ms <= scene.now_age_ms {
            return Ok(());
        }
        refuse_until(
            Rule::Cooldown,
            format!(
                "{} on {target} was {} ms ago; {} ms must lie between two",
                spec.name,
                scene.now_age_ms.saturating_sub(last_age_ms),
                self.config.cooldown_ms
            ),
            free_age_ms,
        )
    }

    /// Never both replicas: while one is under repair, the others serve.
    pub(super) fn replica(&self, target: &TargetId, scene: &Scene<'_>) -> Result<(), Refusal> {
        let Some(group) = self.config.replicas.get(target) else { return Ok(()) };
        let other = scene.leases.iter().find(|lease| {
            lease.target != *target && self.config.replicas.get(&lease.target) == Some(group)
        });
        match other {
            None => Ok(()),
            Some(Lease { target: other, attempt, .. }) => refuse_until(
                Rule::Replica,
                format!("{other} of the same group {group:?} is under repair by {attempt}"),
                scene.now_age_ms + 500,
            ),
        }
    }

    pub(super) fn storm(&self, history: &History, scene: &Scene<'_>) -> Result<(), Refusal> {
        let Some(detail) = self.storm_detail(history, scene.now_age_ms) else { return Ok(()) };
        let since_age_ms = scene.now_age_ms.saturating_sub(self.config.storm_window_ms);
        let (_, first_age_ms) = history.incidents_since(since_age_ms);
        refuse_until(Rule::Storm, detail, first_age_ms + self.config.storm_window_ms + 1)
    }

    /// What disrupts as much as a window is declared for waits for one.
    pub(super) fn maintenance(&self, spec: &ActionSpec, scene: &Scene<'_>) -> Result<(), Refusal> {
        let mut windows = self
            .config
            .windows
            .iter()
            .filter(|it| it.disruption <= spec.terms.disruption)
            .peekable();
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
    pub(super) fn approval(
        &self,
        incident: IncidentId,
        spec: &ActionSpec,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        if !self.config.approval.contains(&spec.name) {
            return Ok(());
        }
        if (scene.denied)(incident, &spec.name) {
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

    /// By the trust slot's count, which a lost journal does not take back.
    pub(super) fn reboots(&self, scene: &Scene<'_>) -> Result<(), Refusal> {
        let Some(config) = &self.config.reboot else { return Ok(()) };
        let since_age_ms = scene.now_age_ms.saturating_sub(config.window_ms);
        let mut within = scene.reboots_age_ms.iter().filter(|age_ms| **age_ms >= since_age_ms);
        let Some(first_age_ms) = within.next() else { return Ok(()) };
        let count = within.count() + 1;
        if count < config.max as usize {
            return Ok(());
        }
        refuse_until(
            Rule::Reboot,
            format!(
                "the box booted itself {count} times in {} s, and at most {} are allowed; it is \
                 a person's turn",
                config.window_ms / 1_000,
                config.max
            ),
            first_age_ms + config.window_ms + 1,
        )
    }

    pub(super) fn rate(
        &self,
        spec: &ActionSpec,
        history: &History,
        scene: &Scene<'_>,
    ) -> Result<(), Refusal> {
        if spec.terms.disruption == 0 {
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

pub(super) fn refuse<T>(rule: Rule, detail: String) -> Result<T, Refusal> {
    Err(Refusal { rule, detail, retry_age_ms: None })
}

fn refuse_until<T>(rule: Rule, detail: String, retry_age_ms: u64) -> Result<T, Refusal> {
    Err(Refusal { rule, detail, retry_age_ms: Some(retry_age_ms) })
}

pub(super) fn journal(scene: &Scene<'_>) -> Result<(), Refusal> {
    match scene.journal_failing {
        Some(why) => refuse_until(
            Rule::Journal,
            format!("no permit can be made durable: {why}"),
            scene.now_age_ms + 1_000,
        ),
        None => Ok(()),
    }
}

pub(super) fn mode(scene: &Scene<'_>) -> Result<(), Refusal> {
    if scene.mode == Mode::Enforce {
        return Ok(());
    }
    refuse(Rule::Mode, format!("the box is in mode {}; only `enforce` acts", scene.mode))
}

pub(super) fn paused(scene: &Scene<'_>) -> Result<(), Refusal> {
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

pub(super) fn intent(
    spec: &ActionSpec,
    target: &TargetId,
    scene: &Scene<'_>,
) -> Result<(), Refusal> {
    if [NOTIFY, WORKLOAD_STOP].contains(&spec.name.as_str()) || !(scene.unwanted)(target) {
        return Ok(());
    }
    refuse(Rule::Intent, format!("{target} is meant to be stopped"))
}

pub(super) fn interlock(scene: &Scene<'_>) -> Result<(), Refusal> {
    match scene.interlock {
        None => Ok(()),
        Some(why) => refuse_until(Rule::Interlock, why.to_owned(), scene.now_age_ms + 1_000),
    }
}

/// No second action on what another action's proof depends on: two targets
/// stand in each other's way when one needs the other.
pub(super) fn lease(
    spec: &ActionSpec,
    target: &TargetId,
    scene: &Scene<'_>,
) -> Result<(), Refusal> {
    let held = scene.leases.iter().find(|it| it.hinders(target, &spec.terms, scene.graph));
    match held {
        None => Ok(()),
        Some(Lease { target: other, attempt, .. }) => refuse_until(
            Rule::Lease,
            format!("attempt {attempt} on {other} is not ended or not proven yet"),
            scene.now_age_ms + 500,
        ),
    }
}
