//! Starting: one shim, one attempt, and its first word.

use std::time::Duration;

use tokio::time::Instant;

use super::{Life, Process, blocking};
use crate::model::AttemptId;
use crate::workload::link::LinkError;
use crate::workload::settle::Settled;
use crate::workload::tree::Brand;
use crate::workload::user::{self, User};
use crate::workload::wire::{Cause, Launch};
use crate::workload::{WorkloadError, WorkloadEvent};

/// For a killed shim to let go of its lock.
const LOCK_DEADLINE: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(5);

impl Process {
    pub(super) async fn start(&mut self, attempt: AttemptId) -> Result<u32, WorkloadError> {
        let workload = self.config.name.clone();
        if let Life::Live(live) = &self.life {
            let (attempt, pid) = (live.attempt, live.main.pid);
            return Err(WorkloadError::AlreadyRunning { workload, attempt, pid });
        }
        if self.history.find(attempt).is_some() {
            return Err(WorkloadError::AttemptUsed { workload, attempt });
        }
        self.is_empty = false;
        let launch = self.launch().await?;
        self.user = launch.user.as_ref().map(|user| user.uid);
        self.brand = Brand::new(&workload, &self.settings.run, self.user);
        let spec = self.spec(attempt, Some(launch));
        match self.settings.program.start(&spec).await {
            Ok((link, hello)) => {
                let pid = hello.main.pid;
                self.started(attempt, pid);
                self.attach(link, hello).await;
                Ok(pid)
            }
            // Its own checks said no: nothing was spawned.
            Err(LinkError::Refused { cause, detail }) if cause != Cause::System => {
                if matches!(cause, Cause::Busy | Cause::Alive | Cause::Used) {
                    // Something is there that this task did not know of.
                    self.settle_life("it was found at a start").await;
                }
                Err(self.refused(attempt, cause, detail))
            }
            Err(err) => self.after_a_failed_start(attempt, err.to_string()).await,
        }
    }

    /// The shim is dead or in trouble, and may have spawned before.
    async fn after_a_failed_start(
        &mut self,
        attempt: AttemptId,
        why: String,
    ) -> Result<u32, WorkloadError> {
        let workload = self.config.name.clone();
        let nothing = |detail| Err(WorkloadError::Shim { workload: workload.clone(), detail });
        // Killed a moment ago, it may hold its lock a moment longer.
        let until = Instant::now() + LOCK_DEADLINE;
        let mut settled = self.settled().await;
        while matches!(settled, Ok(Settled::Busy)) && Instant::now() < until {
            tokio::time::sleep(LOOK_PERIOD).await;
            settled = self.settled().await;
        }
        match settled {
            Ok(Settled::Alive(record)) if record.attempt == attempt => {
                self.started(attempt, record.main.pid);
                self.life.keep(&record);
                self.settle_life(&why).await;
                Ok(record.main.pid)
            }
            Ok(Settled::Ended(exit)) if exit.attempt == attempt => {
                let pid = self.place.child_word().proc.map_or(0, |main| main.pid);
                self.started(attempt, pid);
                self.finish(attempt, exit.status, exit.wanted);
                Err(WorkloadError::EndedAtStart { workload, attempt, status: exit.status })
            }
            Ok(Settled::Busy) => {
                self.settle_life(&why).await;
                match &self.life {
                    Life::Live(live) if live.attempt == attempt => {
                        let pid = live.main.pid;
                        self.started(attempt, pid);
                        Ok(pid)
                    }
                    _ => nothing(why),
                }
            }
            Ok(_) => nothing(why),
            Err(read) => nothing(format!("{why}; and its records cannot be read: {read}")),
        }
    }

    fn started(&mut self, attempt: AttemptId, pid: u32) {
        if let Ok(boot_id) = crate::clock::boot_id() {
            self.history_begin(attempt, &boot_id);
        }
        let workload = self.config.name.clone();
        self.outlet.push(WorkloadEvent::Started { workload, attempt, pid });
    }

    fn refused(&mut self, attempt: AttemptId, cause: Cause, detail: String) -> WorkloadError {
        let workload = self.config.name.clone();
        let error = match cause {
            Cause::Used => WorkloadError::AttemptUsed { workload, attempt },
            Cause::Busy | Cause::Alive => WorkloadError::StillAlive { workload, found: detail },
            Cause::Program => WorkloadError::Program { workload, detail },
            Cause::Directory => WorkloadError::Directory { workload, detail },
            Cause::User => WorkloadError::User { workload, detail },
            Cause::Limit => WorkloadError::Limit { workload, detail },
            Cause::Gone | Cause::System => WorkloadError::Shim { workload, detail },
        };
        self.detail = error.to_string();
        self.publish();
        error
    }

    async fn launch(&self) -> Result<Launch, WorkloadError> {
        let cgroup = self.settings.cgroup_home.as_ref().ok();
        Ok(Launch {
            command: self.config.command.clone(),
            env: self.config.env.clone(),
            dir: self.config.dir.clone(),
            user: self.user().await?,
            limits: self.config.limits.clone(),
            cgroup: cgroup.map(|home| home.join(&self.config.name)),
        })
    }

    async fn user(&self) -> Result<Option<User>, WorkloadError> {
        let Some(user) = self.config.user.clone() else { return Ok(None) };
        let workload = self.config.name.clone();
        let wanted = user.clone();
        match blocking(move || user::find(&wanted)).await {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => Err(WorkloadError::UnknownUser { workload, user }),
            Err(err) => Err(WorkloadError::Files {
                workload,
                path: "/etc/passwd".into(),
                detail: err.to_string(),
            }),
        }
    }
}
