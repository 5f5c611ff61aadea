//! From a launch to a process that has written itself down.
//!
//! Invariant: between fork and exec the child enters its cgroup and records
//! itself before anything else, so that a shim killed in this moment leaves no
//! process that nobody knows; and its user comes last, because all before may
//! need the right that it gives up.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{Gid, Uid};

use super::Refusal;
use super::fork::{self, Forked};
use crate::config::LimitsConfig;
use crate::model::AttemptId;
use crate::workload::cgroup::{Cgroup, Unlimited};
use crate::workload::record::ChildWord;
use crate::workload::tree::Brand;
use crate::workload::user::User;
use crate::workload::wire::{Cause, Launch};

/// What systemd and most distributions give a service.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the child's files come from.
pub struct Ends {
    /// The intent, open to be added to.
    pub record: File,
    pub cgroup: Option<Cgroup>,
    pub stdout: File,
    pub stderr: File,
}

/// Steps of the child, as it names them when one fails.
const STEP_RECORD: u8 = b'r';
const STEP_LIMIT: u8 = b'l';
const STEP_USER: u8 = b'u';
const STEP_DIRECTORY: u8 = b'd';

/// Gives back the pid of a process that executes its program.
pub fn spawn(
    launch: &Launch,
    brand: &Brand,
    attempt: AttemptId,
    limits: Vec<(Resource, Rlimit)>,
    ends: Ends,
) -> io::Result<u32> {
    let (program, args) = launch.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PATH);
    if let Some(user) = &launch.user {
        command.env("HOME", &user.home).env("USER", &user.name).env("LOGNAME", &user.name);
    }
    command.envs(&launch.env).envs(brand.env(attempt));
    command.stdin(Stdio::null()).stdout(ends.stdout).stderr(ends.stderr);

    let drop_to = launch.user.as_ref().and_then(privileges);
    let dir = match &launch.dir {
        Some(dir) => CString::new(dir.as_os_str().as_bytes())?,
        None => c"/".to_owned(),
    };
    let (record, cgroup) = (ends.record, ends.cgroup);
    let door = cgroup.as_ref().map(Cgroup::door).transpose()?;
    let inside = Arc::new(AtomicBool::new(false));
    let born_inside = inside.clone();
    let ready = move || {
        if let Some(door) = &door
            && !inside.load(Ordering::Relaxed)
            && rustix::io::write(door, b"0").is_err()
        {
            rustix::io::write(&record, b"outside\n")?;
        }
        step(&record, STEP_RECORD, || write_self(&record))?;
        rustix::process::setsid()?;
        rustix::process::umask(Mode::WGRP | Mode::WOTH);
        for (resource, limit) in &limits {
            step(&record, STEP_LIMIT, || rustix::process::setrlimit(*resource, *limit))?;
        }
        if let Some((uid, gid, groups)) = &drop_to {
            step(&record, STEP_USER, || {
                rustix::thread::set_thread_groups(groups)?;
                rustix::thread::set_thread_res_gid(*gid, *gid, *gid)?;
                rustix::thread::set_thread_res_uid(*uid, *uid, *uid)
            })?;
        }
        // Behind the user: a directory that it may not enter is an error now
        // and not a riddle later.
        step(&record, STEP_DIRECTORY, || rustix::process::chdir(&*dir))
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed.
    // The closure makes system calls on descriptors, numbers and a C string
    // that were ready before the fork; it neither allocates nor locks. The
    // per-thread calls that set groups and user bind the whole process,
    // because a forked child has one thread.
    unsafe { command.pre_exec(ready) };
    if let Some(dir) = cgroup.as_ref().and_then(|cgroup| File::open(cgroup.dir()).ok()) {
        let on_child = || born_inside.store(true, Ordering::Relaxed);
        match fork::into_cgroup(&mut command, dir.as_fd(), &on_child) {
            Forked::Running(pid) => return Ok(pid),
            Forked::Failed(err) => return Err(err),
            Forked::Unsupported => {}
        }
    }
    // Whoever watches the attempt waits for the child; nobody needs the handle.
    command.spawn().map(|child| child.id())
}

/// Turns what the system said into what a person can act on.
pub fn refusal(launch: &Launch, err: &io::Error, word: ChildWord) -> Refusal {
    let program = launch.command.first().map(String::as_str).unwrap_or_default();
    let failed = word.failed.and_then(|(step, errno)| Some((u8::try_from(step).ok()?, errno)));
    let (cause, detail) = match failed {
        Some((STEP_USER, errno)) => {
            let name = launch.user.as_ref().map_or("", |user| &user.name);
            (Cause::User, format!("cannot become user {name:?}: {}", text(errno)))
        }
        Some((STEP_LIMIT, errno)) => {
            (Cause::Limit, format!("cannot set its limits: {}", text(errno)))
        }
        Some((STEP_DIRECTORY, errno)) => {
            let dir = launch.dir.as_deref().map_or("/".into(), |dir| dir.display().to_string());
            (Cause::Directory, format!("cannot enter {dir}: {}", text(errno)))
        }
        Some((_, errno)) => (Cause::System, format!("cannot record the child: {}", text(errno))),
        // The child recorded itself and every step went well: it was the exec.
        None if word.proc.is_some() => {
            let missing =
                err.kind() == io::ErrorKind::NotFound && std::path::Path::new(program).exists();
            let hint = if missing { "; the interpreter that it names is missing" } else { "" };
            (Cause::Program, format!("cannot execute {program}: {err}{hint}"))
        }
        None => (Cause::System, format!("cannot make a process for {program}: {err}")),
    };
    Refusal { cause, detail }
}

/// Resource limits, for what no cgroup controller took.
pub fn limits(
    wanted: &LimitsConfig,
    unlimited: Unlimited,
    user: Option<&User>,
) -> (Vec<(Resource, Rlimit)>, Vec<String>) {
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    let mut limits = Vec::new();
    let mut notes = Vec::new();
    if let Some(max) = wanted.open_files_max {
        limits.push((Resource::Nofile, both(max)));
    }
    if let Some(max) = wanted.core_max_bytes {
        limits.push((Resource::Core, both(max)));
    }
    if let Some(max) = wanted.memory_max_bytes.filter(|_| unlimited.memory) {
        // Private writable mappings, setrlimit(2): nearer to what is meant than
        // the address space, of which an inference runtime reserves terabytes.
        limits.push((Resource::Data, both(max)));
        notes.push("memory is limited per process: no memory controller here".into());
    }
    if let Some(max) = wanted.processes_max.filter(|_| unlimited.processes) {
        // RLIMIT_NPROC counts all processes of a user and spares root.
        if user.is_some_and(|user| user.uid != 0) {
            limits.push((Resource::Nproc, both(max)));
            notes.push("processes are limited per user: no pids controller here".into());
        } else {
            notes.push("processes are not limited: no pids controller here".into());
        }
    }
    if unlimited.cpu && wanted.cpu_weight.is_some() {
        notes.push("CPU weight is not set: no cpu controller here".into());
    }
    (limits, notes)
}

/// None when the shim is that user already: then nothing needs the right to.
fn privileges(user: &User) -> Option<(Uid, Gid, Vec<Gid>)> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let same = rustix::process::getuid() == uid && rustix::process::getgid() == gid;
    let groups = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    (!same || uid.is_root()).then_some((uid, gid, groups))
}

/// In the child: says which step failed before it gives up.
fn step(
    record: &File,
    name: u8,
    attempt: impl FnOnce() -> rustix::io::Result<()>,
) -> io::Result<()> {
    let Err(errno) = attempt() else { return Ok(()) };
    let mut line = *b"failed ? 00000\n";
    line[7] = name;
    let mut rest = errno.raw_os_error().unsigned_abs();
    for digit in line[9..14].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
    let _ = rustix::io::write(record, &line);
    Err(errno.into())
}

/// In the child: its own line of `/proc`, whole.
fn write_self(record: &File) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = rustix::fs::openat(CWD, c"/proc/self/stat", flags, Mode::empty())?;
    let mut line = [0u8; 1024];
    let len = rustix::io::read(&stat, &mut line)?;
    rustix::io::write(record, &line[..len]).map(|_| ())
}

fn text(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}
