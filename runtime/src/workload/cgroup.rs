//! A cgroup for each workload: an identity that outlives shim and daemon. Its
//! members, its end and its kill need no parent.
//!
//! Invariant: only the second hierarchy is used, wherever it is mounted, and a
//! machine without one runs workloads all the same.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use crate::config::LimitsConfig;

/// The kernel's own, cgroups(7) and its `cgroup-v2.rst`.
const CPU_WEIGHT: &str = "100";
/// A workload that nests cgroups deeper than this keeps its empty ones.
const DEPTH_MAX: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// The one in this directory, made or not.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Makes it and sets the limits that its controllers know. Gives back
    /// which of them they did not. It may be there from an earlier attempt: what
    /// is limited no more is set back to what the kernel begins with.
    pub fn make(dir: &Path, limits: &LimitsConfig) -> io::Result<(Self, Unlimited)> {
        fs::create_dir_all(dir)?;
        let set = |file: &str, limit: Option<u64>, none: &str| {
            let text = limit.map_or(none.to_owned(), |limit| limit.to_string());
            fs::write(dir.join(file), text).is_ok() || limit.is_none()
        };
        let unlimited = Unlimited {
            memory: !set("memory.max", limits.memory_max_bytes, "max"),
            processes: !set("pids.max", limits.processes_max, "max"),
            cpu: !set("cpu.weight", limits.cpu_weight, CPU_WEIGHT),
        };
        Ok((Self::at(dir.to_owned()), unlimited))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a process writes `0` to enter.
    pub fn door(&self) -> io::Result<File> {
        File::options().write(true).open(self.dir.join("cgroup.procs"))
    }

    /// Becomes ready with `POLLPRI` when `populated` changes. The kernel may
    /// hold a second notice back for 10 ms (`CGROUP_FILE_NOTIFY_MIN_INTV`).
    pub fn events(&self) -> io::Result<File> {
        File::open(self.dir.join("cgroup.events"))
    }

    /// Whether any process lives in it or below. Zombies do not count.
    pub fn populated(&self) -> bool {
        fs::read_to_string(self.dir.join("cgroup.events"))
            .is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
    }

    /// Members, those of nested cgroups included.
    pub fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        walk(&self.dir, DEPTH_MAX, &mut |dir| {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        });
        pids
    }

    /// SIGKILL for all, forks in flight included; before Linux 5.14 one by one.
    pub fn kill(&self) {
        if !self.populated() || fs::write(self.dir.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for pid in self.pids() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }

    /// Takes it away, if it is empty.
    pub fn remove(&self) {
        walk(&self.dir, DEPTH_MAX, &mut |dir| {
            let _ = fs::remove_dir(dir);
        });
    }
}

/// Which limits no controller could take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unlimited {
    pub memory: bool,
    pub processes: bool,
    pub cpu: bool,
}

impl Unlimited {
    pub fn all(limits: &LimitsConfig) -> Self {
        Self {
            memory: limits.memory_max_bytes.is_some(),
            processes: limits.processes_max.is_some(),
            cpu: limits.cpu_weight.is_some(),
        }
    }
}

/// The directory under which this daemon's workloads have their cgroups, made
/// here, or why there is none. Named after the run directory, so that two
/// daemons on one machine never meet in one cgroup.
pub fn home(run: &Path) -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|err| format!("cannot read /proc/self/mountinfo: {err}"))?;
    let own = fs::read_to_string("/proc/self/cgroup")
        .map_err(|err| format!("cannot read /proc/self/cgroup: {err}"))?;
    let own = own_dir(&mounts, &own).ok_or("no cgroup 2 hierarchy is mounted here")?;
    let base = delegated(&own);
    let run = fs::canonicalize(run).unwrap_or_else(|_| run.to_owned());
    let tag = crc32fast::hash(run.as_os_str().as_encoded_bytes());
    let home = base.join(format!("homeostat-{tag:08x}"));
    enable(&base);
    fs::create_dir_all(&home).map_err(|err| format!("cannot make {}: {err}", home.display()))?;
    enable(&home);
    let writable = rustix::fs::access(home.join("cgroup.procs"), rustix::fs::Access::WRITE_OK);
    writable.map_err(|err| format!("cannot write {}/cgroup.procs: {err}", home.display()))?;
    Ok(home)
}

/// What a daemon started from here would find of cgroup 2, without touching it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Where it would make the workloads' cgroups.
    pub dir: PathBuf,
    /// Why it could not, if so.
    pub closed: Option<String>,
    /// `cgroup.kill`: a whole tree ends at once (Linux 5.14).
    pub kill: bool,
    /// `cgroup.freeze`: a whole tree stands still (Linux 5.2).
    pub freeze: bool,
    /// Controllers that could be passed on.
    pub controllers: Vec<String>,
}

/// Looks at the machine whose file system begins at `root`; the error says
/// what is missing.
pub fn survey(root: &Path) -> Result<Survey, String> {
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).map_err(|err| format!("cannot read /{path}: {err}"))
    };
    let (mounts, own) = (read("proc/self/mountinfo")?, read("proc/self/cgroup")?);
    let own = own_dir(&mounts, &own).ok_or("no cgroup 2 hierarchy is mounted here")?;
    let dir = delegated(&root.join(own.strip_prefix("/").unwrap_or(&own)));
    let writable = rustix::fs::access(&dir, rustix::fs::Access::WRITE_OK)
        .and_then(|()| rustix::fs::access(dir.join("cgroup.procs"), rustix::fs::Access::WRITE_OK));
    // The root of the hierarchy has neither file; any other cgroup has what the kernel can.
    let has = |file: &str| {
        let below = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        [dir.clone()].into_iter().chain(below).any(|dir| dir.join(file).exists())
    };
    let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    Ok(Survey {
        closed: writable.err().map(|err| err.to_string()),
        kill: has("cgroup.kill"),
        freeze: has("cgroup.freeze"),
        controllers: controllers.split_whitespace().map(str::to_owned).collect(),
        dir,
    })
}

/// Under systemd's `DelegateSubgroup=` the daemon sits in a leaf of what was
/// delegated to it; controllers can be passed on only beside that leaf.
fn delegated(own: &Path) -> PathBuf {
    let is_delegated = |dir: &Path| {
        let mut value = [0u8; 8];
        ["trusted.delegate", "user.delegate"]
            .iter()
            .any(|name| rustix::fs::getxattr(dir, *name, &mut value[..]).is_ok())
    };
    match own.parent() {
        Some(parent) if !is_delegated(own) && is_delegated(parent) => parent.to_owned(),
        _ => own.to_owned(),
    }
}

/// Passes controllers on, as far as the kernel lets it: a cgroup that holds
/// processes itself may not, the root of the hierarchy excepted.
fn enable(dir: &Path) {
    for controller in ["+memory", "+pids", "+cpu"] {
        let _ = fs::write(dir.join("cgroup.subtree_control"), controller);
    }
}

/// Where the calling process's own cgroup is to be seen in the file system:
/// proc(5), `mountinfo` and `cgroups(7)`.
fn own_dir(mountinfo: &str, cgroup: &str) -> Option<PathBuf> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        if back.split(' ').next()? != "cgroup2" {
            return None;
        }
        let mut fields = front.split(' ').skip(3);
        let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
        let below = Path::new(path).strip_prefix(&root).ok()?;
        // Outside the namespace's root there is nothing that we could name.
        let inside = below.components().all(|part| part.as_os_str() != "..");
        inside.then(|| if below.as_os_str().is_empty() { point.clone() } else { point.join(below) })
    })
}

/// `mountinfo` writes space, tab, newline and backslash as `\ooo`.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Children first, so that they can be removed on the way.
fn walk(dir: &Path, depth: u32, visit: &mut dyn FnMut(&Path)) {
    if depth > 0 {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), depth - 1, visit);
            }
        }
    }
    visit(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_hierarchy_is_found_wherever_it_is_mounted() {
        let hybrid = "37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "9:name=systemd:/\n0::/system.slice/homeostat.service\n";
        assert_eq!(
            own_dir(hybrid, own),
            Some("/sys/fs/cgroup/unified/system.slice/homeostat.service".into())
        );
        assert_eq!(own_dir(hybrid, "0::/\n"), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(own_dir(hybrid, "9:name=systemd:/\n"), None, "version 1 alone");
        assert_eq!(own_dir("", "0::/\n"), None, "not mounted");
    }

    #[test]
    fn a_limit_that_was_taken_out_of_the_configuration_is_lifted() {
        let dir = tempfile::tempdir().expect("a directory");
        let read = |file: &str| fs::read_to_string(dir.path().join(file)).expect("written");
        let limits = LimitsConfig {
            memory_max_bytes: Some(4096),
            processes_max: Some(7),
            cpu_weight: Some(50),
            ..LimitsConfig::default()
        };
        for (limits, expected) in
            [(limits, ["4096", "7", "50"]), (LimitsConfig::default(), ["max", "max", "100"])]
        {
            let (_, unlimited) = Cgroup::make(dir.path(), &limits).expect("made");
            assert_eq!(unlimited, Unlimited::default());
            assert_eq!(["memory.max", "pids.max", "cpu.weight"].map(read), expected);
        }
    }

    #[test]
    fn a_container_that_mounts_a_part_sees_its_own_paths() {
        let part = "41 31 0:38 /docker/abc /sys/fs/cgroup rw master:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(own_dir(part, "0::/docker/abc/x"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(own_dir(part, "0::/docker/other"), None);
        let space = "41 31 0:38 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_dir(space, "0::/"), Some("/mnt/a b".into()));
        assert_eq!(own_dir(space, "0::/../up"), None);
    }
}
