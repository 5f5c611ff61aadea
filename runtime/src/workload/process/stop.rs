//! Stopping: by the shim where one answers, by hand where none does.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::{Life, Process, blocking};
use crate::workload::WorkloadError;
use crate::workload::settle;
use crate::workload::tree::Tree;
use crate::workload::wire::ToShim;

/// For a shim to say that it took a request.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Beyond the workload's own deadline, for the shim to kill, write and tell.
const SHIM_GRACE: Duration = Duration::from_secs(4);
/// For the end to be settled after everything was killed.
const SETTLE_DEADLINE: Duration = Duration::from_secs(5);

impl Process {
    pub(super) async fn stop(&mut self) -> Result<(), WorkloadError> {
        let Life::Live(live) = &mut self.life else { return self.sweep().await };
        let deadline = Duration::from_millis(self.config.stop_deadline_ms);
        let stop_by = Instant::now() + deadline;
        live.stop_by = Some(stop_by);
        self.publish();
        self.ask_to_stop().await;

        let mut by_hand = false;
        while let Life::Live(live) = &self.life {
            let until = if live.link.is_some() { stop_by + SHIM_GRACE } else { stop_by };
            if Instant::now() >= until {
                return self.kill().await;
            }
            if live.link.is_none() && !by_hand {
                by_hand = true;
                live.main.signal_group(Signal::TERM);
                live.main.signal_group(Signal::CONT);
            }
            self.step(until).await;
        }
        Ok(())
    }

    /// Where a stop is wanted and a shim is there: it is told, with what is
    /// left of the deadline.
    pub(super) async fn ask_to_stop(&mut self) {
        let Life::Live(live) = &self.life else { return };
        let Some(stop_by) = live.stop_by else { return };
        let rest = stop_by.saturating_duration_since(Instant::now());
        let deadline_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        self.request(&ToShim::Stop { deadline_ms }, ANSWER_DEADLINE).await;
    }

    /// The deadline is over and the shim was no help.
    async fn kill(&mut self) -> Result<(), WorkloadError> {
        let Life::Live(live) = &mut self.life else { return Ok(()) };
        let (main, shim) = (live.main, live.shim);
        let tree = Tree::new(&self.brand, live.cgroup.as_ref(), Some(main));
        let left = blocking(move || settle::kill(&tree, Some(main))).await;
        if !left.is_empty() {
            return Err(WorkloadError::Unkillable {
                workload: self.config.name.clone(),
                pids: left,
            });
        }
        let until = Instant::now() + SETTLE_DEADLINE;
        shim.signal(Signal::KILL);
        while let Life::Live(live) = &self.life {
            if Instant::now() >= until {
                let detail = format!("shim {} outlives SIGKILL", live.shim.pid);
                return Err(WorkloadError::Shim { workload: self.config.name.clone(), detail });
            }
            self.step(until).await;
        }
        Ok(())
    }

    /// Nothing runs that we know of; what could belong to it all the same, such
    /// as a process that outlived a lost run directory, ends here. Reading the
    /// whole process table costs milliseconds of a restart, so it is not done
    /// where a shim has just seen its tree empty: the next one looks for company
    /// itself before it starts, and refuses.
    async fn sweep(&mut self) -> Result<(), WorkloadError> {
        if self.is_empty {
            return Ok(());
        }
        let home = self.settings.cgroup_home.as_ref().ok();
        let cgroup = home.map(|home| home.join(&self.config.name));
        let tree = Tree::new(&self.brand, cgroup.as_ref(), None);
        let left = blocking(move || settle::kill(&tree, None)).await;
        if left.is_empty() {
            return Ok(());
        }
        Err(WorkloadError::Unkillable { workload: self.config.name.clone(), pids: left })
    }
}
