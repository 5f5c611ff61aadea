//! A workload that is a unit of systemd's: a task that owns the connection to
//! its manager.
//!
//! systemd keeps the process, its cgroup and its log; this task starts and stops
//! it when it is asked to, and tells what becomes of it. What somebody else does
//! to the unit is a person's word, and no crash.
//!
//! Invariant: as for a process: asks are answered one after the other, and an
//! attempt is executed at most once. A unit that systemd restarts by itself is
//! watched and not started: two supervisors would work against each other.

mod ask;
mod kept;
mod manager;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use self::kept::{Kept, Told, Who};
use self::manager::{Manager, ManagerError, Signal, UnitState};
use super::outlet::Outlet;
use super::process::{Ask, Settings};
use super::{WorkloadError, WorkloadEvent, WorkloadStatus};
use crate::clock;
use crate::config::WorkloadConfig;
use crate::model::view::WorkloadState;

/// Between attempts to reach systemd, doubling.
const RECONNECT: Duration = Duration::from_secs(1);
const RECONNECT_MAX: Duration = Duration::from_secs(30);
pub struct Unit {
    config: WorkloadConfig,
    unit: String,
    settings: Arc<Settings>,
    outlet: Outlet,
    path: PathBuf,
    kept: Kept,
    manager: Option<Manager>,
    state: Option<UnitState>,
    /// Jobs that we asked for, oldest first.
    ours: VecDeque<String>,
    /// Jobs of others that are not over. What they make of the unit is looked at
    /// when they are: a restart is down for a moment, and not stopped.
    others: BTreeSet<String>,
    stopping: bool,
    retry_at: Instant,
    retry_in: Duration,
    detail: String,
}

enum Happened {
    Signal(Option<Signal>),
    Told,
    Time,
}

impl Unit {
    pub fn new(
        config: WorkloadConfig,
        unit: String,
        settings: Arc<Settings>,
        events: mpsc::Sender<WorkloadEvent>,
    ) -> Self {
        let path = settings.run.join("units").join(format!("{}.json", config.name));
        Self {
            outlet: Outlet::new(&config.name, events),
            kept: Kept::load(&path, &clock::boot_id().unwrap_or_default()),
            config,
            unit,
            settings,
            path,
            manager: None,
            state: None,
            ours: VecDeque::new(),
            others: BTreeSet::new(),
            stopping: false,
            retry_at: Instant::now(),
            retry_in: RECONNECT,
            detail: String::new(),
        }
    }

    pub async fn find(mut self) -> Self {
        self.connect().await;
        self
    }

    /// Until the last handle is dropped. The unit goes on.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        loop {
            let happened = tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => {
                        self.answer(ask).await;
                        continue;
                    }
                    None => return,
                },
                happened = self.next() => happened,
            };
            match happened {
                Happened::Signal(signal) => self.hear(signal).await,
                Happened::Told => {}
                Happened::Time => self.connect().await,
            }
        }
    }

    /// May be dropped at any time without losing anything.
    async fn next(&mut self) -> Happened {
        let (connected, retry_at) = (self.manager.is_some(), self.retry_at);
        tokio::select! {
            signal = next_signal(self.manager.as_mut()) => Happened::Signal(signal),
            _ = self.outlet.send() => Happened::Told,
            () = sleep_until(retry_at), if !connected => Happened::Time,
        }
    }

    async fn connect(&mut self) {
        match Manager::connect_in_time(&self.settings.systemd, &self.unit).await {
            Ok(manager) => {
                self.manager = Some(manager);
                self.retry_in = RECONNECT;
                if let Err(error) = self.look(Who::Unwatched).await {
                    self.lose(&error.to_string());
                }
            }
            Err(error) => self.lose(&error.to_string()),
        }
    }

    fn lose(&mut self, why: &str) {
        tracing::warn!(unit = self.unit, why, "systemd cannot be reached");
        self.manager = None;
        self.others.clear();
        self.retry_at = Instant::now() + self.retry_in;
        self.retry_in = (self.retry_in * 2).min(RECONNECT_MAX);
        self.detail = format!("systemd cannot be reached: {why}");
        self.publish();
    }

    async fn hear(&mut self, signal: Option<Signal>) {
        match signal {
            Some(Signal::JobNew { job }) => self.begun(job),
            Some(Signal::JobRemoved { job, .. }) => {
                let who = if self.others.remove(&job) { Who::Others } else { Who::Nobody };
                self.look_or_lose(who).await;
            }
            Some(Signal::Changed) if self.others.is_empty() => {
                self.look_or_lose(Who::Nobody).await;
            }
            Some(Signal::Changed) => {}
            None => self.lose("its connection is closed"),
        }
    }

    fn begun(&mut self, job: String) {
        if !self.ours.contains(&job) {
            self.others.insert(job);
        }
    }

    async fn look_or_lose(&mut self, who: Who) {
        if let Err(error) = self.look(who).await {
            self.lose(&error.to_string());
        }
    }

    /// Reads the unit's state and tells what is new in it.
    async fn look(&mut self, who: Who) -> Result<(), ManagerError> {
        let Some(manager) = &self.manager else { return Ok(()) };
        let mut now = manager.state().await?;
        let mut who = who;
        if who == Who::Nobody && !self.kept.clone().take(&now, who).is_empty() {
            let Some(found) = self.who_did_it(&mut now).await? else { return Ok(()) };
            who = found;
        }
        let by_others = who == Who::Others || (who == Who::Unwatched && now.was_told_to_stop());
        if let Some(manager) = &self.manager
            && by_others
            && self.kept.running
            && !now.is_up()
        {
            let whose = manager.whose_stop().await?;
            who = if whose == Who::Others { who } else { whose };
        }
        let before = self.kept.clone();
        for told in self.kept.take(&now, who) {
            self.tell(told, now.main_pid);
        }
        if self.kept != before {
            self.save().await;
        }
        self.detail = match (now.load.as_str(), self.kept.exit) {
            ("loaded", _) if now.restart != "no" => self.two_supervisors(&now).to_string(),
            ("loaded", Some(exit)) => exit.to_string(),
            ("loaded", None) => String::new(),
            (load, _) => format!("systemd says of {}: {load}", self.unit),
        };
        self.state = Some(now);
        self.publish();
        Ok(())
    }

    /// A state may be read before the signal that somebody asked for it has come:
    /// systemd answers at once and signals when it has a moment. It had one before
    /// it answers again. None while a job of others goes on.
    async fn who_did_it(&mut self, now: &mut UnitState) -> Result<Option<Who>, ManagerError> {
        let Some(manager) = &mut self.manager else { return Ok(None) };
        *now = manager.state().await?;
        let mut who = Who::Nobody;
        while let Some(signal) = manager.job_now().await {
            match signal {
                Signal::JobNew { job } if !self.ours.contains(&job) => {
                    self.others.insert(job);
                }
                Signal::JobRemoved { job, .. } if self.others.remove(&job) => who = Who::Others,
                Signal::JobNew { .. } | Signal::JobRemoved { .. } | Signal::Changed => {}
            }
        }
        Ok(self.others.is_empty().then_some(who))
    }

    fn tell(&mut self, told: Told, pid: Option<u32>) {
        let workload = self.config.name.clone();
        let pid = pid.unwrap_or(0);
        self.outlet.push(match told {
            Told::Started(attempt) => WorkloadEvent::Started { workload, attempt, pid },
            Told::Found(attempt) => {
                WorkloadEvent::Adopted { workload, attempt, pid, why: "it ran already".into() }
            }
            Told::Exited { attempt, status, wanted } => {
                WorkloadEvent::Exited { workload, attempt, status, wanted }
            }
            Told::StartedByOthers(attempt) => {
                WorkloadEvent::StartedByOthers { workload, attempt, pid }
            }
            Told::StoppedByOthers { attempt, status } => {
                WorkloadEvent::StoppedByOthers { workload, attempt, status }
            }
        });
    }

    async fn save(&self) {
        let (kept, path) = (self.kept.clone(), self.path.clone());
        let saved = tokio::task::spawn_blocking(move || {
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            kept.save(&path)
        });
        if let Ok(Err(error)) = saved.await {
            tracing::warn!(unit = self.unit, %error, "what is known of a unit cannot be kept");
        }
    }

    fn manager(&self) -> Result<&Manager, WorkloadError> {
        self.manager.as_ref().ok_or_else(|| self.error(&self.detail))
    }

    fn error(&self, detail: &str) -> WorkloadError {
        WorkloadError::Unit {
            workload: self.config.name.clone(),
            unit: self.unit.clone(),
            detail: detail.to_owned(),
        }
    }

    fn two_supervisors(&self, now: &UnitState) -> WorkloadError {
        WorkloadError::TwoSupervisors {
            workload: self.config.name.clone(),
            unit: self.unit.clone(),
            restart: now.restart.clone(),
        }
    }

    fn publish(&self) {
        let now = self.state.as_ref();
        let state = match (self.kept.running, self.stopping) {
            (true, true) => WorkloadState::Stopping,
            (true, false) => WorkloadState::Running,
            // What others stopped is not to be started before the driver has heard of it.
            (false, _)
                if self.kept.exit.is_some() && (!self.kept.wanted || self.kept.by_others) =>
            {
                WorkloadState::Exited
            }
            (false, _) => WorkloadState::Stopped,
        };
        let group = now.map(|now| now.control_group.as_str()).unwrap_or_default();
        let cgroup = Path::new("/sys/fs/cgroup").join(group.trim_start_matches('/'));
        let status = WorkloadStatus {
            state,
            attempt: self.kept.attempt,
            pid: now.filter(|_| self.kept.running).and_then(|now| now.main_pid),
            shim_pid: None,
            cgroup: (!group.is_empty() && cgroup.is_dir()).then_some(cgroup),
            starts: self.kept.starts,
            detail: self.detail.clone(),
        };
        self.settings.statuses.send_modify(|statuses| {
            statuses.insert(self.config.name.clone(), status);
        });
    }
}

async fn next_signal(manager: Option<&mut Manager>) -> Option<Signal> {
    match manager {
        Some(manager) => manager.next().await,
        None => std::future::pending().await,
    }
}
