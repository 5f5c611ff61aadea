//! A fork that is born in its cgroup.
//!
//! A process that moves into a cgroup waits for the kernel to stop the world
//! of thread groups: an RCU grace period, 5 to 20 ms on an idle machine
//! (cgroup_attach_lock). A process cloned into one (`CLONE_INTO_CGROUP`,
//! Linux 5.7) waits for nothing, and a successor is there that much sooner.
//!
//! Invariant: the child runs the same preparation as under `Command::spawn`,
//! which takes over wherever the kernel or a seccomp filter has no clone3.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, WaitOptions};

/// include/uapi/linux/sched.h
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What became of it.
pub enum Forked {
    /// It executes its program.
    Running(u32),
    /// It could not, and is gone.
    Failed(io::Error),
    /// The kernel does not do this; nothing happened.
    Unsupported,
}

/// Starts the command in the cgroup of this directory. `on_child` is called
/// first in the child.
pub fn into_cgroup(command: &mut Command, cgroup: BorrowedFd<'_>, on_child: &dyn Fn()) -> Forked {
    let Ok((reader, writer)) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC) else {
        return Forked::Unsupported;
    };
    let (mut reader, mut writer) = (File::from(reader), File::from(writer));
    match clone3(cgroup) {
        Err(_) => Forked::Unsupported,
        Ok(None) => {
            on_child();
            // Comes back only with an error. The pipe closes with the exec.
            let errno = command.exec().raw_os_error().unwrap_or(0);
            let _ = writer.write_all(&errno.to_ne_bytes());
            // SAFETY: ends this process at once. Anything gentler would run
            // what the parent, of which this is a copy, has to run itself.
            unsafe { libc::_exit(127) }
        }
        Ok(Some(pid)) => {
            drop(writer);
            let mut errno = [0u8; 4];
            // The end of the pipe is the exec, or a child killed before it;
            // that one is seen to end like any other.
            if reader.read_exact(&mut errno).is_err() {
                return Forked::Running(pid.as_raw_pid().cast_unsigned());
            }
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            Forked::Failed(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
        }
    }
}

/// Whether kernel and seccomp filters know this fork. Nothing is made: asked to
/// be born in what is no cgroup, a child is refused with EBADF by a kernel that
/// knows, and with EINVAL or ENOSYS by one that does not (cgroup_get_from_file).
pub fn can_fork_into_cgroup() -> bool {
    let Ok(null) = File::open("/dev/null") else { return false };
    match clone3(null.as_fd()) {
        Err(err) => err.raw_os_error() == Some(libc::EBADF),
        // SAFETY: as above; a child that no kernel makes ends at once.
        Ok(None) => unsafe { libc::_exit(0) },
        Ok(Some(pid)) => {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            false
        }
    }
}

/// None in the child.
fn clone3(cgroup: BorrowedFd<'_>) -> io::Result<Option<Pid>> {
    // SAFETY: `clone_args` is plain numbers, for all of which zero means "not wanted".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    // SAFETY: without CLONE_VM this is a fork: the child has a copy of
    // everything, and no pointer is handed over but to `args`, which outlives
    // the call. The shim has one thread, so no lock in the copy is held by a
    // thread that the child lacks, and the child may allocate and use std on
    // its way to the exec.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    match i32::try_from(pid) {
        Ok(-1) | Err(_) => Err(io::Error::last_os_error()),
        Ok(pid) => Ok(Pid::from_raw(pid)),
    }
}
