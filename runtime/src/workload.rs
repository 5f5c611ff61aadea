//! Inference processes: each under a shim of its own, found again after a
//! daemon's death, adopted after a shim's; or a unit of systemd's.
//!
//! ```text
//!   Workloads ──ask──▶ Process (a task each) ──socket──▶ homeostat-shim ──▶ the tree
//!       ▲                   │      │                          │
//!   snapshot ◀──────────────┘      └── pidfd of main          └── run directory: lock,
//!   events   ◀── Started, Exited, Adopted, Lines                  records, FIFO, socket
//! ```
//!
//! Invariant: this room starts and stops what it is told to, and never decides
//! to restart; one workload has at most one live attempt, and an attempt is
//! executed at most once, whoever is killed at whatever moment.

mod cgroup;
mod history;
mod link;
mod outlet;
mod process;
mod record;
mod settle;
pub mod shim;
mod tree;
mod unit;
mod user;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use self::cgroup::{Survey, survey};
pub use self::shim::can_fork_into_cgroup;

use self::link::Program;
use self::process::{Ask, Process, Settings};
use self::record::Place;
use self::unit::Unit;
use crate::clock::Clock;
use crate::config::{Paths, WorkloadConfig, WorkloadKind};
use crate::model::view::WorkloadState;
use crate::model::{AttemptId, DrillFault, ExitStatus, Line};
use crate::secret::Secret;

/// Asks that wait for one workload.
const ASKS_MAX: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub enum WorkloadEvent {
    Started {
        workload: String,
        attempt: AttemptId,
        pid: u32,
    },
    /// Told once by the daemon that saw it first. A daemon killed between this
    /// and its journal finds it in [`Workloads::observe`].
    Exited {
        workload: String,
        attempt: AttemptId,
        status: ExitStatus,
        wanted: bool,
    },
    /// Its shim died; another has it now, and its exit status will be `Unknown`.
    Adopted {
        workload: String,
        attempt: AttemptId,
        pid: u32,
        why: String,
    },
    /// A unit: somebody else had systemd start it, ...
    StartedByOthers {
        workload: String,
        attempt: AttemptId,
        pid: u32,
    },
    /// ... or stop it.
    StoppedByOthers {
        workload: String,
        attempt: AttemptId,
        status: ExitStatus,
    },
    Lines(Vec<Line>),
    /// Lines that were written too fast for whoever listens; the log has them.
    LinesLost {
        workload: String,
        count: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// `Exited` ended by itself, `Stopped` was meant to or never started.
    pub state: WorkloadState,
    /// The one that runs, or else the last one that did.
    pub attempt: Option<AttemptId>,
    pub pid: Option<u32>,
    pub shim_pid: Option<u32>,
    pub cgroup: Option<PathBuf>,
    /// Attempts begun, ever.
    pub starts: u64,
    pub detail: String,
}

/// What a crash left of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nothing was executed under it, and nothing runs.
    NeverStarted,
    Running {
        pid: u32,
    },
    Exited {
        status: ExitStatus,
    },
    /// Nothing was executed under it; this one runs.
    OtherAttempt {
        attempt: AttemptId,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    #[error("wanted a workload of the configuration ({known}), found {workload:?}")]
    NoSuchWorkload { workload: String, known: String },
    #[error(
        "workload {workload:?}: wanted a name that can be a directory, found this one; use letters, digits, '-' and '_'"
    )]
    BadName { workload: String },
    #[error(
        "workload {workload}: it runs already (attempt {attempt}, process {pid}); stop it first"
    )]
    AlreadyRunning { workload: String, attempt: AttemptId, pid: u32 },
    #[error(
        "workload {workload}: attempt {attempt} was begun before; a new start needs a new attempt"
    )]
    AttemptUsed { workload: String, attempt: AttemptId },
    #[error(
        "workload {workload}: wanted no process of an earlier attempt, but {found}; stop it first"
    )]
    StillAlive { workload: String, found: String },
    #[error(
        "workload {workload}: wanted user {user:?} in /etc/passwd, found none; create it or correct `user`"
    )]
    UnknownUser { workload: String, user: String },
    #[error("workload {workload}: {detail}; run the daemon as root or leave `user` out")]
    User { workload: String, detail: String },
    #[error("workload {workload}: {detail}; correct `command`, or install what it names")]
    Program { workload: String, detail: String },
    #[error("workload {workload}: {detail}; create it or correct `dir`")]
    Directory { workload: String, detail: String },
    #[error("workload {workload}: {detail}; correct `limits`, or run the daemon as root")]
    Limit { workload: String, detail: String },
    /// It ran and ended so soon that nobody saw it.
    #[error("workload {workload}: attempt {attempt} was begun and ended with its shim ({status})")]
    EndedAtStart { workload: String, attempt: AttemptId, status: ExitStatus },
    #[error("workload {workload}: nothing was started: {detail}")]
    Shim { workload: String, detail: String },
    #[error(
        "workload {workload}: processes {pids:?} outlive SIGKILL; a driver may hold them, look at dmesg"
    )]
    Unkillable { workload: String, pids: Vec<u32> },
    #[error("workload {workload}: cannot use {}: {detail}; see that it exists and can be written", path.display())]
    Files { workload: String, path: PathBuf, detail: String },
    #[error("workload {workload}: it does not run; start it first")]
    NotRunning { workload: String },
    #[error("workload {workload}: unit {unit}: {detail}")]
    Unit { workload: String, unit: String, detail: String },
    #[error(
        "workload {workload}: unit {unit} has Restart={restart}, so systemd restarts it by itself; \
         two supervisors would work against each other: say Restart=no in it (systemctl edit {unit})"
    )]
    TwoSupervisors { workload: String, unit: String, restart: String },
    #[error("workload {workload}: the daemon is ending")]
    Closed { workload: String },
}

/// The handle: cheap to clone. With the last one dropped the daemon lets go of
/// its shims, and every workload goes on.
#[derive(Clone, Debug)]
pub struct Workloads {
    asks: Arc<BTreeMap<String, mpsc::Sender<Ask>>>,
    snapshot: watch::Receiver<BTreeMap<String, WorkloadStatus>>,
    strangers: Arc<[String]>,
}

impl Workloads {
    /// Finds running shims, adopts what lost its own, and tells what ended
    /// while no daemon was there.
    pub async fn open(
        configs: Vec<WorkloadConfig>,
        paths: &Paths,
        clock: Clock,
        events: mpsc::Sender<WorkloadEvent>,
    ) -> Result<Self, WorkloadError> {
        let options = Options::of_this_machine(paths);
        Self::open_with(configs, paths, clock, events, options).await
    }

    pub async fn open_with(
        configs: Vec<WorkloadConfig>,
        paths: &Paths,
        clock: Clock,
        events: mpsc::Sender<WorkloadEvent>,
        options: Options,
    ) -> Result<Self, WorkloadError> {
        // A shim has no working directory of ours, and a brand must be the same
        // for every daemon.
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        let (run, state) = (absolute(&paths.run), absolute(&paths.state));
        let (statuses, snapshot) = watch::channel(BTreeMap::new());
        let settings = Arc::new(Settings {
            program: Program {
                path: paths.programs.join("homeostat-shim"),
                failpoint: options.shim_failpoint,
            },
            run,
            state,
            cgroup_home: options.cgroup_home,
            systemd: options.systemd,
            secrets: options.secrets,
            clock,
            statuses,
        });
        let strangers = strangers(&configs, paths);
        let mut asks = BTreeMap::new();
        let mut found = Vec::new();
        for config in configs {
            let name = config.name.clone();
            let (sender, receiver) = mpsc::channel(ASKS_MAX);
            // Each may have to wait for its shim; they do not wait for each other.
            found.push(match config.kind.clone() {
                WorkloadKind::Process => {
                    let process = Process::new(config, settings.clone(), events.clone())?;
                    Found::Process(tokio::spawn(process.find()), receiver)
                }
                WorkloadKind::Systemd { unit } => {
                    let unit = Unit::new(config, unit, settings.clone(), events.clone());
                    Found::Unit(tokio::spawn(unit.find()), receiver)
                }
            });
            asks.insert(name, sender);
        }
        for found in found {
            found.run().await;
        }
        Ok(Self { asks: Arc::new(asks), snapshot, strangers: strangers.into() })
    }

    /// Workloads that run here and are not of this configuration: they were
    /// taken out of it while they ran. Nothing touches them.
    pub fn strangers(&self) -> &[String] {
        &self.strangers
    }

    pub fn snapshot(&self) -> watch::Receiver<BTreeMap<String, WorkloadStatus>> {
        self.snapshot.clone()
    }

    /// The pid of the main process, which executes its program. An error means
    /// that nothing does, but for [`WorkloadError::EndedAtStart`].
    pub async fn start(&self, name: &str, attempt: AttemptId) -> Result<u32, WorkloadError> {
        self.ask(name, |reply| Ask::Start { attempt, reply }).await?
    }

    /// SIGTERM, the deadline, SIGKILL: when this is `Ok` the whole tree is gone.
    pub async fn stop(&self, name: &str) -> Result<(), WorkloadError> {
        self.ask(name, |reply| Ask::Stop { again: false, reply }).await?
    }

    /// As [`Self::stop`], and refused where a start right after it would be.
    pub async fn stop_to_start(&self, name: &str) -> Result<(), WorkloadError> {
        self.ask(name, |reply| Ask::Stop { again: true, reply }).await?
    }

    pub async fn observe(&self, name: &str, attempt: AttemptId) -> Observed {
        let ask = self.ask(name, |reply| Ask::Observe { attempt, reply });
        ask.await.unwrap_or(Observed::NeverStarted)
    }

    /// Stages a fault. Gives back the pid of the main process that it befalls.
    pub async fn drill(&self, name: &str, fault: DrillFault) -> Result<u32, WorkloadError> {
        self.ask(name, |reply| Ask::Drill { fault, reply }).await?
    }

    async fn ask<T>(
        &self,
        name: &str,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, WorkloadError> {
        let Some(process) = self.asks.get(name) else {
            let known = self.asks.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(WorkloadError::NoSuchWorkload { workload: name.to_owned(), known });
        };
        let closed = || WorkloadError::Closed { workload: name.to_owned() };
        let (reply, answer) = oneshot::channel();
        process.send(ask(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }
}

/// On its way to be run.
enum Found {
    Process(JoinHandle<Process>, mpsc::Receiver<Ask>),
    Unit(JoinHandle<Unit>, mpsc::Receiver<Ask>),
}

impl Found {
    async fn run(self) {
        match self {
            Self::Process(process, asks) => {
                let process = process.await.expect("finding a process does not panic");
                tokio::spawn(process.run(asks));
            }
            Self::Unit(unit, asks) => {
                let unit = unit.await.expect("finding a unit does not panic");
                tokio::spawn(unit.run(asks));
            }
        }
    }
}

fn strangers(configs: &[WorkloadConfig], paths: &Paths) -> Vec<String> {
    let known = |name: &str| configs.iter().any(|config| config.name == name);
    let entries = std::fs::read_dir(paths.run.join("workloads")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !known(name))
        .filter(|name| matches!(Place::new(&paths.run, &paths.state, name).lock(), Ok(None)))
        .collect()
}

/// What is the machine's, and what only a test sets.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where workloads get their cgroups, or why they get none.
    pub cgroup_home: Result<PathBuf, String>,
    /// Handed to every shim as its `HOMEOSTAT_FAILPOINT`. A build without
    /// failpoints ignores it.
    pub shim_failpoint: Option<String>,
    /// By workload: values that its output must not show.
    pub secrets: BTreeMap<String, Vec<Secret>>,
    /// D-Bus address of systemd's manager.
    pub systemd: String,
}

impl Options {
    pub fn of_this_machine(paths: &Paths) -> Self {
        let shim_failpoint =
            std::env::var("HOMEOSTAT_SHIM_FAILPOINT").ok().filter(|_| cfg!(feature = "failpoints"));
        let secrets = BTreeMap::new();
        Self {
            cgroup_home: cgroup::home(&paths.run),
            shim_failpoint,
            secrets,
            systemd: String::new(),
        }
    }
}
