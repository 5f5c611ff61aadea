//! One workload as the daemon sees it: a task that owns the link to its shim.
//!
//! ```text
//!            start                    Exited
//!   idle ──────────▶ live, linked ──────────────▶ idle
//!    ▲                 │      ▲
//!    │       link lost │      │ shim found, or another one adopts
//!    │                 ▼      │
//!    └───────────── live, without a link (watched by pidfd, tried again)
//!       settled
//! ```
//!
//! Invariant: asks are answered one after the other, each within its deadlines,
//! and between two of them what this task believes was last read from the
//! shim, or settled from records and process table.

mod drill;
mod life;
mod recover;
mod report;
mod start;
mod stop;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::life::Life;
use super::history::History;
use super::link::{Link, Program};
use super::outlet::Outlet;
use super::record::{ExitRecord, Place};
use super::tree::Brand;
use super::user;
use super::wire::{FromShim, Launch, Spec, ToShim};
use super::{Observed, WorkloadError, WorkloadEvent, WorkloadStatus};
use crate::clock::Clock;
use crate::config::WorkloadConfig;
use crate::model::{AttemptId, DrillFault, Line, TargetId};
use crate::secret::Secret;

/// The main process is gone; its shim ends the tree and says so within this.
const REPORT_DEADLINE: Duration = Duration::from_secs(4);
/// For an answer that nothing depends on; a shim may wait for a slow disk.
const PONG_DEADLINE: Duration = Duration::from_secs(10);
/// Messages taken in one go, before anything else gets its turn.
const MESSAGES_MAX: usize = 256;

/// What all workloads share.
#[derive(Debug)]
pub struct Settings {
    pub program: Program,
    pub run: PathBuf,
    pub state: PathBuf,
    pub cgroup_home: Result<PathBuf, String>,
    /// D-Bus address of systemd's manager.
    pub systemd: String,
    /// By workload: what its output must not show.
    pub secrets: BTreeMap<String, Vec<Secret>>,
    pub clock: Clock,
    pub statuses: watch::Sender<BTreeMap<String, WorkloadStatus>>,
}

#[derive(Debug)]
pub enum Ask {
    Start {
        attempt: AttemptId,
        reply: oneshot::Sender<Result<u32, WorkloadError>>,
    },
    /// `again`: it is to be started right after.
    Stop {
        again: bool,
        reply: oneshot::Sender<Result<(), WorkloadError>>,
    },
    Observe {
        attempt: AttemptId,
        reply: oneshot::Sender<Observed>,
    },
    Drill {
        fault: DrillFault,
        reply: oneshot::Sender<Result<u32, WorkloadError>>,
    },
}

pub struct Process {
    config: WorkloadConfig,
    settings: Arc<Settings>,
    place: Place,
    /// Who it runs as, where the configuration says that and the box knows them.
    user: Option<u32>,
    brand: Brand,
    outlet: Outlet,
    life: Life,
    /// How the attempt before ended.
    last: Option<ExitRecord>,
    /// The shim of the last attempt saw its tree empty: nothing is left to sweep.
    is_empty: bool,
    history: History,
    /// The history on its way to the disk.
    saving: Option<JoinHandle<()>>,
    adoptions: VecDeque<Instant>,
    detail: String,
    /// Why the shim did not do what it was asked last.
    undone: Option<String>,
}

enum Happened {
    Message(std::io::Result<Option<FromShim>>),
    MainEnded,
    Told(Option<AttemptId>),
    Time,
}

impl Process {
    pub fn new(
        config: WorkloadConfig,
        settings: Arc<Settings>,
        events: mpsc::Sender<WorkloadEvent>,
    ) -> Result<Self, WorkloadError> {
        let name = config.name.clone();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(WorkloadError::BadName { workload: name });
        }
        let place = Place::new(&settings.run, &settings.state, &name);
        place.make().map_err(|err| WorkloadError::Files {
            workload: name.clone(),
            path: place.run.clone(),
            detail: err.to_string(),
        })?;
        // One that nobody knows yet is looked for again at each start.
        let user = config.user.as_deref().and_then(|user| user::find(user).ok().flatten());
        let user = user.map(|user| user.uid);
        Ok(Self {
            brand: Brand::new(&name, &settings.run, user),
            user,
            history: History::load(&place),
            outlet: Outlet::new(&name, events),
            config,
            settings,
            place,
            life: Life::Idle,
            last: None,
            is_empty: false,
            saving: None,
            adoptions: VecDeque::new(),
            detail: String::new(),
            undone: None,
        })
    }

    /// What an earlier daemon left.
    pub async fn find(mut self) -> Self {
        self.settle_life("the daemon was away").await;
        self.remember(self.place.begun());
        self
    }

    /// Until the last handle is dropped. The shim and its workload go on.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            let happened = tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => {
                        self.answer(ask).await;
                        continue;
                    }
                    None => break,
                },
                happened = self.next(None) => happened,
            };
            self.handle(happened).await;
        }
        if let Some(saving) = self.saving {
            let _ = saving.await;
        }
    }

    /// While an ask is being answered: one thing that happens, or the time.
    async fn step(&mut self, until: Instant) {
        let happened = self.next(Some(until)).await;
        self.handle(happened).await;
    }

    async fn handle(&mut self, happened: Happened) {
        match happened {
            Happened::Message(message) => self.hear(message).await,
            Happened::MainEnded => self.main_ended().await,
            Happened::Told(None) => {}
            // Behind the event: told twice is better than never.
            Happened::Told(Some(attempt)) => {
                let _ = std::fs::write(self.place.seen(), attempt.to_string());
            }
            Happened::Time => self.overdue().await,
        }
    }

    /// May be dropped at any time without losing anything.
    async fn next(&mut self, until: Option<Instant>) -> Happened {
        let due = [until, self.life.due()].into_iter().flatten().min();
        let (link, end) = self.life.parts();
        tokio::select! {
            message = heard(link) => Happened::Message(message),
            () = ended(end) => Happened::MainEnded,
            told = self.outlet.send() => Happened::Told(told),
            () = at(due) => Happened::Time,
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Whoever asked may have gone; what was asked for was done all the same.
        match ask {
            Ask::Start { attempt, reply } => {
                let _ = reply.send(self.start(attempt).await);
            }
            Ask::Stop { again: _, reply } => {
                let _ = reply.send(self.stop().await);
            }
            Ask::Observe { attempt, reply } => {
                let _ = reply.send(self.observe(attempt));
            }
            Ask::Drill { fault, reply } => {
                let _ = reply.send(self.drill(fault).await);
            }
        }
    }

    fn observe(&self, attempt: AttemptId) -> Observed {
        let ended = self.history.find(attempt).and_then(|entry| entry.end);
        match (&self.life, ended) {
            (Life::Live(live), _) if live.attempt == attempt => {
                Observed::Running { pid: live.main.pid }
            }
            (_, Some(end)) => Observed::Exited { status: end.status },
            (Life::Live(live), None) => Observed::OtherAttempt { attempt: live.attempt },
            (Life::Idle, None) => Observed::NeverStarted,
        }
    }

    async fn hear(&mut self, message: std::io::Result<Option<FromShim>>) {
        let mut message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return self.lose_link("its shim died").await,
            Err(err) => return self.lose_link(&format!("its shim cannot be heard: {err}")).await,
        };
        for _ in 0..MESSAGES_MAX {
            self.take(message);
            match self.life.parts().0.map(Link::buffered) {
                Some(Ok(Some(next))) => message = next,
                // An error comes again with the next read.
                _ => return,
            }
        }
    }

    fn take(&mut self, message: FromShim) {
        match message {
            FromShim::Line { boottime_ms, text } => self.outlet.line(Line {
                target: TargetId::workload(&self.config.name),
                source: "output".into(),
                age_ms: self.settings.clock.saved().offset_ms + boottime_ms,
                priority: 6,
                text,
            }),
            FromShim::Lost { count } => self.outlet.lost(count),
            FromShim::Stopping {} | FromShim::Pong {} => self.life.acknowledge(),
            FromShim::Undone { why } => {
                self.undone = Some(why);
                self.life.acknowledge();
            }
            FromShim::Note { text } => {
                self.detail = text;
                self.publish();
            }
            FromShim::Exited { attempt, status, wanted, left } => {
                self.finish(attempt, status, wanted);
                self.is_empty = left.is_empty();
                if !left.is_empty() {
                    self.detail = format!("{status}; processes {left:?} outlive SIGKILL");
                    self.publish();
                }
            }
            // First words, and we are past them.
            FromShim::Hello(_) | FromShim::Failed { .. } => {}
        }
    }

    async fn main_ended(&mut self) {
        let Life::Live(live) = &mut self.life else { return };
        live.end = None;
        if live.link.is_some() {
            live.report_by = Some(Instant::now() + REPORT_DEADLINE);
        } else {
            self.settle_life("its shim is gone").await;
        }
    }

    async fn overdue(&mut self) {
        let now = Instant::now();
        let Life::Live(live) = &mut self.life else { return };
        let passed = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        if passed(live.report_by) || passed(live.answer_by) {
            // It hangs. Dead, it can be replaced.
            live.shim.signal(rustix::process::Signal::KILL);
            self.lose_link("its shim did not answer").await;
        } else if passed(live.retry_at) {
            live.retry_at = None;
            self.settle_life("its shim is gone").await;
        } else if passed(live.ping_at) {
            self.life.pinged();
            self.request(&ToShim::Ping {}, PONG_DEADLINE).await;
        }
    }

    /// An unsent request is an unanswered one.
    async fn request(&mut self, request: &ToShim, deadline: Duration) {
        if let Life::Live(live) = &mut self.life
            && let Some(link) = &mut live.link
        {
            let _ = link.send(request).await;
            let by = Instant::now() + deadline;
            live.answer_by = Some(live.answer_by.map_or(by, |earlier| earlier.min(by)));
        }
    }

    async fn lose_link(&mut self, why: &str) {
        if let Life::Live(live) = &mut self.life {
            live.link = None;
            self.settle_life(why).await;
        }
    }

    fn spec(&self, attempt: AttemptId, launch: Option<Launch>) -> Spec {
        Spec {
            workload: self.config.name.clone(),
            run: self.settings.run.clone(),
            user: self.user,
            place: self.place.clone(),
            attempt,
            stop_deadline_ms: self.config.stop_deadline_ms,
            log_max_bytes: self.config.log_max_bytes,
            log_files: self.config.log_files,
            launch,
            secrets: self.settings.secrets.get(&self.config.name).cloned().unwrap_or_default(),
        }
    }
}

async fn heard(link: Option<&mut Link>) -> std::io::Result<Option<FromShim>> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn ended(end: Option<&life::End>) {
    match end {
        Some(end) => end.seen().await,
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Files and the process table are read off the async threads, and each time in
/// a thread of its own: the runtime's are shared with name look-ups and files on
/// dead mounts, and no start, stop or adoption waits until one of those returns.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (result, done) = oneshot::channel();
    let (job, job_in) = std::sync::mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let thread = std::thread::Builder::new().name("workload".into()).spawn(move || {
        if let Ok(job) = job_in.recv() {
            job();
        }
    });
    let work = Box::new(move || {
        // Whoever asked may have gone.
        let _ = result.send(work());
    });
    match thread {
        Ok(_) => job.send(work).expect("the thread takes its one job"),
        // No thread is to be had, and one of the runtime's may be free.
        Err(_) => drop(tokio::task::spawn_blocking(work)),
    }
    done.await.expect("blocking work does not panic")
}
