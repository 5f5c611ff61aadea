//! To come.

use std::path::PathBuf;

use crate::model::AttemptId;
use crate::model::view::WorkloadState;

/// How a workload stands, as other rooms see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadStatus {
    pub state: WorkloadState,
    pub attempt: Option<AttemptId>,
    pub pid: Option<u32>,
    pub shim_pid: Option<u32>,
    pub cgroup: Option<PathBuf>,
    pub starts: u64,
    pub detail: String,
}
