//! Whoever holds an attempt's lock as its standard input: what a daemon that was
//! killed left running.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills every process that holds `lock`; gives their number.
pub fn kill(lock: &Path) -> usize {
    let Ok(lock) = fs::metadata(lock) else { return 0 };
    let holds = |pid: i32| {
        fs::metadata(format!("/proc/{pid}/fd/0"))
            .is_ok_and(|input| (input.dev(), input.ino()) == (lock.dev(), lock.ino()))
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let killed = pids.filter(|pid| {
        let Some(id) = Pid::from_raw(*pid) else { return false };
        let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return false };
        // Looked at behind the descriptor: a number alone may be another's by now.
        holds(*pid) && pidfd_send_signal(&process, Signal::KILL).is_ok()
    });
    killed.count()
}
