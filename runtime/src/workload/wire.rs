//! What daemon and shim say to each other: one JSON object per line.
//!
//! The shim's standard input is a socket. Its first line is a [`Spec`]; after
//! that it is a client like those of `shim.sock`. So no argument list ever
//! shows an environment, and the daemon that started a shim hears of its
//! failure on the same line as of its workload's end.
//!
//! Invariant: neither side waits for the other without a deadline, and a line
//! has an upper length.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::record::Place;
use super::tree::Proc;
use super::user::User;
use crate::config::LimitsConfig;
use crate::model::{AttemptId, ExitStatus};
use crate::secret::Secret;

/// A specification carries a whole environment.
pub const SPEC_MAX_BYTES: usize = 1024 * 1024;
/// Any other message; a line of output is the longest.
pub const MESSAGE_MAX_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub workload: String,
    /// The daemon's run directory, which brands the workload's processes.
    pub run: PathBuf,
    /// Who the workload runs as, by number, where that is not the daemon's user.
    #[serde(default)]
    pub user: Option<u32>,
    pub place: Place,
    pub attempt: AttemptId,
    pub stop_deadline_ms: u64,
    /// Ceiling of each log file.
    pub log_max_bytes: u64,
    /// Log files kept, the one being written included.
    pub log_files: u32,
    /// What to start; none to adopt what runs.
    pub launch: Option<Launch>,
    /// Kept out of the log and of what is passed on.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub dir: Option<PathBuf>,
    pub user: Option<User>,
    pub limits: LimitsConfig,
    /// The workload's own cgroup, to be made.
    pub cgroup: Option<PathBuf>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum ToShim {
    Stop {
        deadline_ms: u64,
    },
    /// Answered by `Pong`: a shim that hangs lets the FIFO fill up, and with
    /// it the workload hangs too.
    Ping {},
    /// For a drill: SIGKILL to the tree, as a fault and not as a stop.
    Crash {},
    /// For a drill: the tree stands still for so long.
    Hang {
        ms: u64,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum FromShim {
    /// First word to every client: this runs.
    Hello(Hello),
    /// First and last word of a shim that did not come to run anything.
    Failed {
        cause: Cause,
        detail: String,
    },
    /// The request to stop was taken.
    Stopping {},
    Pong {},
    /// What was asked for last was not done.
    Undone {
        why: String,
    },
    Line {
        boottime_ms: u64,
        text: String,
    },
    /// Lines that this client was too slow for.
    Lost {
        count: u64,
    },
    /// Something that does not hinder the workload, such as a log that cannot be written.
    Note {
        text: String,
    },
    /// The last word.
    Exited {
        attempt: AttemptId,
        status: ExitStatus,
        wanted: bool,
        /// Processes of the tree that even SIGKILL has not ended yet.
        left: Vec<u32>,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    pub attempt: AttemptId,
    pub main: Proc,
    pub shim: Proc,
    pub cgroup: Option<PathBuf>,
    pub adopted: bool,
    pub stopping: bool,
    /// What is less than was asked for, such as a limit that could not be set.
    pub notes: Vec<String>,
}

/// Why nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Another shim holds the lock.
    Busy,
    /// Processes of an earlier attempt live.
    Alive,
    /// This attempt was begun before.
    Used,
    /// There is nothing to adopt.
    Gone,
    Program,
    Directory,
    User,
    Limit,
    /// The machine: files, memory, processes.
    System,
}

/// One message as it goes out.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("messages have string keys only");
    line.push(b'\n');
    line
}
