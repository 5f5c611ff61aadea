//! Staging a fault: the shim does it, because it outlives the daemon and so
//! can end what it began.

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
        self.request(&request, PONG_DEADLINE).await;
        Ok(pid)
    }
}
