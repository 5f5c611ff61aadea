//! What kernel, boot and user give.
//!
//! Invariant: files are read below `root`, so that a test can pretend them;
//! what only a system call tells comes in as [`Powers`].

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Access, access};

use super::Check;
use crate::config::Config;
use crate::source;
use crate::workload;

/// What the kernel lets this process do.
#[derive(Clone, Debug)]
pub(super) struct Powers {
    pub uid: u32,
    /// capabilities(7), the effective set.
    pub capabilities: u64,
    pub pidfd: bool,
    pub fork_into_cgroup: bool,
    /// Whether the kernel's clock is disciplined; none when it does not say.
    pub synchronised: Option<bool>,
}

/// Bit, name, and what is lost without it.
const CAPABILITIES: [(u32, &str, &str); 6] = [
    (1, "CAP_DAC_OVERRIDE", "files of others cannot be read or checked"),
    (5, "CAP_KILL", "workloads of other users cannot be stopped"),
    (6, "CAP_SETGID", "a workload's `user` cannot be set"),
    (7, "CAP_SETUID", "a workload's `user` cannot be set"),
    (19, "CAP_SYS_PTRACE", "processes of other users are seen without descriptors and environment"),
    (34, "CAP_SYSLOG", "the kernel's messages may be closed to it"),
];
const SETUID: u64 = 1 << 7;
/// CAP_SYS_RAWIO and CAP_SYS_ADMIN: commands to disks.
const DISK_POWERS: u64 = 1 << 17 | 1 << 21;

impl Powers {
    pub fn here() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let own = rustix::process::getpid();
        Self {
            uid: rustix::process::geteuid().as_raw(),
            capabilities: set.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0),
            pidfd: rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).is_ok(),
            fork_into_cgroup: workload::can_fork_into_cgroup(),
            synchronised: synchronised(),
        }
    }
}

/// adjtimex(2): `TIME_ERROR` is the answer of a clock that nobody disciplines,
/// whichever of chrony, ntpd and systemd-timesyncd does.
fn synchronised() -> Option<bool> {
    // SAFETY: `timex` is plain numbers; all zero asks for nothing to be set.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the one pointer is to a live `timex`, which the call only fills.
    match unsafe { libc::adjtimex(&raw mut timex) } {
        -1 => None,
        state => Some(state != libc::TIME_ERROR),
    }
}

pub(super) fn checks(root: &Path, powers: &Powers, config: &Config) -> Vec<Check> {
    let mut checks = vec![user(powers, config)];
    checks.extend(cgroups(root, powers));
    checks.extend([
        pidfd(powers),
        pressure(root),
        kernel_log(root),
        temperatures(root),
        systemd(root),
        clock(powers),
        boot_id(root),
    ]);
    checks.extend(disk_health(root, powers, config));
    checks
}

fn user(powers: &Powers, config: &Config) -> Check {
    let who = if powers.uid == 0 { "root".to_owned() } else { format!("user {}", powers.uid) };
    let lost: Vec<_> =
        CAPABILITIES.iter().filter(|(bit, _, _)| powers.capabilities >> bit & 1 == 0).collect();
    let mut costs: Vec<&str> = lost.iter().map(|(_, _, costs)| *costs).collect();
    costs.dedup();
    let costs = costs.join("; ");
    let own = powers.uid.to_string();
    let foreign: Vec<_> = config
        .workloads
        .iter()
        .filter(|it| it.user.as_ref().is_some_and(|user| *user != own))
        .map(|it| it.name.as_str())
        .collect();
    if !foreign.is_empty() && powers.capabilities & SETUID == 0 {
        let names = foreign.join(", ");
        let found = format!("{who}, without CAP_SETUID; to run as another user: {names}");
        return Check::cannot("user", found, &costs, "run the daemon as root, or leave `user` out");
    }
    if lost.is_empty() {
        return Check::ok("user", format!("{who}, with every capability that is used"));
    }
    let names: Vec<_> = lost.iter().map(|(_, name, _)| *name).collect();
    let found = format!("{who}, without {}", names.join(", "));
    Check::lacks("user", found, &costs, "run the daemon as root, or give it these capabilities")
}

fn cgroups(root: &Path, powers: &Powers) -> Vec<Check> {
    const TREE: &str = "what a workload leaves behind is searched in the process table";
    let survey = match workload::survey(root) {
        Ok(survey) => survey,
        Err(why) => {
            return vec![Check::lacks(
                "cgroup",
                why,
                &format!("{TREE}; limits are per process"),
                "mount cgroup 2: systemd.unified_cgroup_hierarchy=1 on the kernel's command line",
            )];
        }
    };
    let dir = survey.dir.display();
    if let Some(why) = survey.closed {
        return vec![Check::lacks(
            "cgroup",
            format!("{dir} is closed to this user: {why}"),
            &format!("{TREE}; limits are per process"),
            "run the daemon as root, or as a unit with Delegate=yes",
        )];
    }
    let mut checks = vec![Check::ok("cgroup", format!("{dir}, open to make cgroups in"))];
    let mut look = |name: &str, there: bool, found: &str, lost: &str, costs: &str, remedy: &str| {
        checks.push(match there {
            true => Check::ok(name, found),
            false => Check::lacks(name, lost, costs, remedy),
        });
    };
    let linux = "a newer kernel; nothing breaks without";
    let memory = survey.controllers.iter().any(|it| it == "memory");
    look(
        "tree kill",
        survey.kill,
        "cgroup.kill",
        "no cgroup.kill (Linux 5.14)",
        "a tree is killed process by process, and a fork bomb may outrun that",
        linux,
    );
    look(
        "freeze",
        survey.freeze,
        "cgroup.freeze",
        "no cgroup.freeze (Linux 5.2)",
        "a tree cannot be held still",
        linux,
    );
    look(
        "memory limit",
        memory,
        "the memory controller can be passed on",
        "no memory controller in this cgroup",
        "memory_max limits each process by itself, not the whole workload",
        "boot with cgroup 2 alone; on a Raspberry Pi with cgroup_enable=memory; \
         in a container pass the controller on",
    );
    look(
        "birth in cgroup",
        powers.fork_into_cgroup,
        "clone3 into a cgroup",
        "no clone3 into a cgroup (Linux 5.7, or a seccomp filter)",
        "a restart is some 10 ms slower",
        "a newer kernel, or a filter that knows clone3",
    );
    checks
}

fn pidfd(powers: &Powers) -> Check {
    if powers.pidfd {
        return Check::ok("pidfd", "the end of a process is seen at once");
    }
    let costs = "the end of a workload that was adopted is seen late";
    Check::lacks("pidfd", "no pidfd (Linux 5.3, or a seccomp filter)", costs, "a newer kernel")
}

fn pressure(root: &Path) -> Check {
    // Where it is compiled in and switched off, it opens and does not read.
    match fs::read_to_string(root.join("proc/pressure/memory")) {
        Ok(_) => Check::ok("pressure", "/proc/pressure"),
        Err(err) => Check::lacks(
            "pressure",
            format!("/proc/pressure/memory: {err}"),
            "how long work waits for CPU, memory and disks is not known",
            "boot with psi=1 on the kernel's command line",
        ),
    }
}

fn kernel_log(root: &Path) -> Check {
    let path = root.join("dev/kmsg");
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(_) => Check::ok("kernel log", "/dev/kmsg reads"),
        Err(err) => Check::lacks(
            "kernel log",
            format!("/dev/kmsg: {err}"),
            "OOM kills, disk and driver errors are not seen",
            "run as root or with CAP_SYSLOG, or set kernel.dmesg_restrict=0; \
             a container has to be given the device",
        ),
    }
}

fn temperatures(root: &Path) -> Check {
    let inputs = |dir: &str, wanted: fn(&str) -> bool| {
        let chips = fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
        let files =
            chips.flat_map(|chip| fs::read_dir(chip.path()).into_iter().flatten().flatten());
        files.filter(|file| file.file_name().to_str().is_some_and(wanted)).count()
    };
    let chips =
        inputs("sys/class/hwmon", |name| name.starts_with("temp") && name.ends_with("_input"));
    let zones = inputs("sys/class/thermal", |name| name == "temp");
    match chips + zones {
        0 => Check::lacks(
            "temperature",
            "no hwmon chip and no thermal zone",
            "overheating is not seen",
            "load the board's sensor driver; a virtual machine has none",
        ),
        _ => Check::ok("temperature", format!("{chips} of hwmon, {zones} thermal zones")),
    }
}

/// Nothing to say where there is no such disk and nobody asks.
fn disk_health(root: &Path, powers: &Powers, config: &Config) -> Option<Check> {
    let name = "disk health";
    let disks = source::disks(&root.join("sys"));
    let Some(smart) = &config.source.smart else {
        return (!disks.is_empty()).then(|| {
            Check::lacks(
                name,
                format!("{} not asked", disks.join(", ")),
                "a disk that wears out is not seen before it fails",
                "install smartmontools, and say smart = true under [source]",
            )
        });
    };
    let costs = "the health of disks is not known";
    let program = smart.smartctl.display();
    if let Err(error) = access(&smart.smartctl, Access::EXEC_OK) {
        let found = format!("{program}: {}", std::io::Error::from(error));
        let remedy = "install smartmontools, or correct smartctl under [source]";
        return Some(Check::cannot(name, found, costs, remedy));
    }
    if powers.capabilities & DISK_POWERS != DISK_POWERS {
        let found = "CAP_SYS_ADMIN and CAP_SYS_RAWIO are not there";
        let remedy = "run the daemon as root or with both, or leave smart out of [source]";
        return Some(Check::cannot(name, found, costs, remedy));
    }
    Some(match disks.is_empty() {
        true => Check::lacks(
            name,
            "no disk that could be asked",
            costs,
            "leave smart out of [source]; eMMC and cards tell their wear without it",
        ),
        false => Check::ok(name, format!("{} asked by {program}", disks.join(", "))),
    })
}

fn systemd(root: &Path) -> Check {
    // sd_booted(3)
    if root.join("run/systemd/system").is_dir() {
        return Check::ok("systemd", "it runs this box");
    }
    let costs = "no units to watch or restart, and nothing that restarts the daemon";
    Check::lacks(
        "systemd",
        "it does not run this box",
        costs,
        "let your own init restart the daemon",
    )
}

fn clock(powers: &Powers) -> Check {
    match powers.synchronised {
        Some(true) => Check::ok("clock", "it is synchronised"),
        Some(false) => Check::lacks(
            "clock",
            "nobody synchronises it",
            "records are told by the box's age; their time of day may be wrong",
            "run chrony or systemd-timesyncd",
        ),
        None => Check::lacks(
            "clock",
            "the kernel does not say whether it is synchronised",
            "a clock that is wrong is not seen",
            "allow adjtimex in the seccomp filter",
        ),
    }
}

fn boot_id(root: &Path) -> Check {
    match fs::read_to_string(root.join("proc/sys/kernel/random/boot_id")) {
        Ok(id) => Check::ok("boot id", id.trim()),
        Err(err) => Check::cannot(
            "boot id",
            format!("/proc/sys/kernel/random/boot_id: {err}"),
            "the daemon does not start: it could not tell one boot from another",
            "mount /proc",
        ),
    }
}
