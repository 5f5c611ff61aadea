//! The one task that decides. All incident state, all ordering and all leases
//! are here; every other room sends it plain events and takes plain orders.
//!
//! Invariant: nothing becomes state before it is an event in the journal
//! ([`Driver::write`] is the only way), and the driver never blocks on device or
//! network: it hands work only to a room that it knows is idle.

mod arrive;
mod ask;
mod command;
mod desired;
mod detect;
mod drill;
mod exchange;
mod feed;
mod inlet;
mod interlock;
mod leave;
mod memory;
mod proof;
mod protection;
mod prove;
mod report;
mod settle;
mod view;
mod word;
mod workload;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::action::{Ended, Executor, Leave};
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::failpoint::{Failpoint, hit};
use crate::guard::{Guard, Permit};
use crate::model::catalogue::Proof;
use crate::model::view::TrustView;
use crate::model::{
    AttemptId, Attrs, CommandError, Condition, Event, Line, Mark, Outcome, Record, Seq, Series,
    TargetId, Value, View,
};
use crate::plugin::{Detector, Run, Said};
use crate::recording::Tape;
use crate::secret::Redactor;
use crate::source::{SourceControl, SourceEvent};
use crate::store::{Durable, Journal, Reader};
use crate::workload::{WorkloadStatus, Workloads};

pub use arrive::Arrival;
pub use command::Request;
pub use exchange::PluginOrder;
pub use inlet::Inlets;
use inlet::Input;
pub use memory::Memory;

/// How often time alone is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Whom the driver gives orders to.
pub struct Outlets {
    pub journal: Journal,
    pub reader: Reader,
    pub executor: Executor,
    pub sources: SourceControl,
    pub workloads: Workloads,
    pub tape: Tape,
    /// Whoever verifies, starts and exchanges plugins.
    pub plugins: mpsc::Sender<PluginOrder>,
    /// What other rooms have to say, for as long as it is so.
    pub conditions: Vec<watch::Receiver<Option<Condition>>>,
    pub view: watch::Sender<Arc<View>>,
    pub leave: watch::Sender<Leave>,
    /// Counted up each time the driver went round, for whoever watches over it.
    pub rounds: Arc<AtomicU64>,
}

pub struct Driver {
    config: Arc<Config>,
    clock: Clock,
    birth: u64,
    out: Outlets,
    guard: Guard,
    /// What the journal says.
    memory: Memory,
    detectors: BTreeMap<String, detect::Detecting>,
    healers: BTreeMap<String, ask::Asking>,
    /// Detectors that run beside the live ones, and from which nothing follows.
    shadows: BTreeMap<String, detect::Detecting>,
    /// Starts of which something was ordered, now that their time in shadow or on
    /// trial is over.
    ordered: BTreeSet<Run>,
    /// Those that another is to take the place of, and that have a frame in hand.
    leaving: Vec<arrive::Leaving>,
    /// Plugins that the box names, arrived or on their way.
    known: BTreeSet<String>,
    trust: TrustView,
    /// The latest run that arrived.
    arrived_run: Run,
    /// What plugins said before they arrived: a thread may be faster than the
    /// word that it was started.
    early: Vec<Said>,
    /// Lines for the detectors that are still to arrive.
    early_lines: VecDeque<Line>,
    /// Series of the box; a `SeriesId` is an index into it.
    series: Vec<Series>,
    workloads: BTreeMap<String, WorkloadStatus>,
    statuses: watch::Receiver<BTreeMap<String, WorkloadStatus>>,
    seq: Seq,
    published_age_ms: u64,
    /// Attempts whose process has ended, for the proofs that are open.
    exits: BTreeMap<AttemptId, crate::model::ExitStatus>,
    /// Desired starts that failed; healing them is the healers' affair.
    start_failed: BTreeMap<String, Attrs>,
    /// Not before this age is a stop that failed tried again.
    stop_again_age_ms: BTreeMap<String, u64>,
    /// Workloads whose probes were all good since their start.
    proofs: proof::Proofs,
    interlocks: interlock::Interlocks,
    /// Ages of the box at the reboots that it asked for.
    reboots_age_ms: watch::Receiver<Vec<u64>>,
    replies: BTreeMap<AttemptId, oneshot::Sender<Result<String, CommandError>>>,
    conditions: Vec<Condition>,
    journal_failing: Option<String>,
    journal_durable: u64,
    unprotected: BTreeSet<TargetId>,
    /// What the configuration and the signed manifests say accounts for what.
    explains: BTreeMap<String, Vec<String>>,
    dirty: bool,
    /// What no record, line or view may show.
    redactor: Redactor,
}

/// What the daemon found before the driver began.
pub struct Start {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub birth: u64,
    pub new_boot: bool,
    pub memory: Memory,
    pub series: Vec<Series>,
    pub conditions: Vec<Condition>,
    pub redactor: Redactor,
    pub reboots_age_ms: watch::Receiver<Vec<u64>>,
    /// Names of the plugins that are to arrive.
    pub plugins: BTreeSet<String>,
}

/// What a driver leaves to whoever ends the daemon.
pub struct Left {
    /// The last thing to close.
    pub journal: Journal,
    /// Their last checkpoints are not in the store yet.
    pub detectors: Vec<Detector>,
}

impl Driver {
    pub fn new(start: Start, out: Outlets) -> Self {
        let Start {
            config,
            clock,
            birth,
            new_boot,
            memory,
            series,
            conditions,
            redactor,
            reboots_age_ms,
            plugins,
        } = start;
        let grants = config.plugins.iter().map(|it| (it.name.clone(), it.grants.clone())).collect();
        let mut driver = Self {
            guard: Guard::new(config.guard.clone(), grants, Arc::clone(&config.catalogue)),
            healers: ask::expected(&config),
            detectors: BTreeMap::new(),
            shadows: BTreeMap::new(),
            ordered: BTreeSet::new(),
            leaving: Vec::new(),
            known: plugins,
            trust: TrustView::default(),
            arrived_run: 0,
            early: Vec::new(),
            early_lines: VecDeque::new(),
            proofs: proof::Proofs::new(&config),
            interlocks: interlock::Interlocks::new(&config.source.interlocks),
            explains: config.incident.explains.clone(),
            workloads: BTreeMap::new(),
            statuses: out.workloads.snapshot(),
            seq: 0,
            published_age_ms: 0,
            config,
            clock,
            birth,
            out,
            memory,
            series,
            exits: BTreeMap::new(),
            start_failed: BTreeMap::new(),
            stop_again_age_ms: BTreeMap::new(),
            reboots_age_ms,
            replies: BTreeMap::new(),
            conditions,
            journal_failing: None,
            journal_durable: 0,
            unprotected: BTreeSet::new(),
            dirty: true,
            redactor,
        };
        driver.statuses.mark_changed();
        driver.look_at_workloads();
        driver.begin(new_boot);
        driver
    }

    fn begin(&mut self, new_boot: bool) {
        let mode = self.config.mode;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let ran = self.memory.ran.clone();
        let configuration = self.config.digest.clone();
        self.write(Event::DaemonStarted { birth: self.birth, version, mode, configuration });
        self.drop_findings_of_nobody();
        self.look_at_leave();
        for mark in self.standing_marks() {
            self.out.tape.mark(self.redactor.value(mark));
        }
        if new_boot {
            self.reopen_stuck(|_| true, "the box booted");
        }
        if ran.is_some() && ran != self.memory.ran {
            self.reopen_what_rests();
        }
        for unseen in self.memory.incidents.unknown_attempts() {
            self.out.executor.observe(unseen);
        }
        for (target, attempt) in self.memory.incidents.open_proofs() {
            self.watch_proof(&target, attempt);
        }
        self.look_at_protection();
    }

    /// Runs until told to stop. Gives back what closes later than it.
    pub async fn run(mut self, mut inlets: Inlets) -> Left {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.settle();
            self.publish();
            match inlets.next(&mut tick).await {
                Input::Stop => break,
                input => self.handle(input, &inlets.durable),
            }
            self.out.rounds.fetch_add(1, Ordering::Relaxed);
        }
        self.stop()
    }

    fn handle(&mut self, input: Input, durable: &watch::Receiver<Durable>) {
        self.look_at_workloads();
        match input {
            Input::Source(SourceEvent::Batch(batch)) => {
                self.out.tape.batch(&batch);
                for detecting in self.detectors.values_mut().chain(self.shadows.values_mut()) {
                    detecting.feed.batch(&batch);
                }
            }
            Input::Source(SourceEvent::Probe(result)) => self.take_probe(&result),
            Input::Source(SourceEvent::Interlock(result)) => {
                self.interlocks.take(result);
                self.look_at_leave();
            }
            Input::Source(SourceEvent::Lines(lines)) => self.take_lines(lines),
            Input::Workload(event) => self.take_workload(event),
            Input::Plugin(said) => self.take_plugin(said),
            Input::Arrival(arrival) => self.take_arrival(arrival),
            Input::Ended(ended) => self.take_ended(ended),
            Input::Request(request) => self.take_request(request),
            Input::Durable => self.take_durable(durable),
            Input::Tick => self.take_tick(),
            Input::Stop => {}
        }
    }

    /// Writes an event down and makes it state.
    fn write(&mut self, event: Event) -> Record {
        let event = self.redactor.value(event);
        let word = Self::is_a_persons_word(&event);
        let record = self.out.journal.append(self.clock.now(), event);
        self.memory.apply(&record);
        self.seq = record.seq;
        self.dirty = true;
        if word {
            self.look_at_leave();
        }
        record
    }

    fn look_at_workloads(&mut self) {
        if self.statuses.has_changed().unwrap_or(false) {
            self.workloads.clone_from(&self.statuses.borrow_and_update());
            self.dirty = true;
        }
    }

    /// Hands a sealed permit to the hands, and watches for its proof.
    fn submit(&mut self, permit: Permit) {
        hit(Failpoint::DriverPermitted);
        self.out.executor.submit(permit);
    }

    fn take_ended(&mut self, ended: Ended) {
        let Ended { attempt, incident, action, target, outcome, observed } = ended;
        tracing::info!(%attempt, action, %target, ?outcome, "action ended");
        let proof = self.memory.incidents.proof_of(attempt);
        if matches!(outcome, Outcome::Done { .. }) && proof == Proof::Probes {
            self.watch_proof(&target, attempt);
        } else if !observed && self.memory.incidents.errands().contains_key(&attempt) {
            self.errand_failed(attempt, &action, &target, &outcome);
        }
        self.write(if observed {
            Event::EffectObserved { incident, attempt, outcome: outcome.clone() }
        } else {
            Event::AttemptEnded { incident, attempt, outcome: outcome.clone() }
        });
        hit(Failpoint::DriverEnded);
        let attrs = vec![
            ("attempt".into(), Value::text(attempt.to_string())),
            ("action".into(), Value::text(action)),
        ];
        self.mark(target, "action.ended", attrs);
        if let Some(reply) = self.replies.remove(&attempt) {
            // Whoever asked may have gone; the journal has the answer.
            let _ = reply.send(match outcome {
                Outcome::Done { detail } => Ok(detail),
                Outcome::Failed { detail } | Outcome::Lapsed { detail } => {
                    Err(CommandError::Failed { detail })
                }
            });
        }
    }

    fn take_durable(&mut self, durable: &watch::Receiver<Durable>) {
        let now = durable.borrow().clone();
        self.journal_durable = now.seq;
        if now.failing != self.journal_failing {
            match &now.failing {
                Some(why) => tracing::error!(why, "the journal is failing; no action is permitted"),
                None => tracing::info!("the journal is durable again"),
            }
            self.journal_failing = now.failing;
            self.dirty = true;
        }
    }

    fn take_tick(&mut self) {
        let now_age_ms = self.clock.age_ms();
        if let Some(pause) = &self.memory.paused
            && pause.until_age_ms.is_some_and(|until| until <= now_age_ms)
        {
            self.write(Event::Resumed { by: None });
        }
        self.look_at_leave();
        self.prove_what_has_no_probe();
        self.look_at_trials();
        self.let_go();
        // Counters move all the time; once a second is often enough to show them.
        self.dirty |= now_age_ms >= self.published_age_ms + 1_000;
    }

    /// Tells the detectors that judge `target` what we did or learnt.
    fn mark(&mut self, target: TargetId, what: &str, attrs: crate::model::Attrs) {
        let mark = Mark { target, age_ms: self.clock.age_ms(), what: what.into(), attrs };
        self.out.tape.mark(self.redactor.value(mark.clone()));
        for detecting in self.detectors.values_mut().chain(self.shadows.values_mut()) {
            detecting.take_mark(&mark);
        }
    }

    fn up_ms(&self) -> u64 {
        clock::boottime_ms()
    }

    fn stop(mut self) -> Left {
        self.write(Event::DaemonStopped {});
        for (_, reply) in std::mem::take(&mut self.replies) {
            let _ = reply.send(Err(CommandError::Stopping {}));
        }
        let detectors = self.detectors.into_values().chain(self.shadows.into_values());
        let detectors = detectors.filter_map(detect::Detecting::into_handle);
        Left { journal: self.out.journal, detectors: detectors.collect() }
    }
}
