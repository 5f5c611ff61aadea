//! Processes as `/proc` shows them: who lives, who belongs to a story.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// Set in the environment of every process of a story: its folder.
pub const MARK: &str = "HOMEOSTAT_STORY";

/// Whether a process of that id runs; a zombie does not.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Whether SIGSTOP holds it.
pub fn stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state == 'T')
}

/// When it started, in ticks since boot: with the id it names one process.
pub fn started_ticks(pid: u32) -> Option<u64> {
    stat(pid).map(|(_, started)| started)
}

/// State letter and start, the fields after the name, which may hold anything.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // proc(5): the state is field 3, starttime field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

pub fn signal(pid: u32, signal: Signal) {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let _ = rustix::process::kill_process(pid, signal);
}

pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Every process that has `marker` in its environment or its command line,
/// ourselves aside. A story marks its own with the path of its folder.
pub fn marked(marker: &Path) -> Vec<u32> {
    let marker = marker.as_os_str().as_encoded_bytes();
    let holds = |pid: u32, file: &str| {
        fs::read(format!("/proc/{pid}/{file}"))
            .is_ok_and(|text| text.windows(marker.len()).any(|window| window == marker))
    };
    all()
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| holds(*pid, "environ") || holds(*pid, "cmdline"))
        .filter(|pid| alive(*pid))
        .collect()
}

fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The program's name as the kernel keeps it (15 bytes at most).
pub fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

/// Memory that it holds, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// How many files, sockets and the like it holds open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
