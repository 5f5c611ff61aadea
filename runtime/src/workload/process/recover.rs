//! Finding out what is there: after a daemon's start, and after a shim's end.
//!
//! Invariant: each round reads records and process table anew, and every round
//! is bounded, in time or in number.

use std::time::Duration;

use tokio::time::Instant;

use super::life::{End, Life};
use super::{Process, blocking};
use crate::model::ExitStatus;
use crate::workload::WorkloadEvent;
use crate::workload::link::{Link, LinkError};
use crate::workload::record::{ExitRecord, Latest};
use crate::workload::settle::{Settled, settle};
use crate::workload::wire::Hello;

/// A workload without a shim gets another try this often.
const RETRY: Duration = Duration::from_secs(10);
/// Shims that die over the same workload so often in [`RETRY`] are given a rest.
const ADOPTIONS_MAX: usize = 3;
/// For a shim with its lock and without its socket: it comes or goes.
const ABSENT_DEADLINE: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(2);
/// For a process to go by SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(1);

/// Whether what is there must be looked at again.
enum Look {
    Enough,
    Again,
}

/// What one search for a shim may still do.
struct Patience {
    /// Until then a shim without a socket is waited for.
    absent_until: Instant,
    /// A shim is killed once.
    killed: bool,
}

impl Process {
    /// Finds out what is there, and gets a link to it if it lives.
    pub(super) async fn settle_life(&mut self, why: &str) {
        // What is found may change before it is acted upon: a dying shim keeps
        // its lock a moment longer than its socket, and what lives may end
        // before it is adopted. Both are bounded.
        let absent_until = Instant::now() + ABSENT_DEADLINE;
        let mut patience = Patience { absent_until, killed: false };
        loop {
            let settled = match self.settled().await {
                Ok(settled) => settled,
                Err(err) => return self.without_link(format!("its records cannot be read: {err}")),
            };
            let again = match settled {
                Settled::Busy => self.reconnect(&mut patience).await,
                Settled::Alive(record) => {
                    self.history_begin(record.attempt, &record.boot_id);
                    self.life.keep(&record);
                    self.adopt(why).await
                }
                Settled::Ended(exit) => {
                    self.ended(exit);
                    Look::Enough
                }
                Settled::Nothing => {
                    self.vanished();
                    Look::Enough
                }
            };
            if let Look::Enough = again {
                return;
            }
        }
    }

    pub(super) async fn settled(&mut self) -> std::io::Result<Settled> {
        let (place, brand) = (self.place.clone(), self.brand.clone());
        let history = self.history.clone();
        blocking(move || settle(&place, &brand, &history)).await
    }

    /// A shim lives: it is listened to again, and nothing is news.
    async fn reconnect(&mut self, patience: &mut Patience) -> Look {
        let err = match Link::connect(&self.place).await {
            Ok((link, hello)) => {
                if let Ok(boot_id) = crate::clock::boot_id() {
                    self.history_begin(hello.attempt, &boot_id);
                }
                self.attach(link, hello).await;
                return Look::Enough;
            }
            Err(err) => err,
        };
        match self.place.latest() {
            // It wrote the end down, and is about to go, or waits for what
            // outlives SIGKILL.
            Ok(Latest::Ended(exit)) => {
                self.ended(exit);
                return Look::Enough;
            }
            Ok(Latest::Begun(record)) => self.life.keep(&record),
            _ => {}
        }
        if matches!(err, LinkError::Absent(_)) && Instant::now() < patience.absent_until {
            tokio::time::sleep(LOOK_PERIOD).await;
            return Look::Again;
        }
        if !patience.killed && self.life.is_shim_in_the_way() {
            patience.killed = true;
            self.kill_shim().await;
            return Look::Again;
        }
        self.without_link(err.to_string());
        Look::Enough
    }

    /// It holds the workload's output up, or hides its end.
    async fn kill_shim(&mut self) {
        if let Life::Live(live) = &mut self.life {
            live.silences = 0;
            live.shim.signal(rustix::process::Signal::KILL);
            End::wait(live.shim, KILL_DEADLINE).await;
        }
    }

    async fn adopt(&mut self, why: &str) -> Look {
        let now = Instant::now();
        self.adoptions.retain(|at| now.duration_since(*at) < RETRY);
        let Life::Live(live) = &self.life else { return Look::Enough };
        if self.adoptions.len() >= ADOPTIONS_MAX {
            self.without_link(format!("{why}; {ADOPTIONS_MAX} others did not last"));
            return Look::Enough;
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
                Look::Enough
            }
            Err(err) => {
                tracing::warn!(workload = %self.config.name, %err, "adoption failed");
                Look::Again
            }
        }
    }

    pub(super) async fn attach(&mut self, link: Link, hello: Hello) {
        self.detail = match hello.adopted {
            true => "adopted: its exit status will be unknown".into(),
            false => hello.notes.join("; "),
        };
        if let (Err(why), None) = (&self.settings.cgroup_home, &hello.cgroup) {
            self.detail = join(&self.detail, &format!("followed by the process table: {why}"));
        }
        let deadline = Duration::from_millis(self.config.stop_deadline_ms);
        self.life.attach(link, hello, Instant::now() + deadline);
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
        // By an earlier daemon, or by this one a moment ago.
        let told = seen.trim() == exit.attempt.to_string()
            || self.last.as_ref().is_some_and(|last| last.attempt == exit.attempt);
        let told = told && matches!(self.life, Life::Idle);
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
}

fn join(first: &str, second: &str) -> String {
    if first.is_empty() { second.to_owned() } else { format!("{first}; {second}") }
}
