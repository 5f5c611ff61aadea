//! What is meant to run, against what does.
//!
//! The configuration and the operator say what is meant to run. Starting what
//! never ran, and stopping what is no longer wanted, is obeying them; a process
//! that ended by itself is a fault, and the healers' affair.

use super::Driver;
use crate::model::catalogue::{Terms, WORKLOAD_START, WORKLOAD_STOP};
use crate::model::event::exit_attrs;
use crate::model::view::WorkloadState;
use crate::model::{Attempt, AttemptId, ExitStatus, Origin, Outcome, Proposal, TargetId, Value};

/// A stop that failed, because a driver holds the process say, is tried again
/// this much later.
const STOP_AGAIN_MS: u64 = 60_000;
/// Ends remembered for the proofs that are open.
const EXITS_MAX: usize = 256;

impl Driver {
    pub(super) fn wants_running(&self, workload: &str) -> bool {
        let declared = self.config.workloads.iter().find(|it| it.name == workload);
        let said = self.memory.desired_running.get(workload).copied();
        declared.is_some_and(|it| said.unwrap_or(it.desired_running))
    }

    /// Whether an operator or the configuration wants it stopped.
    pub(super) fn is_unwanted(&self, target: &TargetId) -> bool {
        target.as_workload().is_some_and(|name| !self.wants_running(name))
    }

    /// Whether a workload runs; what is no workload always does.
    pub(super) fn runs(&self, target: &TargetId) -> bool {
        target.as_workload().is_none_or(|name| {
            self.workloads.get(name).is_some_and(|status| {
                matches!(status.state, WorkloadState::Running | WorkloadState::Stopping)
            })
        })
    }

    /// Starts what was never started, in the order of what needs what, and
    /// stops what is no longer wanted.
    pub(super) fn reconcile_desired(&mut self) {
        let config = std::sync::Arc::clone(&self.config);
        for workload in &config.workloads {
            let target = TargetId::workload(&workload.name);
            let state = self.workloads.get(&workload.name).map(|status| status.state);
            let action = match (self.wants_running(&workload.name), state) {
                (true, Some(WorkloadState::Stopped))
                    if self.may_start(&target) && !self.is_being_healed(&target) =>
                {
                    WORKLOAD_START
                }
                // What ended with an earlier boot did not end by itself.
                (true, Some(WorkloadState::Exited))
                    if self.is_of_an_earlier_boot(&workload.name) && self.may_start(&target) =>
                {
                    WORKLOAD_START
                }
                (false, Some(WorkloadState::Running)) if self.is_told(&workload.name) => {
                    WORKLOAD_STOP
                }
                _ => continue,
            };
            let Some(spec) = config.catalogue.get(action) else { continue };
            let too_soon = |until: &u64| *until > self.clock.age_ms();
            if self.journal_failing.is_some()
                || self.is_leased(&target, &spec.terms)
                || self.stop_again_age_ms.get(&workload.name).is_some_and(too_soon)
            {
                continue;
            }
            let proposal = Proposal {
                action: action.into(),
                target,
                params: Vec::new(),
                reason: "the desired state".into(),
                also_prove: Vec::new(),
            };
            // A refusal is written down, and this is looked at again.
            let _ = self.propose(&Origin::Desired, None, proposal);
        }
    }

    /// What others began is not stopped before they were heard: their word may be
    /// on its way.
    fn is_told(&self, workload: &str) -> bool {
        let attempt = self.workloads.get(workload).and_then(|status| status.attempt);
        attempt.is_none_or(|id| !id.is_of_others() || self.memory.runs.get(workload) == Some(&id))
    }

    /// What a healer took in hand, and left down half-way, is its own to start:
    /// with its pauses, and the guard's.
    fn is_being_healed(&self, target: &TargetId) -> bool {
        self.memory.incidents.open().any(|incident| {
            let touched = |it: &Attempt| it.id.is_some() && it.target == *target;
            incident.root == *target && incident.attempts.iter().any(touched)
        })
    }

    fn is_of_an_earlier_boot(&self, workload: &str) -> bool {
        let started_age_ms = self.memory.started_age_ms.get(workload);
        started_age_ms.is_none_or(|age_ms| *age_ms <= self.clock.saved().offset_ms)
    }

    /// Whether what it needs runs and was seen good, and no start failed yet.
    fn may_start(&self, target: &TargetId) -> bool {
        !self.start_failed.contains_key(target.name())
            && self.config.graph.get(target).is_some_and(|it| {
                it.needs
                    .iter()
                    .filter(|need| need.as_workload().is_some())
                    .all(|need| self.runs(need) && self.proofs.is_good(need))
            })
    }

    /// Whether this target, or one it stands in relation to, is under repair.
    pub(super) fn is_leased(&self, target: &TargetId, terms: &Terms) -> bool {
        let graph = &self.config.graph;
        self.memory.incidents.leases().any(|it| it.hinders(target, terms, graph))
    }

    /// A start that the desired state or an operator asked for did not come
    /// about: to the detectors that is a process that is gone.
    pub(super) fn errand_failed(
        &mut self,
        attempt: AttemptId,
        action: &str,
        target: &TargetId,
        outcome: &Outcome,
    ) {
        if action == WORKLOAD_STOP {
            let again_age_ms = self.clock.age_ms() + STOP_AGAIN_MS;
            self.stop_again_age_ms.insert(target.name().to_owned(), again_age_ms);
        }
        // What lapsed was not tried: the desired state is looked at again.
        let lapsed = matches!(outcome, Outcome::Lapsed { .. });
        if action != WORKLOAD_START || self.runs(target) || lapsed {
            return;
        }
        let mut attrs = exit_attrs(attempt, ExitStatus::Unknown, false);
        if let Outcome::Failed { detail } = outcome {
            attrs.push(("error".into(), Value::text(detail.clone())));
        }
        self.start_failed.insert(target.name().to_owned(), attrs.clone());
        self.mark(target.clone(), "workload.exited", attrs);
    }

    pub(super) fn remember_exit(&mut self, attempt: AttemptId, status: ExitStatus) {
        self.exits.insert(attempt, status);
        if self.exits.len() > EXITS_MAX {
            self.exits.pop_first();
        }
    }
}
