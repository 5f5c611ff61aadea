//! The hands: a permit goes in, an outcome comes out.
//!
//! Invariant: nothing is touched before the journal holds the permit durably,
//! and nothing is done twice: what a crash left open is looked at
//! ([`Executor::observe`]), never carried out again. Permits and outcomes are
//! plain messages, so that the hands can one day be a process of their own.

mod notify;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::NotifyConfig;
use crate::failpoint::{Failpoint, hit};
use crate::guard::Permit;
use crate::model::catalogue::{NOTIFY, WORKLOAD_RESTART, WORKLOAD_START, WORKLOAD_STOP};
use crate::model::{AttemptId, IncidentId, Mode, Origin, Outcome, TargetId};
use crate::store::Durable;
use crate::workload::Workloads;

/// What came of a permit, or of looking for what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub attempt: AttemptId,
    pub incident: Option<IncidentId>,
    pub action: String,
    pub target: TargetId,
    pub outcome: Outcome,
    /// Seen after a crash rather than done now.
    pub observed: bool,
}

/// An attempt whose end nobody saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Unknown {
    pub attempt: AttemptId,
    pub incident: Option<IncidentId>,
    pub action: String,
    pub target: TargetId,
}

/// What is looked at again right before a touch, since a permit may have waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    pub mode: Mode,
    pub paused: bool,
    /// Workloads that are meant to be stopped.
    pub unwanted: BTreeSet<TargetId>,
    /// Why the production line may not be disturbed now, if it may not.
    pub interlock: Option<String>,
}

impl Leave {
    pub fn new(mode: Mode) -> Self {
        Self { mode, paused: false, unwanted: BTreeSet::new(), interlock: None }
    }

    /// Why a permit that was good when it was made is good no more.
    fn objection(&self, permit: &Permit) -> Option<String> {
        let healer = matches!(permit.origin(), Origin::Healer { .. });
        let repair = healer || matches!(permit.origin(), Origin::Approved { .. });
        let desired = *permit.origin() == Origin::Desired;
        let starts = [WORKLOAD_START, WORKLOAD_RESTART].contains(&permit.spec().name);
        if healer && self.mode != Mode::Enforce {
            return Some(format!("the mode is now {}", self.mode));
        }
        if repair && self.paused {
            return Some("an operator paused healing".into());
        }
        if (repair || desired) && starts && self.unwanted.contains(permit.target()) {
            return Some(format!("{} is now meant to be stopped", permit.target()));
        }
        let disturbs = repair && permit.spec().disruption > 0;
        let interlock = self.interlock.as_ref().filter(|_| disturbs)?;
        Some(format!("the line may not be disturbed now: {interlock}"))
    }
}

struct Parts {
    workloads: Workloads,
    /// By workload: how long a stop may take.
    stop_ms_max: BTreeMap<String, u64>,
    notifiers: BTreeMap<String, NotifyConfig>,
    durable: watch::Receiver<Durable>,
    leave: watch::Receiver<Leave>,
    clock: Clock,
    ended: mpsc::Sender<Ended>,
    closed: watch::Receiver<bool>,
    /// Held by every action under way; never sent on.
    _busy: mpsc::Sender<()>,
}

/// The actions under way, for whoever ends the daemon.
pub struct InFlight {
    closing: watch::Sender<bool>,
    idle: mpsc::Receiver<()>,
}

impl InFlight {
    /// Begins nothing more; what waits for the journal lapses.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until every executor is gone and nothing is under way.
    pub async fn drained(mut self) {
        while self.idle.recv().await.is_some() {}
    }
}

/// Cheap to clone; each permit runs as a task of its own, and the guard's lease
/// sees to it that a target has one at a time.
#[derive(Clone)]
pub struct Executor(Arc<Parts>);

impl Executor {
    pub fn new(
        workloads: Workloads,
        stop_ms_max: BTreeMap<String, u64>,
        notifiers: Vec<NotifyConfig>,
        durable: watch::Receiver<Durable>,
        leave: watch::Receiver<Leave>,
        clock: Clock,
        ended: mpsc::Sender<Ended>,
    ) -> (Self, InFlight) {
        let (closing, closed) = watch::channel(false);
        let (busy, idle) = mpsc::channel(1);
        let notifiers = notifiers.into_iter().map(|it| (it.name.clone(), it)).collect();
        let executor = Self(Arc::new(Parts {
            workloads,
            stop_ms_max,
            notifiers,
            durable,
            leave,
            clock,
            ended,
            closed,
            _busy: busy,
        }));
        (executor, InFlight { closing, idle })
    }

    /// Carries the permit out and sends what came of it.
    pub fn submit(&self, permit: Permit) {
        let parts = Arc::clone(&self.0);
        tokio::spawn(async move {
            let outcome = parts.carry_out(&permit).await;
            parts
                .send(Ended {
                    attempt: permit.id(),
                    incident: permit.incident(),
                    action: permit.proposal().action.clone(),
                    target: permit.target().clone(),
                    outcome,
                    observed: false,
                })
                .await;
        });
    }

    /// Looks for what a crash left of an attempt. Touches nothing.
    pub fn observe(&self, unknown: Unknown) {
        let parts = Arc::clone(&self.0);
        tokio::spawn(async move {
            let outcome = parts.observe_effect(&unknown).await;
            let Unknown { attempt, incident, action, target } = unknown;
            parts.send(Ended { attempt, incident, action, target, outcome, observed: true }).await;
        });
    }
}

impl Parts {
    async fn send(&self, ended: Ended) {
        // The driver has gone when this fails: its journal will say `unknown`.
        let _ = self.ended.send(ended).await;
    }

    async fn carry_out(&self, permit: &Permit) -> Outcome {
        if let Err(lapsed) = self.wait_until_durable(permit).await {
            return lapsed;
        }
        hit(Failpoint::ActionBeforeTouch);
        let limit = Duration::from_millis(permit.spec().timeout_ms + self.extra_ms(permit));
        match tokio::time::timeout(limit, self.act(permit)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed {
                detail: format!(
                    "{} on {} did not end within {} ms",
                    permit.spec().name,
                    permit.target(),
                    limit.as_millis()
                ),
            },
        }
    }

    /// A workload's own deadline comes on top of the catalogue's.
    fn extra_ms(&self, permit: &Permit) -> u64 {
        permit
            .target()
            .as_workload()
            .and_then(|name| self.stop_ms_max.get(name))
            .copied()
            .unwrap_or(0)
    }

    /// The permit must be durable before it is obeyed; then its expiry and our
    /// leave are looked at again, because the wait may have been long.
    async fn wait_until_durable(&self, permit: &Permit) -> Result<(), Outcome> {
        let lapsed = |detail: String| Outcome::Lapsed { detail };
        let left_ms = permit.expires_age_ms().saturating_sub(self.clock.age_ms());
        let mut durable = self.durable.clone();
        let seq = permit.id().seq;
        let mut closed = self.closed.clone();
        let wait = async {
            tokio::select! {
                held = durable.wait_for(|durable| durable.seq >= seq) => held.map(drop).ok(),
                _ = closed.wait_for(|closed| *closed) => None,
            }
        };
        match tokio::time::timeout(Duration::from_millis(left_ms), wait).await {
            Ok(Some(())) if !*self.closed.borrow() => {}
            Ok(_) => return Err(lapsed("the daemon is stopping".into())),
            Err(_) => {
                let why = self.durable.borrow().failing.clone();
                let why = why.map_or(String::new(), |why| format!(": {why}"));
                return Err(lapsed(format!("the permit ran out before it was durable{why}")));
            }
        }
        if self.clock.age_ms() > permit.expires_age_ms() {
            return Err(lapsed("the permit ran out".into()));
        }
        let objection = self.leave.borrow().objection(permit);
        objection.map_or(Ok(()), |why| Err(lapsed(why)))
    }

    async fn act(&self, permit: &Permit) -> Outcome {
        let name = permit.target().name();
        match permit.spec().name {
            WORKLOAD_START => workload::start(&self.workloads, name, permit.id()).await,
            WORKLOAD_RESTART => workload::restart(&self.workloads, name, permit.id()).await,
            WORKLOAD_STOP => workload::stop(&self.workloads, name).await,
            NOTIFY => notify::notify(&self.notifiers, permit).await,
            other => Outcome::Failed { detail: format!("no hands for action {other}") },
        }
    }

    async fn observe_effect(&self, unknown: &Unknown) -> Outcome {
        let name = unknown.target.name();
        match unknown.action.as_str() {
            WORKLOAD_START | WORKLOAD_RESTART => {
                workload::observe_start(&self.workloads, name, unknown.attempt).await
            }
            WORKLOAD_STOP => workload::observe_stop(&self.workloads, name),
            // A message may or may not have gone out. Saying it did not would
            // send it twice; a person who is told once too seldom still has the incident.
            NOTIFY => Outcome::Failed { detail: "whether it was delivered is not known".into() },
            other => Outcome::Failed { detail: format!("nothing is known of action {other}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::guard;
    use crate::model::{Graph, Instant, Proposal, Record, Target, TargetKind};

    fn digits() -> TargetId {
        TargetId::workload("digits")
    }

    /// A permit as the guard makes it, to restart a workload.
    fn permit(origin: Origin) -> Permit {
        let mut graph = Graph::default();
        graph.insert(Target { id: digits(), kind: TargetKind::Workload, needs: vec![] });
        let config = crate::config::parse(
            std::path::Path::new("/etc/homeostat.toml"),
            "box.mode = \"enforce\"\nbox.name = \"b\"\nguard.boot_grace_s = 0\n",
            &crate::config::Machine::default(),
        );
        let grants = BTreeMap::from([("ladder".into(), [WORKLOAD_RESTART.to_owned()].into())]);
        let guard = guard::Guard::new(config.expect("a good file").guard, grants);
        let scene = guard::Scene {
            now_age_ms: 1,
            unix_ms: None,
            up_ms: 1,
            birth: 1,
            mode: Mode::Enforce,
            paused: None,
            journal_failing: None,
            graph: &graph,
            unwanted: &|_| false,
            leases: &[],
            interlock: None,
            denied: &|_, _| false,
        };
        let proposal = Proposal {
            action: WORKLOAD_RESTART.into(),
            target: digits(),
            params: vec![],
            reason: String::new(),
            also_prove: vec![],
        };
        let admitted = guard.check(&origin, &proposal, &guard::History::default(), &scene);
        let admitted = admitted.expect("nothing stands against it");
        let record = Record { seq: 1, at: Instant::default(), event: admitted.event() };
        admitted.seal(&record)
    }

    #[test]
    fn a_permit_that_waited_for_the_disk_is_not_obeyed_when_the_world_has_changed() {
        let healer = || Origin::Healer { plugin: "ladder".into(), incident: IncidentId(1) };
        let approved =
            || Origin::Approved { plugin: "ladder".into(), incident: IncidentId(1), uid: 0 };
        let operator = || Origin::Operator { uid: 0 };
        let plain = Leave::new(Mode::Enforce);
        let observe = Leave::new(Mode::Observe);
        let paused = Leave { paused: true, ..plain.clone() };
        let unwanted = Leave { unwanted: [digits()].into(), ..plain.clone() };
        let locked = Leave { interlock: Some("line: no word".into()), ..plain.clone() };
        // For a healer, for one with a person's yes, for the desired state, for a person.
        for (leave, word, obeyed) in [
            (plain, "", [true, true, true, true]),
            (observe, "the mode", [false, true, true, true]),
            (paused, "paused", [false, false, true, true]),
            (unwanted, "meant to be stopped", [false, false, false, true]),
            (locked, "line: no word", [false, false, true, true]),
        ] {
            let origins = [healer(), approved(), Origin::Desired, operator()];
            for (origin, obeyed) in origins.into_iter().zip(obeyed) {
                let objection = leave.objection(&permit(origin.clone()));
                assert_eq!(objection.is_none(), obeyed, "{leave:?} for {origin:?}");
                assert!(objection.is_none_or(|why| why.contains(word)));
            }
        }
    }
}
