//! Whoever holds an attempt's lock: what a daemon that was killed left running.
//!
//! A shell may hold it under any number, and what it started need not: so every
//! descriptor is looked at, and the holder's whole process group is ended.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{
    Pid, PidfdFlags, Signal, getpgid, kill_process_group, pidfd_open, pidfd_send_signal,
};

/// Kills every process that holds `lock`, and its group; gives their number.
pub fn kill(lock: &Path) -> usize {
    let Ok(lock) = fs::metadata(lock) else { return 0 };
    let holds = |pid: i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        open.filter_map(|fd| fs::metadata(fd.path()).ok())
            .any(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino()))
    };
    let own = rustix::process::getpid();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let killed = pids.filter(|pid| {
        let Some(id) = Pid::from_raw(*pid).filter(|id| *id != own) else { return false };
        let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return false };
        // Looked at behind the descriptor: a number alone may be another's by now.
        if !holds(*pid) {
            return false;
        }
        // A command leads a group of its own.
        if let Ok(group) = getpgid(Some(id))
            && group != rustix::process::getpgrp()
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        pidfd_send_signal(&process, Signal::KILL).is_ok()
    });
    killed.count()
}
