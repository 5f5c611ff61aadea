//! Start, stop, restart, and what a crash left of them.

use crate::failpoint::{Failpoint, hit};
use crate::model::view::WorkloadState;
use crate::model::{AttemptId, Outcome};
use crate::workload::{Observed, Workloads};

pub async fn start(workloads: &Workloads, name: &str, attempt: AttemptId) -> Outcome {
    match workloads.start(name, attempt).await {
        Ok(pid) => {
            hit(Failpoint::ActionAfterStart);
            Outcome::Done { detail: format!("started, pid {pid}") }
        }
        Err(error) => Outcome::Failed { detail: error.to_string() },
    }
}

pub async fn restart(workloads: &Workloads, name: &str, attempt: AttemptId) -> Outcome {
    if let Err(error) = workloads.stop_to_start(name).await {
        return Outcome::Failed { detail: error.to_string() };
    }
    hit(Failpoint::ActionAfterStop);
    start(workloads, name, attempt).await
}

pub async fn stop(workloads: &Workloads, name: &str) -> Outcome {
    match workloads.stop(name).await {
        Ok(()) => Outcome::Done { detail: "stopped, the whole tree is gone".into() },
        Err(error) => Outcome::Failed { detail: error.to_string() },
    }
}

pub async fn observe_start(workloads: &Workloads, name: &str, attempt: AttemptId) -> Outcome {
    match workloads.observe(name, attempt).await {
        Observed::Running { pid } => Outcome::Done { detail: format!("it runs, pid {pid}") },
        Observed::Exited { status } => {
            Outcome::Failed { detail: format!("it was started and has ended: {status}") }
        }
        Observed::NeverStarted => Outcome::Failed { detail: "it was never started".into() },
        Observed::OtherAttempt { attempt } => {
            Outcome::Failed { detail: format!("attempt {attempt} is there instead") }
        }
    }
}

pub fn observe_stop(workloads: &Workloads, name: &str) -> Outcome {
    let snapshot = workloads.snapshot();
    let state = snapshot.borrow().get(name).map(|status| status.state);
    match state {
        Some(WorkloadState::Running | WorkloadState::Stopping) => {
            Outcome::Failed { detail: "it still runs".into() }
        }
        Some(WorkloadState::Stopped | WorkloadState::Exited) => {
            Outcome::Done { detail: "it does not run".into() }
        }
        None => Outcome::Failed { detail: format!("there is no workload {name}") },
    }
}
