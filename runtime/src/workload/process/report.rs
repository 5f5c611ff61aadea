//! What is told of a workload, and kept.

use super::Process;
use super::life::{Life, Live};
use crate::model::view::WorkloadState;
use crate::model::{AttemptId, ExitStatus};
use crate::workload::record::ExitRecord;
use crate::workload::{WorkloadEvent, WorkloadStatus};

impl Process {
    pub(super) fn finish(&mut self, attempt: AttemptId, status: ExitStatus, wanted: bool) {
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

    pub(super) fn history_begin(&mut self, attempt: AttemptId, boot_id: &str) {
        if self.history.begin(attempt, boot_id) {
            self.save();
        }
    }

    pub(super) fn history_end(&mut self, exit: &ExitRecord) {
        self.history.end(exit);
        self.save();
    }

    /// What a crash kept from the history. How those ended is not known any more.
    pub(super) fn remember(&mut self, begun: Vec<AttemptId>) {
        let Ok(boot_id) = crate::clock::boot_id() else { return };
        for attempt in begun.into_iter().rev() {
            if self.history.find(attempt).is_none() {
                let (status, boot_id) = (ExitStatus::Unknown, boot_id.clone());
                let boottime_ms = crate::clock::boottime_ms();
                let exit = ExitRecord { attempt, status, wanted: false, boot_id, boottime_ms };
                self.history_end(&exit);
            }
        }
    }

    /// Behind everybody's back, but in order: a disk takes its time.
    pub(super) fn save(&mut self) {
        let (history, place) = (self.history.clone(), self.place.clone());
        let before = self.saving.take();
        self.saving = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            // Nobody waits for it, and at the end of the daemon the runtime does.
            let written = tokio::task::spawn_blocking(move || history.write(&place)).await;
            if let Err(err) = written.map_err(std::io::Error::other).flatten() {
                tracing::warn!(%err, "the history of a workload cannot be written");
            }
        }));
    }

    pub(super) fn publish(&self) {
        let live = match &self.life {
            Life::Live(live) => Some(&**live),
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
