//! What the kernel writes when something is wrong with the box.
//!
//! Sources: the rules of node-problem-detector (`config/kernel-monitor.json`,
//! `abrt-adaptor.json`), the kmsg events of gpud, and the kernel's own printk
//! texts (`mm/oom_kill.c`, `kernel/watchdog.c`, `kernel/hung_task.c`,
//! `fs/ext4/super.c`, `drivers/nvme/host/pci.c`, `drivers/md/`).
//!
//! Invariant: each text is one that the kernel writes only when that happened.

use homeostat_sdk::{CRITICAL, ERROR, WARNING};

/// One kind of message.
#[derive(Debug)]
pub struct Fault {
    /// The finding's kind is `host.NAME`.
    pub name: &'static str,
    pub severity: u8,
    pub patterns: &'static [&'static str],
    pub except: &'static [&'static str],
    pub times: u32,
    pub within_s: f64,
    /// Quiet for so long, it is over; 0 lasts until the next boot or action.
    pub quiet_s: f64,
    /// What it means, and what a person can do.
    pub what: &'static str,
    pub advice: &'static str,
}

const EVENT_S: f64 = 600.0;
const HOUR_S: f64 = 3_600.0;
/// What no quiet time makes well.
const UNTIL_BOOT_S: f64 = 0.0;

const BASE: Fault = Fault {
    name: "",
    severity: ERROR,
    patterns: &[],
    except: &[],
    times: 1,
    within_s: 60.0,
    quiet_s: EVENT_S,
    what: "",
    advice: "",
};

pub const ALL: &[Fault] = &[
    Fault {
        name: "oom-kill",
        patterns: &["Out of memory: Kill"],
        except: &["Memory cgroup"],
        what: "the box ran out of memory and the kernel killed a process",
        advice: "give workloads limits, or the box less to do",
        ..BASE
    },
    Fault {
        name: "cgroup-oom-kill",
        severity: WARNING,
        patterns: &["Memory cgroup out of memory: Kill"],
        what: "a group of processes reached its memory limit and one was killed",
        advice: "raise its limit, or find its leak",
        ..BASE
    },
    Fault {
        name: "soft-lockup",
        severity: CRITICAL,
        patterns: &[
            "BUG: soft lockup",
            "detected hard LOCKUP",
            "detected stalls on CPUs",
            "self-detected stall on CPU",
        ],
        what: "a CPU did nothing but run the kernel for too long",
        advice: "look for a broken driver or an overcommitted hypervisor",
        ..BASE
    },
    Fault {
        name: "kernel-hung-task",
        patterns: &["blocked for more than*seconds"],
        what: "a process has been stuck in the kernel for minutes",
        advice: "look at the disk or network storage that it waits for",
        ..BASE
    },
    Fault {
        name: "kernel-oops",
        severity: CRITICAL,
        patterns: &[
            "BUG: unable to handle",
            "BUG: kernel NULL pointer dereference",
            "kernel BUG at",
            "Oops: ",
            "general protection fault",
            "divide error: ",
        ],
        // Of a user's process, not of the kernel.
        except: &["traps: "],
        quiet_s: UNTIL_BOOT_S,
        what: "the kernel made an error and went on damaged",
        advice: "plan a reboot; update kernel or driver",
        ..BASE
    },
    Fault {
        name: "kernel-panic",
        severity: CRITICAL,
        patterns: &["Kernel panic - not syncing"],
        quiet_s: UNTIL_BOOT_S,
        what: "the kernel gave up",
        advice: "set kernel.panic so that the box boots again",
        ..BASE
    },
    Fault {
        name: "ext4-error",
        patterns: &["EXT4-fs error"],
        quiet_s: UNTIL_BOOT_S,
        what: "an ext4 filesystem is damaged",
        advice: "check it with e2fsck at the next boot, and the disk with smartctl",
        ..BASE
    },
    Fault {
        name: "xfs-error",
        severity: CRITICAL,
        patterns: &["XFS*orruption", "XFS*hutting down filesystem", "XFS*metadata I/O error"],
        quiet_s: UNTIL_BOOT_S,
        what: "an XFS filesystem is damaged or shut down",
        advice: "unmount it and run xfs_repair",
        ..BASE
    },
    Fault {
        name: "btrfs-error",
        patterns: &["BTRFS error", "BTRFS critical"],
        quiet_s: UNTIL_BOOT_S,
        what: "a btrfs filesystem is damaged",
        advice: "run btrfs scrub, and look at the disk with smartctl",
        ..BASE
    },
    Fault {
        name: "remounted-read-only",
        severity: CRITICAL,
        patterns: &["emounting filesystem read-only"],
        quiet_s: UNTIL_BOOT_S,
        what: "the kernel made a filesystem read-only after errors",
        advice: "save what you need, check the filesystem and the disk",
        ..BASE
    },
    Fault {
        name: "superblock-error",
        severity: CRITICAL,
        patterns: &["I/O error while writing superblock"],
        quiet_s: UNTIL_BOOT_S,
        what: "a filesystem could not write its superblock",
        advice: "replace the disk",
        ..BASE
    },
    Fault {
        name: "disk-io-error",
        patterns: &["Buffer I/O error on dev", "I/O error, dev ", "critical medium error, dev "],
        // Drives that may be empty.
        except: &["dev sr0", "dev fd0"],
        quiet_s: HOUR_S,
        what: "a disk did not read or write",
        advice: "look at it with smartctl, its cable, and plan to replace it",
        ..BASE
    },
    Fault {
        name: "beyond-end-of-device",
        patterns: &["attempt to access beyond end of device"],
        quiet_s: HOUR_S,
        what: "a filesystem is larger than its device",
        advice: "check partition table and filesystem",
        ..BASE
    },
    Fault {
        name: "nvme-timeout",
        patterns: &["nvme*QID*timeout", "nvme*controller is down; will reset"],
        quiet_s: HOUR_S,
        what: "an NVMe disk did not answer in time",
        advice: "update its firmware; look at its temperature and power states",
        ..BASE
    },
    Fault {
        name: "nvme-disabled",
        severity: CRITICAL,
        patterns: &["nvme*isabling device after reset failure", "nvme*emoving after probe failure"],
        quiet_s: UNTIL_BOOT_S,
        what: "an NVMe disk failed and was taken out of use",
        advice: "power the box off and on; replace the disk if it comes again",
        ..BASE
    },
    Fault {
        name: "nvme-path-failure",
        patterns: &["nvme*no usable path", "nvme*no available path"],
        what: "an NVMe disk cannot be reached on any path",
        advice: "look at its controllers",
        ..BASE
    },
    Fault {
        name: "raid-failure",
        severity: CRITICAL,
        patterns: &[
            "md/raid*Disk failure on",
            "md/raid*not enough operational",
            "md/raid*disk failure on",
        ],
        quiet_s: UNTIL_BOOT_S,
        what: "a disk of a RAID failed",
        advice: "replace it before the next one fails",
        ..BASE
    },
    Fault {
        name: "nfs-not-responding",
        severity: WARNING,
        patterns: &["nfs: server*not responding", "ock reclaim failed"],
        quiet_s: 300.0,
        what: "an NFS server does not answer",
        advice: "look at the server and the way to it",
        ..BASE
    },
    Fault {
        name: "hardware-error",
        severity: CRITICAL,
        patterns: &[
            "Hardware Error]: event severity: fatal",
            "Hardware Error]: event severity: recoverable",
            "Hardware Error]: Uncorrected",
            "Hardware Error]:*Machine Check Exception",
            "EDAC MC*UE ",
            "Memory failure: 0x",
        ],
        quiet_s: UNTIL_BOOT_S,
        what: "the hardware reports an error that it could not correct",
        advice: "test memory and processor; have the box looked at",
        ..BASE
    },
    Fault {
        name: "hardware-error-corrected",
        severity: WARNING,
        patterns: &[
            "Hardware Error]: event severity: corrected",
            "Hardware Error]: Corrected error",
            "Machine check events logged",
            "EDAC MC*CE ",
        ],
        times: 10,
        within_s: HOUR_S,
        quiet_s: HOUR_S,
        what: "the hardware corrects errors again and again",
        advice: "plan to replace the memory or part that the line names",
        ..BASE
    },
    Fault {
        name: "pcie-error",
        patterns: &["PCIe Bus Error: severity=Uncorrect"],
        quiet_s: HOUR_S,
        what: "a device on the PCIe bus failed to transfer",
        advice: "reseat the card; look at its power and cooling",
        ..BASE
    },
    Fault {
        name: "pcie-power",
        patterns: &["insufficient power on the PCIe slot", "nsufficient power on*slot"],
        quiet_s: UNTIL_BOOT_S,
        what: "a PCIe slot does not give its card enough power",
        advice: "move the card, or set the slot's power in the firmware",
        ..BASE
    },
    Fault {
        name: "port-module-temperature",
        patterns: &["Port module event*igh Temperature"],
        what: "a network port's module is too hot",
        advice: "look at the airflow, or replace the module",
        ..BASE
    },
    Fault {
        name: "cpu-throttled",
        severity: WARNING,
        patterns: &["cpu clock throttled"],
        what: "the processor is too hot and slowed itself down",
        advice: "clean the cooler, look at the room's temperature",
        ..BASE
    },
    Fault {
        name: "under-voltage",
        severity: WARNING,
        patterns: &["Under-voltage detected", "Undervoltage detected"],
        what: "the supply does not give the board enough voltage",
        advice: "use a stronger supply or a shorter cable",
        ..BASE
    },
    Fault {
        name: "conntrack-full",
        patterns: &["nf_conntrack: table full", "nf_conntrack*table full, dropping packet"],
        what: "the table of connections is full and packets are dropped",
        advice: "raise net.netfilter.nf_conntrack_max, or find who opens so many",
        ..BASE
    },
    Fault {
        name: "file-max-reached",
        patterns: &["VFS: file-max limit"],
        what: "the box has no file handles left",
        advice: "find who holds them with lsof, or raise fs.file-max",
        ..BASE
    },
    Fault {
        name: "unregister-netdevice",
        severity: WARNING,
        patterns: &["unregister_netdevice: waiting for*to become free"],
        times: 3,
        within_s: 1_200.0,
        what: "the kernel cannot let go of a network device",
        advice: "plan a reboot; update the kernel",
        ..BASE
    },
    Fault {
        name: "nccl-segfault",
        severity: WARNING,
        patterns: &["segfault at*in libnccl"],
        what: "a process crashed in the library that links GPUs",
        advice: "update NCCL and the driver together",
        ..BASE
    },
];
