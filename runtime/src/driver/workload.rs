//! What the workloads say of themselves, made events and marks.

use super::Driver;
use crate::model::event::exit_attrs;
use crate::model::{AttemptId, Attrs, Event, Origin, TargetId, Value};
use crate::workload::WorkloadEvent;

impl Driver {
    pub(super) fn take_workload(&mut self, event: WorkloadEvent) {
        match event {
            WorkloadEvent::Started { workload, attempt, pid } => {
                self.start_failed.remove(&workload);
                let target = TargetId::workload(&workload);
                let attrs = self.start_attrs(&workload, attempt);
                self.write(Event::WorkloadStarted { workload, attempt, pid });
                self.mark(target, "workload.started", attrs);
            }
            WorkloadEvent::Exited { workload, attempt, status, wanted } => {
                let target = TargetId::workload(&workload);
                self.remember_exit(attempt, status);
                self.write(Event::WorkloadExited { workload, attempt, status, wanted });
                let what = if wanted { "workload.stopped" } else { "workload.exited" };
                self.mark(target, what, exit_attrs(attempt, status, wanted));
            }
            WorkloadEvent::Adopted { workload, attempt, pid, why } => {
                let target = TargetId::workload(&workload);
                self.write(Event::WorkloadAdopted { workload, attempt, pid, why });
                self.mark(target, "workload.adopted", vec![]);
            }
            // What somebody does to a unit by other means is their word.
            WorkloadEvent::StartedByOthers { workload, attempt, pid } => {
                let by = Origin::Others;
                self.write(Event::WorkloadDesired {
                    workload: workload.clone(),
                    running: true,
                    by,
                });
                self.take_workload(WorkloadEvent::Started { workload, attempt, pid });
            }
            WorkloadEvent::StoppedByOthers { workload, attempt, status } => {
                let by = Origin::Others;
                let desired =
                    Event::WorkloadDesired { workload: workload.clone(), running: false, by };
                self.write(desired);
                self.take_workload(WorkloadEvent::Exited {
                    workload,
                    attempt,
                    status,
                    wanted: true,
                });
            }
            WorkloadEvent::Lines(lines) => self.take_lines(lines),
            WorkloadEvent::LinesLost { workload, count } => {
                tracing::warn!(workload, count, "lines came faster than they could be passed on");
            }
        }
    }

    /// What a detector may want to know of a start: which, and how long the
    /// workload may take until its probes are good.
    pub(super) fn start_attrs(&self, workload: &str, attempt: AttemptId) -> Attrs {
        let declared = self.config.workloads.iter().find(|it| it.name == workload);
        let grace_ms = declared.map_or(0, |it| it.start_grace_ms);
        vec![
            ("attempt".into(), Value::text(attempt.to_string())),
            ("start_grace_ms".into(), Value::Int(i64::try_from(grace_ms).unwrap_or(i64::MAX))),
        ]
    }
}
