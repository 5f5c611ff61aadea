//! The hands: a permit goes in, an outcome comes out.
//!
//! Invariant: nothing is touched before the journal holds the permit durably,
//! and nothing is done twice: what a crash left open is looked at
//! ([`Executor::observe`]), never carried out again. Permits and outcomes are
//! plain messages, so that the hands can one day be a process of their own.

mod command;
mod leave;
mod link;
mod notify;
mod power;
mod reclaim;
mod workload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::clock::Clock;
use crate::config::{CommandConfig, NotifyConfig, ReclaimConfig};
use crate::failpoint::{Failpoint, hit};
use crate::guard::Permit;
use crate::incident::Unseen;
use crate::model::catalogue::{
    Catalogue, DISK_RECLAIM, LINK_BOUNCE, NOTIFY, SYSTEM_REBOOT, WORKLOAD_RESTART, WORKLOAD_START,
    WORKLOAD_STOP,
};
use crate::model::{AttemptId, IncidentId, Outcome, TargetId};
use crate::store::Durable;
use crate::workload::Workloads;

use command::{Commands, Order};
pub use leave::Leave;
pub use power::Reboots;

/// What a command's precondition, and its end, may take besides its own time.
const COMMAND_EXTRA_MS: u64 = 40_000;
/// Looking for what a crash left takes at most so long besides the action's own
/// time: a reboot that is under way, a command that is waited for and then killed.
const LOOK_EXTRA: Duration = Duration::from_secs(180);
const FAULT: &str = "the hands came to a bad end: a fault of Homeostat's own, its log says which";

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

/// What the hands work with.
pub struct Tools {
    pub workloads: Workloads,
    /// By workload: how long a stop may take.
    pub stop_ms_max: BTreeMap<String, u64>,
    pub notifiers: Vec<NotifyConfig>,
    pub commands: Vec<CommandConfig>,
    pub catalogue: Arc<Catalogue>,
    pub reclaim: Vec<ReclaimConfig>,
    pub reboots: Reboots,
    /// `/sys`, unless a test pretends.
    pub sys_root: PathBuf,
    /// For the locks of what runs.
    pub run_dir: PathBuf,
}

struct Parts {
    workloads: Workloads,
    /// By workload: how long a stop may take.
    stop_ms_max: BTreeMap<String, u64>,
    notifiers: BTreeMap<String, NotifyConfig>,
    commands: Commands,
    catalogue: Arc<Catalogue>,
    reclaim: Vec<ReclaimConfig>,
    reboots: Reboots,
    sys_root: PathBuf,
    run_dir: PathBuf,
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
        tools: Tools,
        durable: watch::Receiver<Durable>,
        leave: watch::Receiver<Leave>,
        clock: Clock,
        ended: mpsc::Sender<Ended>,
    ) -> (Self, InFlight) {
        let (closing, closed) = watch::channel(false);
        let (busy, idle) = mpsc::channel(1);
        let Tools { workloads, stop_ms_max, notifiers, commands, catalogue, .. } = tools;
        let executor = Self(Arc::new(Parts {
            workloads,
            stop_ms_max,
            notifiers: notifiers.into_iter().map(|it| (it.name.clone(), it)).collect(),
            commands: Commands::new(commands, tools.run_dir.join("actions"), closed.clone()),
            catalogue,
            reclaim: tools.reclaim,
            reboots: tools.reboots,
            sys_root: tools.sys_root,
            run_dir: tools.run_dir,
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
            let attempt = permit.id();
            let incident = permit.incident();
            let (action, target) = (permit.proposal().action.clone(), permit.target().clone());
            let hands = Arc::clone(&parts);
            // A task of its own: whatever becomes of it, its end is told.
            let outcome = tokio::spawn(async move { hands.carry_out(&permit).await }).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Failed { detail: FAULT.into() });
            parts.send(Ended { attempt, incident, action, target, outcome, observed: false }).await;
        });
    }

    /// Looks for what a crash left of an attempt. Touches nothing.
    pub fn observe(&self, unseen: Unseen) {
        let parts = Arc::clone(&self.0);
        tokio::spawn(async move {
            let Unseen { attempt, incident, action, target, .. } = unseen.clone();
            let eyes = Arc::clone(&parts);
            let outcome = tokio::spawn(async move { eyes.look(&unseen).await }).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Failed { detail: FAULT.into() });
            parts.send(Ended { attempt, incident, action, target, outcome, observed: true }).await;
        });
    }
}

impl Parts {
    async fn send(&self, ended: Ended) {
        // The driver has gone when this fails: its journal will say `unseen`.
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
        if self.commands.knows(&permit.spec().name) {
            return COMMAND_EXTRA_MS;
        }
        if permit.spec().name == NOTIFY {
            // Each has a time of its own.
            return self.notifiers.values().map(|it| it.timeout_ms).max().unwrap_or(0);
        }
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
        match permit.spec().name.as_str() {
            WORKLOAD_START => workload::start(&self.workloads, name, permit.id()).await,
            WORKLOAD_RESTART => workload::restart(&self.workloads, name, permit.id()).await,
            WORKLOAD_STOP => workload::stop(&self.workloads, name).await,
            NOTIFY => notify::notify(&self.notifiers, &self.closed, permit).await,
            DISK_RECLAIM => reclaim::reclaim(&self.reclaim, &permit.proposal().params).await,
            LINK_BOUNCE => link::bounce(&self.sys_root, name, &self.run_dir.join("links")).await,
            SYSTEM_REBOOT => self.reboot(permit).await,
            action if self.commands.knows(action) => self.command(permit).await,
            other => Outcome::Failed { detail: format!("no hands for action {other}") },
        }
    }

    async fn command(&self, permit: &Permit) -> Outcome {
        let action = permit.spec().name.as_str();
        let (target, params) = (permit.target(), &permit.proposal().params);
        let order = Order { attempt: permit.id(), action, target, params };
        self.commands.run(order, Duration::from_millis(permit.spec().timeout_ms)).await
    }

    async fn reboot(&self, permit: &Permit) -> Outcome {
        if let Err(why) = self.reboots.count(self.clock.age_ms()).await {
            return Outcome::Lapsed { detail: format!("it cannot be counted: {why}") };
        }
        let told = self.command(permit).await;
        if !matches!(told, Outcome::Done { .. }) {
            return told;
        }
        tokio::select! {
            // The box goes down, and this daemon with it: the next one judges.
            () = self.ended.closed() => told,
            () = tokio::time::sleep(power::GOES_DOWN_WITHIN) => {
                power::still_up(power::GOES_DOWN_WITHIN)
            }
        }
    }

    /// Within a time of its own: a look may hang as long as a touch.
    async fn look(&self, unseen: &Unseen) -> Outcome {
        let timeout_ms = self.catalogue.get(&unseen.action).map_or(0, |spec| spec.timeout_ms);
        let limit = Duration::from_millis(timeout_ms) + LOOK_EXTRA;
        match tokio::time::timeout(limit, self.observe_effect(unseen)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Failed {
                detail: format!("what came of it was not to be seen in {} s", limit.as_secs()),
            },
        }
    }

    async fn observe_effect(&self, unseen: &Unseen) -> Outcome {
        let name = unseen.target.name();
        match unseen.action.as_str() {
            WORKLOAD_START | WORKLOAD_RESTART => {
                workload::observe_start(&self.workloads, name, unseen.attempt).await
            }
            WORKLOAD_STOP => workload::observe_stop(&self.workloads, name),
            // A message may or may not have gone out. Saying it did not would
            // send it twice; a person who is told once too seldom still has the incident.
            NOTIFY => Outcome::Failed { detail: "whether it was delivered is not known".into() },
            // What is left of it is told by its finding, and it is asked for anew.
            DISK_RECLAIM => Outcome::Done { detail: "its end was not seen".into() },
            LINK_BOUNCE => link::observe(&self.sys_root, name, &self.run_dir.join("links")).await,
            SYSTEM_REBOOT => self.observe_reboot(unseen).await,
            action if self.commands.knows(action) => {
                let Unseen { attempt, target, params, .. } = unseen;
                let order = Order { attempt: *attempt, action, target, params };
                let timeout_ms = self.catalogue.get(action).map_or(0, |spec| spec.timeout_ms);
                self.commands.observe(order, Duration::from_millis(timeout_ms)).await
            }
            other => Outcome::Failed { detail: format!("nothing is known of action {other}") },
        }
    }

    async fn observe_reboot(&self, unseen: &Unseen) -> Outcome {
        let now = self.clock.now().boot;
        match unseen.boot.and_then(|then| power::judged(then, now)) {
            Some(done) => done,
            // It may be on its way down.
            None => {
                tokio::time::sleep(power::GOES_DOWN_WITHIN).await;
                power::still_up(power::GOES_DOWN_WITHIN)
            }
        }
    }
}
