//! Healers: asking them, and following what they decide as far as the guard
//! lets them.

use std::collections::BTreeMap;

use super::Driver;
use super::exchange::{self, PluginOrder};
use crate::config::Config;
use crate::failpoint::{Failpoint, hit};
use crate::guard;
use crate::incident::step::HealerState;
use crate::incident::{Held, Incident, Phase, Undo};
use crate::model::brief::Node;
use crate::model::catalogue::NOTIFY;
use crate::model::view::{PluginState, PluginView, WorkloadState};
use crate::model::{
    AttemptId, Brief, Decision, Event, IncidentId, Origin, Proposal, Record, Refusal, Remedy,
    TargetId, Value,
};
use crate::plugin::{Healer, Run};

pub struct Asking {
    pub view: PluginView,
    /// Of its start.
    start: Run,
    /// Of the start that is spoken with: none, 0, once it was let go.
    run: Run,
    handle: Option<Healer>,
    busy: bool,
}

/// The healers that routes name; each is `starting` until it arrives.
pub fn expected(config: &Config) -> BTreeMap<String, Asking> {
    let named = config.incident.routes.iter().flat_map(|route| &route.healers);
    named
        .map(|name| {
            let view = PluginView {
                name: name.clone(),
                version: String::new(),
                world: "healer".into(),
                digest: String::new(),
                state: PluginState::Starting,
                detail: "being verified".into(),
                calls: 0,
                faults: 0,
                ..PluginView::default()
            };
            (name.clone(), Asking { view, start: 0, run: 0, handle: None, busy: false })
        })
        .collect()
}

impl Driver {
    pub(super) fn healer_arrived(&mut self, view: PluginView, run: Run, handle: Healer) {
        let asking = Asking { view, start: run, run, handle: Some(handle), busy: false };
        self.healers.insert(asking.view.name.clone(), asking);
    }

    pub(super) fn healer_refused(&mut self, view: PluginView, start: Run) {
        let asking = Asking { view, start, run: 0, handle: None, busy: false };
        self.healers.insert(asking.view.name.clone(), asking);
    }

    pub(super) fn is_healers(&self, run: Run) -> bool {
        run != 0 && self.healers.values().any(|asking| asking.run == run)
    }

    /// A healer works when it runs: it may be asked nothing for months.
    pub(super) fn healers_due(&self, now_age_ms: u64) -> Vec<(Run, PluginOrder)> {
        let due = |asking: &Asking| exchange::due(&asking.view, asking.start, true, now_age_ms);
        self.healers.values().filter_map(due).collect()
    }

    /// Another is put in its place. Whoever waits for its answer asks again.
    pub(super) fn healer_leaves(&mut self, plugin: &str) -> Option<Healer> {
        let asking = self.healers.get_mut(plugin)?;
        asking.run = 0;
        let handle = asking.handle.take();
        self.healer_faulted(plugin, PluginState::Starting, "another is put in its place");
        handle
    }

    pub(super) fn healer_ready(&mut self, plugin: &str) {
        let Some(asking) = self.healers.get_mut(plugin) else { return };
        asking.busy = false;
        asking.view.detail.clear();
        let before = std::mem::replace(&mut asking.view.state, PluginState::Running);
        self.dirty = true;
        if matches!(before, PluginState::Starting | PluginState::Backoff) {
            let why = format!("healer {plugin} is back");
            let missed =
                |it: &Incident| it.declined.contains(plugin) || it.unanswered.contains_key(plugin);
            self.reopen_stuck(missed, &why);
        }
    }

    pub(super) fn healer_answered(&mut self, plugin: &str) {
        if let Some(asking) = self.healers.get_mut(plugin) {
            asking.busy = false;
        }
    }

    pub(super) fn count_healers_fault(&mut self, plugin: &str) {
        if let Some(asking) = self.healers.get_mut(plugin) {
            asking.view.faults += 1;
        }
    }

    /// A fault gives no answer; whoever waits for one is told.
    pub(super) fn healer_faulted(&mut self, plugin: &str, state: PluginState, why: &str) {
        let Some(asking) = self.healers.get_mut(plugin) else { return };
        asking.busy = false;
        asking.view.state = state;
        asking.view.detail = why.to_owned();
        let waiting: Vec<IncidentId> = self
            .memory
            .incidents
            .open()
            .filter(|it| matches!(&it.phase, Phase::Deciding { healer, .. } if healer == plugin))
            .map(|it| it.id)
            .collect();
        for incident in waiting {
            let (healer, why) = (plugin.to_owned(), why.to_owned());
            self.write(Event::DecisionFailed { incident, healer, why, for_good: false });
        }
    }

    pub(super) fn healer_state(&self, name: &str) -> HealerState {
        match self.healers.get(name) {
            None => HealerState::Gone { why: "no plugin of that name is configured".into() },
            Some(asking) => match asking.view.state {
                PluginState::Running if !asking.busy => HealerState::Idle,
                PluginState::Running | PluginState::Starting | PluginState::Backoff => {
                    HealerState::Busy
                }
                PluginState::Quarantined | PluginState::Refused => {
                    HealerState::Gone { why: asking.view.detail.clone() }
                }
            },
        }
    }

    pub(super) fn ask(&mut self, incident: IncidentId, healer: &str) {
        let Some(brief) = self.brief(incident, healer) else { return };
        self.write(Event::HealerAsked { incident, healer: healer.to_owned() });
        hit(Failpoint::DriverAsk);
        let Some(asking) = self.healers.get_mut(healer) else { return };
        asking.busy = true;
        asking.view.calls += 1;
        let taken = asking.handle.as_ref().is_some_and(|handle| handle.decide(brief).is_ok());
        if !taken {
            asking.busy = false;
            let why = "it took no question".to_owned();
            let healer = healer.to_owned();
            self.write(Event::DecisionFailed { incident, healer, why, for_good: false });
        }
    }

    fn brief(&self, id: IncidentId, healer: &str) -> Option<Brief> {
        let incident = self.memory.incidents.get(id)?;
        let now = self.clock.now();
        let closure = self.config.graph.closure(&incident.root);
        let remedies = self.with_guard_scene(|scene| {
            let of = |target| self.guard.remedies(healer, id, target, &self.memory.history, scene);
            // What the root needs may be what has to be mended; a person is told once.
            let needed = closure.iter().filter(|target| **target != incident.root);
            let needed = needed.flat_map(of).filter(|it| it.action != NOTIFY);
            of(&incident.root).into_iter().chain(needed).collect()
        });
        let nodes = closure.iter().filter_map(|id| self.config.graph.get(id));
        Some(Brief {
            id,
            signature: incident.signature.clone(),
            now,
            // The same incident at the same attempt gets the same chance in a replay.
            seed: id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ incident.attempts.len() as u64,
            opened: incident.opened,
            root: incident.root.clone(),
            findings: self.memory.incidents.findings_of(incident),
            graph: nodes
                .map(|target| Node {
                    id: target.id.clone(),
                    kind: target.kind.word().into(),
                    state: self.state_word(&target.id).into(),
                    needs: target.needs.clone(),
                })
                .collect(),
            remedies,
            attempts: incident.attempts.clone(),
            facts: vec![
                ("box.mode".into(), Value::text(self.config.mode.to_string())),
                ("box.up_ms".into(), Value::Int(i64::try_from(self.up_ms()).unwrap_or(i64::MAX))),
            ],
        })
    }

    fn state_word(&self, target: &TargetId) -> &'static str {
        let status = target.as_workload().and_then(|name| self.workloads.get(name));
        match status.map(|status| status.state) {
            Some(WorkloadState::Running) => "running",
            Some(WorkloadState::Stopped) => "stopped",
            Some(WorkloadState::Stopping) => "stopping",
            Some(WorkloadState::Exited) => "exited",
            None => "unknown",
        }
    }

    /// Writes down what a healer decided, and does as much of it as the guard permits.
    pub(super) fn follow(
        &mut self,
        healer: &str,
        incident: IncidentId,
        result: Result<Decision, String>,
    ) {
        let decision = match result {
            Ok(decision) => decision,
            Err(why) => {
                let healer = healer.to_owned();
                self.write(Event::DecisionFailed { incident, healer, why, for_good: false });
                return;
            }
        };
        self.write(Event::Decided {
            incident,
            healer: healer.to_owned(),
            decision: decision.clone(),
        });
        hit(Failpoint::DriverDecided);
        match decision {
            Decision::Act(proposal) => {
                let origin = Origin::Healer { plugin: healer.to_owned(), incident };
                // The outcome is told by events; a refusal is one of them.
                let _ = self.propose(&origin, Some(incident), proposal);
            }
            Decision::GiveUp { why } => {
                tracing::error!(%incident, healer, why, "STUCK: out of ideas, a person is needed");
                self.write(Event::IncidentStuck {
                    incident,
                    why: format!("{healer} gave up: {why}"),
                });
            }
            Decision::Wait { .. } | Decision::Decline { .. } => {}
        }
    }

    /// Takes back what did not help, as far as the guard permits.
    pub(super) fn undo(&mut self, id: IncidentId) {
        let undo = self.memory.incidents.get(id).and_then(|it| it.undo.clone());
        let Some(Undo { origin, proposal, .. }) = undo else { return };
        // A refusal is written down, and what has a time to it is tried again.
        let _ = self.propose(&origin, Some(id), proposal);
    }

    /// Asks the guard; on yes, the permit is written down and handed on.
    pub(super) fn propose(
        &mut self,
        origin: &Origin,
        incident: Option<IncidentId>,
        proposal: Proposal,
    ) -> Result<AttemptId, Refusal> {
        let judged = self.with_guard_scene(|scene| {
            self.guard.check(origin, &proposal, &self.memory.history, scene)
        });
        match judged {
            Ok(admitted) => {
                let record: Record = self.write(admitted.event());
                let permit = admitted.seal(&record);
                let id = permit.id();
                self.submit(permit);
                Ok(id)
            }
            Err(refusal) => {
                tracing::info!(rule = %refusal.rule, detail = refusal.detail, "refused");
                self.write(Event::Refused {
                    incident,
                    origin: origin.clone(),
                    proposal,
                    refusal: refusal.clone(),
                });
                Err(refusal)
            }
        }
    }

    /// Whether the guard would give the same refusal again.
    pub(super) fn refuses(&self, held: &Held) -> bool {
        let judged = self.with_guard_scene(|scene| {
            self.guard.check(&held.origin, &held.proposal, &self.memory.history, scene)
        });
        judged.is_err_and(|it| it.rule == held.rule && it.retry_age_ms.is_some())
    }

    /// Whether a healer of its may do something to its root that takes nothing
    /// from anybody, and that is more than telling.
    pub(super) fn may_do_no_harm(&self, incident: &Incident) -> bool {
        let Incident { id, kind, root, .. } = incident;
        self.config.incident.healers(kind, root).iter().any(|healer| {
            let remedies = self.with_guard_scene(|scene| {
                self.guard.remedies(healer, *id, root, &self.memory.history, scene)
            });
            let mends = |it: &Remedy| it.allowed && it.disruption == 0 && it.action != NOTIFY;
            remedies.iter().any(mends)
        })
    }

    pub(super) fn with_guard_scene<T>(&self, with: impl FnOnce(&guard::Scene<'_>) -> T) -> T {
        let unwanted = |target: &TargetId| self.is_unwanted(target);
        let leases: Vec<_> = self.memory.incidents.leases().collect();
        let denied = |incident: IncidentId, action: &str| {
            self.memory.incidents.get(incident).is_some_and(|it| it.denied.contains(action))
        };
        let reboots_age_ms = self.reboots_age_ms.borrow().clone();
        let now = self.clock.now();
        let interlock = self.interlocks.objection(now.age_ms);
        with(&guard::Scene {
            now_age_ms: now.age_ms,
            unix_ms: now.unix_ms,
            up_ms: self.up_ms(),
            birth: self.birth,
            mode: self.config.mode,
            paused: self.memory.paused.as_ref(),
            journal_failing: self.journal_failing.as_deref(),
            graph: &self.config.graph,
            unwanted: &unwanted,
            leases: &leases,
            reboots_age_ms: &reboots_age_ms,
            interlock: interlock.as_deref(),
            denied: &denied,
        })
    }

    /// Further probes that the proposal behind an attempt wants proven, as
    /// `TARGET/PROBE`. What is not configured cannot be proven, and is said.
    pub(super) fn also_prove(&self, attempt: AttemptId) -> Vec<(TargetId, String)> {
        let wanted = self.memory.incidents.also_prove(attempt);
        wanted
            .iter()
            .filter_map(|text| {
                let (target, probe) = text.rsplit_once('/')?;
                let target = TargetId::from_text(target);
                if self.proofs.knows(&target, probe) {
                    return Some((target, probe.to_owned()));
                }
                tracing::warn!(%attempt, text, "no such probe; it proves nothing");
                None
            })
            .collect()
    }
}
