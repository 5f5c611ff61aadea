//! What a unit is asked to do: each ask to its end, by a job of systemd's.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::kept::Who;
use super::manager::{Signal, UnitState};
use super::{Unit, next_signal};
use crate::model::{AttemptId, DrillFault, ExitStatus};
use crate::workload::process::Ask;
use crate::workload::{Observed, WorkloadError};

/// A start is under way within this: it has a process, or prepares for one. How
/// long it loads is its probes' affair.
const START_WITHIN: Duration = Duration::from_secs(8);
/// For systemd to end what a SIGKILL has been sent to.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// Jobs of ours that are remembered.
const JOBS_MAX: usize = 64;

impl Unit {
    pub(super) async fn answer(&mut self, ask: Ask) {
        // Whoever asked may have gone; what was asked for was done all the same.
        match ask {
            Ask::Start { attempt, reply } => {
                let _ = reply.send(self.start(attempt).await);
            }
            Ask::Stop { again, reply } => {
                let _ = reply.send(self.stop(again).await);
            }
            Ask::Observe { attempt, reply } => {
                let _ = reply.send(self.observe(attempt));
            }
            Ask::Drill { fault, reply } => {
                let _ = reply.send(self.drill(fault).await);
            }
        }
    }

    async fn start(&mut self, attempt: AttemptId) -> Result<u32, WorkloadError> {
        // What was before we ask is none of ours.
        self.look_now(Who::Nobody).await?;
        let now = self.state.clone().ok_or_else(|| self.error("its state is not known"))?;
        if now.restart != "no" {
            return Err(self.two_supervisors(&now));
        }
        if self.kept.attempt == Some(attempt) {
            return Err(WorkloadError::AttemptUsed { workload: self.config.name.clone(), attempt });
        }
        if now.is_up() {
            return Err(WorkloadError::AlreadyRunning {
                workload: self.config.name.clone(),
                attempt: self.kept.attempt.unwrap_or(attempt),
                pid: now.main_pid.unwrap_or(0),
            });
        }
        self.kept.begin(attempt, &now);
        self.save().await;
        let manager = self.manager()?;
        // It fails for a unit that never failed.
        let _ = manager.reset_failed().await;
        let job = manager.start().await.map_err(|error| self.error(&error.to_string()))?;
        let result = self.until_done(job, START_WITHIN, UnitState::is_up).await?;
        match &self.state {
            Some(now) if now.is_up() => Ok(now.main_pid.unwrap_or(0)),
            Some(now) => {
                let detail = format!("its start {result}: {} ({})", now.exit, now.result);
                Err(self.error(&detail))
            }
            None => Err(self.error("its state is not known")),
        }
    }

    async fn stop(&mut self, again: bool) -> Result<(), WorkloadError> {
        self.look_now(Who::Nobody).await?;
        // What could not be started again is not stopped to be.
        if let Some(now) = self.state.as_ref().filter(|now| again && now.restart != "no") {
            return Err(self.two_supervisors(now));
        }
        let down = |now: &UnitState| ["inactive", "failed"].contains(&now.active.as_str());
        if self.state.as_ref().is_some_and(down) {
            return Ok(());
        }
        self.stopping = true;
        self.publish();
        let limit = Duration::from_millis(self.config.stop_deadline_ms);
        let stopped = self.stop_within(limit, down).await;
        self.stopping = false;
        self.publish();
        stopped
    }

    async fn stop_within(
        &mut self,
        limit: Duration,
        down: impl Fn(&UnitState) -> bool + Copy,
    ) -> Result<(), WorkloadError> {
        let job = self.manager()?.stop().await.map_err(|error| self.error(&error.to_string()))?;
        self.until_done(job.clone(), limit, down).await?;
        if self.state.as_ref().is_some_and(down) {
            return Ok(());
        }
        self.manager()?.kill().await.map_err(|error| self.error(&error.to_string()))?;
        self.until_done(job, KILLED_WITHIN, down).await?;
        match &self.state {
            Some(now) if down(now) => Ok(()),
            _ => Err(self.error("it does not end, not even by SIGKILL")),
        }
    }

    /// Until the job is over or the unit is as it is wanted; gives the job's
    /// result, if it was seen.
    async fn until_done(
        &mut self,
        job: String,
        limit: Duration,
        done: impl Fn(&UnitState) -> bool,
    ) -> Result<String, WorkloadError> {
        // Its beginning may have been read before its name was known.
        self.others.remove(&job);
        self.ours.push_back(job.clone());
        if self.ours.len() > JOBS_MAX {
            self.ours.pop_front();
        }
        let deadline = Instant::now() + limit;
        let mut result = "was not seen to end".to_owned();
        loop {
            let signal = tokio::select! {
                signal = next_signal(self.manager.as_mut()) => signal,
                () = sleep_until(deadline) => Some(Signal::Changed),
            };
            let mut gave_way = false;
            let over = match signal {
                None => {
                    self.lose("its connection is closed");
                    return Err(self.error("systemd is gone"));
                }
                Some(Signal::JobRemoved { job: removed, result: how }) if removed == job => {
                    // Another took its place: what comes of that is not ours.
                    gave_way = how == "canceled";
                    result = format!("is {how}");
                    true
                }
                Some(Signal::JobNew { job: new }) => {
                    self.begun(new);
                    continue;
                }
                // Somebody else's word comes before ours, unless ours took its place.
                Some(Signal::JobRemoved { job: removed, result: how }) => {
                    gave_way = self.others.remove(&removed) && how != "canceled";
                    gave_way || Instant::now() >= deadline
                }
                Some(Signal::Changed) => Instant::now() >= deadline,
            };
            if gave_way {
                self.look_now(Who::Others).await?;
                return Err(self.error("somebody else's word about it came first"));
            }
            // What a job of others makes of it is looked at when that is over.
            if !over && !self.others.is_empty() {
                continue;
            }
            self.look_now(Who::We).await?;
            if over || self.state.as_ref().is_some_and(&done) {
                return Ok(result);
            }
        }
    }

    async fn look_now(&mut self, who: Who) -> Result<(), WorkloadError> {
        if self.manager.is_none() {
            self.connect().await;
        }
        self.manager()?;
        let looked = self.look(who).await;
        looked.map_err(|error| {
            self.lose(&error.to_string());
            self.error(&error.to_string())
        })
    }

    fn observe(&self, attempt: AttemptId) -> Observed {
        let kept = &self.kept;
        let pid = self.state.as_ref().and_then(|now| now.main_pid).unwrap_or(0);
        match kept.attempt {
            Some(last) if last == attempt && kept.invocation.is_none() => Observed::NeverStarted,
            Some(last) if last == attempt && kept.running => Observed::Running { pid },
            Some(last) if last == attempt => {
                Observed::Exited { status: kept.exit.unwrap_or(ExitStatus::Unknown) }
            }
            Some(attempt) if kept.running => Observed::OtherAttempt { attempt },
            _ => Observed::NeverStarted,
        }
    }

    async fn drill(&mut self, fault: DrillFault) -> Result<u32, WorkloadError> {
        let pid = self.state.as_ref().filter(|now| now.is_up()).and_then(|now| now.main_pid);
        let workload = self.config.name.clone();
        let Some(pid) = pid else { return Err(WorkloadError::NotRunning { workload }) };
        match fault {
            DrillFault::Crash {} => {
                let killed = self.manager()?.kill().await;
                killed.map(|()| pid).map_err(|error| self.error(&error.to_string()))
            }
            // A fault must end by itself, and no shim is there to end it.
            DrillFault::Hang { .. } => Err(self.error("a drill can crash a unit, and not hold it")),
        }
    }
}
