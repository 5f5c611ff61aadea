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

mod life;
mod start;
mod stop;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::life::{Life, Live};
use super::link::{Link, Program};
use super::outlet::Outlet;
use super::record::{ExitRecord, History, Latest, Place};
use super::settle::{Settled, settle};
use super::tree::Brand;
use super::wire::{FromShim, Hello, Spec};
use super::{Observed, WorkloadError, WorkloadEvent, WorkloadStatus};
use crate::clock::Clock;
use crate::config::WorkloadConfig;
use crate::model::view::WorkloadState;
use crate::model::{AttemptId, ExitStatus, Line, TargetId};

/// A workload without a shim gets another try this often.
const RETRY: Duration = Duration::from_secs(10);
/// Shims that die over the same workload so often in [`RETRY`] are given a rest.
const ADOPTIONS_MAX: usize = 3;
/// The main process is gone; its shim ends the tree and says so within this.
const REPORT_DEADLINE: Duration = Duration::from_secs(4);
/// Messages taken in one go, before anything else gets its turn.
const MESSAGES_MAX: usize = 256;

/// What all workloads share.
#[derive(Debug)]
pub struct Settings {
    pub program: Program,
    pub run: PathBuf,
    pub state: PathBuf,
    pub cgroup_home: Result<PathBuf, String>,
    pub clock: Clock,
    pub statuses: watch::Sender<BTreeMap<String, WorkloadStatus>>,
}

/// Whether what is there must be looked at again.
enum Adoption {
    Over,
    Failed,
}

#[derive(Debug)]
pub enum Ask {
    Start { attempt: AttemptId, reply: oneshot::Sender<Result<u32, WorkloadError>> },
    Stop { reply: oneshot::Sender<Result<(), WorkloadError>> },
    Observe { attempt: AttemptId, reply: oneshot::Sender<Observed> },
}

pub struct Process {
    config: WorkloadConfig,
    settings: Arc<Settings>,
    place: Place,
    brand: Brand,
    outlet: Outlet,
    life: Life,
    /// How the attempt before ended.
    last: Option<ExitRecord>,
    history: History,
    /// The history on its way to the disk.
    saving: Option<JoinHandle<()>>,
    adoptions: VecDeque<Instant>,
    detail: String,
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
        Ok(Self {
            brand: Brand::new(&name, &settings.run),
            history: History::load(&place),
            outlet: Outlet::new(&name, events),
            config,
            settings,
            place,
            life: Life::Idle,
            last: None,
            saving: None,
            adoptions: VecDeque::new(),
            detail: String::new(),
        })
    }

    /// What an earlier daemon left.
    pub async fn find(mut self) -> Self {
        self.settle_life("the daemon was away").await;
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
            Ask::Stop { reply } => {
                let _ = reply.send(self.stop().await);
            }
            Ask::Observe { attempt, reply } => {
                let _ = reply.send(self.observe(attempt));
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
            FromShim::Stopping {} => self.life.acknowledge(),
            FromShim::Note { text } => {
                self.detail = text;
                self.publish();
            }
            FromShim::Exited { attempt, status, wanted, left } => {
                self.finish(attempt, status, wanted);
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
            (live.report_by, live.answer_by) = (None, None);
            live.shim.signal(rustix::process::Signal::KILL);
            self.lose_link("its shim did not answer").await;
        } else if passed(live.retry_at) {
            live.retry_at = None;
            self.settle_life("its shim is gone").await;
        }
    }

    async fn lose_link(&mut self, why: &str) {
        if let Life::Live(live) = &mut self.life {
            live.link = None;
            self.settle_life(why).await;
        }
    }

    /// Finds out what is there, and gets a link to it if it lives.
    async fn settle_life(&mut self, why: &str) {
        // What is found alive may end before it is adopted; `adopt` bounds this.
        loop {
            let settled = match self.settled().await {
                Ok(settled) => settled,
                Err(err) => return self.without_link(format!("its records cannot be read: {err}")),
            };
            match settled {
                Settled::Busy => return self.reconnect().await,
                Settled::Ended(exit) => return self.ended(exit),
                Settled::Nothing => return self.vanished(),
                Settled::Alive(record) => {
                    self.history_begin(record.attempt, &record.boot_id);
                    self.life.keep(&record);
                    if let Adoption::Over = self.adopt(why).await {
                        return;
                    }
                }
            }
        }
    }

    async fn settled(&mut self) -> std::io::Result<Settled> {
        let (place, brand) = (self.place.clone(), self.brand.clone());
        let history = self.history.clone();
        blocking(move || settle(&place, &brand, &history)).await
    }

    /// A shim lives: it is listened to again, and nothing is news.
    async fn reconnect(&mut self) {
        match Link::connect(&self.place).await {
            Ok((link, hello)) => {
                if let Ok(boot_id) = crate::clock::boot_id() {
                    self.history_begin(hello.attempt, &boot_id);
                }
                self.attach(link, hello).await;
            }
            Err(err) => {
                match self.place.latest() {
                    Ok(Latest::Begun(record)) => self.life.keep(&record),
                    // It wrote the end down, and waits for what outlives SIGKILL.
                    Ok(Latest::Ended(exit)) => return self.ended(exit),
                    _ => {}
                }
                self.without_link(err.detail);
            }
        }
    }

    async fn adopt(&mut self, why: &str) -> Adoption {
        let now = Instant::now();
        self.adoptions.retain(|at| now.duration_since(*at) < RETRY);
        let Life::Live(live) = &self.life else { return Adoption::Over };
        if self.adoptions.len() >= ADOPTIONS_MAX {
            self.without_link(format!("{why}; {ADOPTIONS_MAX} others did not last"));
            return Adoption::Over;
        }
        let spec = self.spec(live.attempt, None);
        self.adoptions.push_back(now);
        match self.settings.program.start(&spec).await {
            Ok((link, hello)) => {
                self.outlet.push(WorkloadEvent::Adopted {
                    workload: self.config.name.clone(),
                    attempt: hello.attempt,
                    pid: hello.main.pid,
                    why: why.to_owned(),
                });
                self.attach(link, hello).await;
                Adoption::Over
            }
            Err(err) => {
                tracing::warn!(workload = %self.config.name, detail = %err.detail, "adoption failed");
                Adoption::Failed
            }
        }
    }

    async fn attach(&mut self, link: Link, hello: Hello) {
        self.detail = match hello.adopted {
            true => "adopted: its exit status will be unknown".into(),
            false => hello.notes.join("; "),
        };
        if let (Err(why), None) = (&self.settings.cgroup_home, &hello.cgroup) {
            self.detail = join(&self.detail, &format!("followed by the process table: {why}"));
        }
        self.life.attach(link, hello);
        self.ask_to_stop().await;
        self.publish();
    }

    /// It lives, and is watched from here until a shim can be had.
    fn without_link(&mut self, detail: String) {
        self.detail = detail;
        self.life.watch_alone(Instant::now() + RETRY);
        self.publish();
    }

    fn ended(&mut self, exit: ExitRecord) {
        let seen = std::fs::read_to_string(self.place.seen()).unwrap_or_default();
        let told = matches!(self.life, Life::Idle) && seen.trim() == exit.attempt.to_string();
        if told {
            self.detail = exit.status.to_string();
            self.history_end(&exit);
            self.last = Some(exit);
            self.publish();
        } else {
            self.finish(exit.attempt, exit.status, exit.wanted);
        }
    }

    /// The records went away under us.
    fn vanished(&mut self) {
        match &self.life {
            Life::Live(live) if live.main.lives() => {
                self.without_link(format!("the records in {} are gone", self.place.run.display()));
            }
            Life::Live(live) => self.finish(live.attempt, ExitStatus::Unknown, false),
            Life::Idle => self.publish(),
        }
    }

    fn finish(&mut self, attempt: AttemptId, status: ExitStatus, wanted: bool) {
        let asked = matches!(&self.life, Life::Live(live) if live.stop_by.is_some());
        let wanted = wanted || asked;
        let boot_id = crate::clock::boot_id().unwrap_or_default();
        let boottime_ms = crate::clock::boottime_ms();
        let exit = ExitRecord { attempt, status, wanted, boot_id, boottime_ms };
        self.life = Life::Idle;
        self.detail = status.to_string();
        self.history_end(&exit);
        self.last = Some(exit);
        let workload = self.config.name.clone();
        self.outlet.push(WorkloadEvent::Exited { workload, attempt, status, wanted });
        self.publish();
    }

    fn history_begin(&mut self, attempt: AttemptId, boot_id: &str) {
        if self.history.begin(attempt, boot_id) {
            self.save();
        }
    }

    fn history_end(&mut self, exit: &ExitRecord) {
        self.history.end(exit);
        self.save();
    }

    /// Behind everybody's back, but in order: a disk takes its time.
    fn save(&mut self) {
        let (history, place) = (self.history.clone(), self.place.clone());
        let before = self.saving.take();
        self.saving = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            if let Err(err) = blocking(move || history.write(&place)).await {
                tracing::warn!(%err, "the history of a workload cannot be written");
            }
        }));
    }

    fn spec(&self, attempt: AttemptId, launch: Option<super::wire::Launch>) -> Spec {
        Spec {
            workload: self.config.name.clone(),
            run: self.settings.run.clone(),
            place: self.place.clone(),
            attempt,
            stop_deadline_ms: self.config.stop_deadline_ms,
            log_max_bytes: self.config.log_max_bytes,
            log_files: self.config.log_files,
            launch,
        }
    }

    fn publish(&self) {
        let live = match &self.life {
            Life::Live(live) => Some(live),
            Life::Idle => None,
        };
        let state = match (live, &self.last) {
            (Some(Live { stop_by: Some(_), .. }), _) => WorkloadState::Stopping,
            (Some(_), _) => WorkloadState::Running,
            (None, Some(exit)) if !exit.wanted => WorkloadState::Exited,
            (None, _) => WorkloadState::Stopped,
        };
        let last = self.last.as_ref().map(|exit| exit.attempt);
        let status = WorkloadStatus {
            state,
            attempt: live.map(|live| live.attempt).or(last),
            pid: live.map(|live| live.main.pid),
            shim_pid: live.and_then(|live| live.link.as_ref().map(|_| live.shim.pid)),
            cgroup: live.and_then(|live| live.cgroup.clone()),
            starts: self.history.starts,
            detail: self.detail.clone(),
        };
        self.settings.statuses.send_modify(|statuses| {
            statuses.insert(self.config.name.clone(), status);
        });
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

/// Files and the process table are read off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("blocking work does not panic")
}

fn join(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { format!("{first}; {second}") }
}
