//! The processes of a workload, found and killed without being their parent.
//!
//! Invariant: a pid alone names nobody, because pids are used again. A process
//! is its pid with its start time, and a signal goes through a pidfd whose
//! start time was compared after it was opened.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use crate::model::AttemptId;

/// In the environment of every process of a workload.
pub const ENV_WORKLOAD: &str = "HOMEOSTAT_WORKLOAD";
pub const ENV_ATTEMPT: &str = "HOMEOSTAT_ATTEMPT";
/// Tells two daemons on one machine apart: the run directory of this one.
pub const ENV_RUN: &str = "HOMEOSTAT_RUN";

/// getauxval(3): 1 for a program that runs with more rights than its caller has.
const AT_SECURE: usize = 23;

/// An environment longer than this is searched only so far.
const ENVIRON_MAX_BYTES: usize = 256 * 1024;
/// Most are shorter than this.
const ENVIRON_BYTES: usize = 8 * 1024;

/// One process, for ever: no later one has the same pid and start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proc {
    pub pid: u32,
    /// Clock ticks after boot: field 22 of `/proc/PID/stat`, proc(5).
    pub start_ticks: u64,
}

/// What `/proc/PID/stat` says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub proc: Proc,
    pub parent: u32,
    /// A zombie has ended; only its parent has not looked yet.
    pub ended: bool,
}

impl Stat {
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name stands in brackets and may hold anything, brackets
    /// too: the fields are counted from the last one.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let open = text.iter().position(|byte| *byte == b'(')?;
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let pid = std::str::from_utf8(&text[..open]).ok()?.trim().parse().ok()?;
        let mut fields = std::str::from_utf8(&text[close + 1..]).ok()?.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // State is field 3 and the parent field 4: 17 lie between it and field 22.
        let start_ticks = fields.nth(17)?.parse().ok()?;
        let ended = matches!(state, "Z" | "X" | "x");
        Some(Self { proc: Proc { pid, start_ticks }, parent, ended })
    }
}

impl Proc {
    pub fn of(pid: u32) -> Option<Self> {
        Stat::of(pid).map(|stat| stat.proc)
    }

    pub fn lives(self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.proc == self && !stat.ended)
    }

    /// A handle that readiness tells the end of; none when it is gone already.
    pub fn pidfd(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = self.raw() else { return Ok(None) };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Ok(self.lives().then_some(fd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// True when the signal went out to this very process.
    pub fn signal(self, signal: Signal) -> bool {
        match self.pidfd() {
            Ok(Some(fd)) => rustix::process::pidfd_send_signal(&fd, signal).is_ok(),
            Ok(None) => false,
            // No pidfd before Linux 5.3; compared a moment ago is the best there is.
            Err(_) => {
                self.lives()
                    && self
                        .raw()
                        .is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
            }
        }
    }

    /// Once to each of the process group that it leads; to it alone where it
    /// joined another's.
    pub fn signal_group(self, signal: Signal) -> bool {
        let Some(pid) = self.raw() else { return false };
        let leads = rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == pid);
        if leads && self.lives() {
            return rustix::process::kill_process_group(pid, signal).is_ok();
        }
        self.signal(signal)
    }

    fn raw(self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).ok()?)
    }
}

/// What the environment of a workload's processes says of them. It is
/// inherited, so it finds those that left the tree and the process group.
///
/// Anybody may set a variable, and whoever is believed keeps a workload from
/// its start and is killed: only root, the daemon's own user and the workload's
/// are. What gave up its rights and left the tree is then not found.
#[derive(Clone, Debug)]
pub struct Brand {
    workload: String,
    run: String,
    believed: Vec<u32>,
}

impl Brand {
    /// `user` is the one that the workload runs as, where it has one of its own.
    pub fn new(workload: &str, run: &Path, user: Option<u32>) -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self {
            workload: workload.to_owned(),
            run: run.to_string_lossy().into_owned(),
            believed: [0, own].into_iter().chain(user).collect(),
        }
    }

    pub fn env(&self, attempt: AttemptId) -> [(&'static str, String); 3] {
        [
            (ENV_WORKLOAD, self.workload.clone()),
            (ENV_RUN, self.run.clone()),
            (ENV_ATTEMPT, attempt.to_string()),
        ]
    }

    fn is_on(&self, environ: &[u8]) -> bool {
        let has = |name: &str, value: &str| {
            environ.split(|byte| *byte == 0).any(|entry| {
                entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
                    == Some(value.as_bytes())
            })
        };
        has(ENV_WORKLOAD, &self.workload) && has(ENV_RUN, &self.run)
    }

    /// Every living process that carries the brand.
    pub fn bearers(&self) -> Vec<Proc> {
        let mut environ = vec![0u8; ENVIRON_BYTES];
        pids()
            .filter(|pid| self.is_on(read_environ(*pid, &mut environ)))
            .filter(|pid| self.believes(*pid))
            .filter_map(living)
            .collect()
    }

    /// A program that makes its caller root has its caller's environment.
    fn believes(&self, pid: u32) -> bool {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        let Some(users) = read("status").and_then(|status| users(&status)) else { return false };
        users.iter().all(|user| self.believed.contains(user))
            && (!users.contains(&0) || read("auxv").is_some_and(|auxv| is_plain(&auxv)))
    }
}

/// Real, effective, saved and file system's: `Uid` in `/proc/PID/status`, proc(5).
fn users(status: &[u8]) -> Option<[u32; 4]> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut fields = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

/// Whether it says that the program was executed without a gain of rights. A
/// program with pointers of another width than ours does not say so.
fn is_plain(auxv: &[u8]) -> bool {
    let (words, _) = auxv.as_chunks::<{ size_of::<usize>() }>();
    let words: Vec<usize> = words.iter().map(|word| usize::from_ne_bytes(*word)).collect();
    words.as_chunks::<2>().0.contains(&[AT_SECURE, 0])
}

/// The kernel fills as much as there is room for in one go, and a start waits
/// for one such read per process of the machine.
fn read_environ(pid: u32, buffer: &mut Vec<u8>) -> &[u8] {
    let Ok(mut file) = fs::File::open(format!("/proc/{pid}/environ")) else { return &[] };
    let mut len = 0;
    while let Ok(more @ 1..) = file.read(&mut buffer[len..]) {
        len += more;
        if len < buffer.len() || len >= ENVIRON_MAX_BYTES {
            break;
        }
        buffer.resize(len * 2, 0);
    }
    &buffer[..len]
}

/// All that belongs to one workload.
#[derive(Clone, Debug)]
pub struct Tree {
    pub brand: Brand,
    pub cgroup: Option<Cgroup>,
    /// The main process, or the shim that reaps for the tree: what descends
    /// from it belongs to it. It does not belong to itself.
    pub root: Option<Proc>,
}

impl Tree {
    pub fn new(brand: &Brand, cgroup: Option<&PathBuf>, root: Option<Proc>) -> Self {
        let cgroup = cgroup.map(|dir| Cgroup::at(dir.clone()));
        Self { brand: brand.clone(), cgroup, root }
    }

    /// Living processes that the kernel says are in it. Where there is a
    /// cgroup this is exact; elsewhere descent and brand are searched.
    pub fn members(&self) -> Vec<Proc> {
        if let Some(cgroup) = &self.cgroup {
            if !cgroup.populated() {
                return Vec::new();
            }
            return cgroup.pids().into_iter().filter_map(living).collect();
        }
        self.kin()
    }

    /// Everything that could belong to it, by cgroup, descent and brand.
    pub fn all(&self) -> Vec<Proc> {
        let mut all = self.members();
        for proc in self.kin() {
            if !all.contains(&proc) {
                all.push(proc);
            }
        }
        all
    }

    /// SIGKILL for all of it; what forks meanwhile is met by the next call.
    pub fn kill(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
            return;
        }
        for proc in self.kin() {
            proc.signal(Signal::KILL);
        }
    }

    /// As [`kill`](Self::kill), and those that left the cgroup.
    pub fn kill_all(&self) {
        self.kill();
        for proc in self.all() {
            proc.signal(Signal::KILL);
        }
    }

    fn kin(&self) -> Vec<Proc> {
        let stats: Vec<Stat> = pids().filter_map(Stat::of).collect();
        let mut kin = self.brand.bearers();
        let mut parents: Vec<u32> = kin.iter().map(|proc| proc.pid).collect();
        if let Some(root) = self.root
            && stats.iter().any(|stat| stat.proc == root)
        {
            parents.push(root.pid);
        }
        let mut next = 0;
        while let Some(parent) = parents.get(next).copied() {
            next += 1;
            for stat in stats.iter().filter(|stat| stat.parent == parent) {
                if !parents.contains(&stat.proc.pid) {
                    parents.push(stat.proc.pid);
                    if !stat.ended {
                        kin.push(stat.proc);
                    }
                }
            }
        }
        let me = std::process::id();
        kin.retain(|proc| proc.pid != me);
        kin
    }
}

fn living(pid: u32) -> Option<Proc> {
    Stat::of(pid).filter(|stat| !stat.ended).map(|stat| stat.proc)
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let line = b"42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9001 1 1\n";
        let stat = Stat::parse(line).expect("a stat line");
        assert_eq!(stat.proc, Proc { pid: 42, start_ticks: 9001 });
        assert_eq!((stat.parent, stat.ended), (7, false));
        assert!(Stat::parse(b"42 (half").is_none());
    }

    #[test]
    fn a_pid_used_again_is_somebody_else() {
        let me = Proc::of(std::process::id()).expect("own stat");
        assert!(me.lives());
        let other = Proc { start_ticks: me.start_ticks + 1, ..me };
        assert!(!other.lives());
        assert!(other.pidfd().expect("pidfd").is_none());
        assert!(!other.signal(Signal::CONT));
    }

    #[test]
    fn the_brand_needs_both_workload_and_run_directory() {
        let brand = Brand::new("a", Path::new("/run/x"), None);
        assert!(brand.is_on(b"PATH=/bin\0HOMEOSTAT_RUN=/run/x\0HOMEOSTAT_WORKLOAD=a\0"));
        assert!(!brand.is_on(b"HOMEOSTAT_RUN=/run/y\0HOMEOSTAT_WORKLOAD=a\0"));
        assert!(!brand.is_on(b"HOMEOSTAT_RUN=/run/x\0HOMEOSTAT_WORKLOAD=ab\0"));
    }

    #[test]
    fn each_user_that_a_process_could_act_as_is_read() {
        let status = b"Name:\tsleep\nUmask:\t0022\nUid:\t1000\t0\t0\t1001\nGid:\t1\t1\t1\t1\n";
        assert_eq!(users(status), Some([1000, 0, 0, 1001]));
        assert_eq!(users(b"Name:\tsleep\n"), None);
    }

    #[test]
    fn what_was_executed_with_a_gain_of_rights_is_not_plain() {
        let auxv = |words: [usize; 6]| words.map(usize::to_ne_bytes).concat();
        assert!(is_plain(&auxv([6, 4096, 23, 0, 0, 0])));
        assert!(!is_plain(&auxv([6, 4096, 23, 1, 0, 0])));
        assert!(!is_plain(&auxv([6, 23, 0, 0, 0, 0])));
        let me = fs::read("/proc/self/auxv").expect("own auxv");
        assert!(is_plain(&me));
    }
}
