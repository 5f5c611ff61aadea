//! Staging a fault: the shim does it, because it outlives the daemon and so
//! can end what it began.

use tokio::time::Instant;

use super::{Life, PONG_DEADLINE, Process};
use crate::model::drill::DrillFault;
use crate::workload::WorkloadError;
use crate::workload::wire::ToShim;

impl Process {
    /// The pid of the main process, to whose shim the fault was handed.
    pub(super) async fn drill(&mut self, fault: DrillFault) -> Result<u32, WorkloadError> {
        let workload = self.config.name.clone();
        let Life::Live(live) = &self.life else {
            return Err(WorkloadError::NotRunning { workload });
        };
        let pid = live.main.pid;
        if live.link.is_none() {
            let detail = "its shim is gone; another one is on its way".into();
            return Err(WorkloadError::Shim { workload, detail });
        }
        let request = match fault {
            DrillFault::Crash {} => ToShim::Crash {},
            DrillFault::Hang { ms } => ToShim::Hang { ms },
        };
        self.undone = None;
        self.request(&request, PONG_DEADLINE).await;
        let until = Instant::now() + PONG_DEADLINE;
        loop {
            let lost = || WorkloadError::Shim {
                workload: workload.clone(),
                detail: "its shim did not say whether it did; is it of an older version?".into(),
            };
            match &self.life {
                // A crash may be over before anybody says that it was begun.
                Life::Idle => return Ok(pid),
                Life::Live(live) if live.link.is_none() => return Err(lost()),
                Life::Live(live) if live.answer_by.is_none() => break,
                Life::Live(_) if Instant::now() >= until => return Err(lost()),
                Life::Live(_) => self.step(until).await,
            }
        }
        match self.undone.take() {
            None => Ok(pid),
            Some(detail) => Err(WorkloadError::Shim { workload, detail }),
        }
    }
}
