//! Running a command of the configuration's: a probe, or a sensor.
//!
//! Invariant: what the command started in its process group has ended before
//! its end is told. A command that cannot even be killed never ends, and stays
//! alone.
//!
//! Each run has a thread of its own, because starting a program can hang as long
//! as reading one can: on a filesystem that does not answer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::sync::{oneshot, watch};

/// All that a command finds in its environment besides what the configuration adds.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a command writes beyond this is read and thrown away.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Which of its outlets are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Output,
    OutputAndErrors,
}

pub struct Program {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    heard: Heard,
    input: Option<File>,
    alive: watch::Receiver<bool>,
}

/// How a command came to its end, and what it wrote.
pub struct Ended {
    pub end: End,
    pub status: ExitStatus,
    pub output: Vec<u8>,
}

impl Program {
    /// `alive` is held by a run that outlives whoever asked for it.
    pub fn new(
        command: &[String],
        env: &BTreeMap<String, String>,
        heard: Heard,
        alive: &watch::Receiver<bool>,
    ) -> Self {
        let (command, env, alive) = (command.to_vec(), env.clone(), alive.clone());
        Self { command, env, heard, input: None, alive }
    }

    /// What it finds on its standard input; nothing, unless this says so.
    pub fn reads(self, input: File) -> Self {
        Self { input: Some(input), ..self }
    }

    /// As [`Self::reads`], for what fits into a pipe (64 KiB).
    pub fn reads_text(self, text: &str) -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        File::from(writer).write_all(text.as_bytes())?;
        fcntl_setfl(&reader, fcntl_getfl(&reader)? - OFlags::NONBLOCK)?;
        Ok(self.reads(File::from(reader)))
    }

    /// Cancelled, it kills what it started. The error says why it cannot be run.
    pub async fn run(&self, timeout: Duration) -> Result<Ended, String> {
        let (cancelled, cancel) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| format!("no pipe: {error}"))?;
        let (program, args) = self.command.split_first().ok_or("it names no program")?;
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", PATH).env("LANG", "C").envs(&self.env);
        command.current_dir("/").process_group(0);
        command.stdin(match &self.input {
            Some(input) => {
                Stdio::from(input.try_clone().map_err(|error| format!("no input: {error}"))?)
            }
            None => Stdio::null(),
        });
        command.stdout(Stdio::piped()).stderr(match self.heard {
            Heard::Output => Stdio::null(),
            Heard::OutputAndErrors => Stdio::piped(),
        });

        let (tell, told) = oneshot::channel();
        let alive = self.alive.clone();
        let thread = std::thread::Builder::new().name("program".into()).spawn(move || {
            let ended = run(command, timeout, &cancelled);
            // Nobody listens to a run that was cancelled.
            let _ = tell.send(ended.map_err(|error| format!("it cannot be run: {error}")));
            drop(alive);
        });
        thread.map_err(|error| format!("no thread: {error}"))?;
        let ended = told.await;
        drop(cancel);
        ended.unwrap_or_else(|_| Err("its thread ended without a word".into()))
    }
}

/// Runs a command to its end, however that comes about. `cancelled` is readable
/// when nobody waits any more.
fn run(mut command: Command, timeout: Duration, cancelled: &OwnedFd) -> io::Result<Ended> {
    let began = Instant::now();
    let mut running = Running::new(command.spawn()?)?;
    let end = running.wait(began + timeout, cancelled)?;
    let status = running.finish()?;
    Ok(Ended { end, status, output: running.output.kept })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Exited,
    TimedOut,
    Cancelled,
}

struct Running {
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    output: Output,
}

impl Running {
    fn new(mut child: Child) -> io::Result<Self> {
        let group = Pid::from_child(&child);
        let watch = |child: &mut Child| {
            let output = Output::new(child)?;
            Ok((pidfd_open(group, PidfdFlags::empty())?, output))
        };
        match watch(&mut child) {
            Ok((pidfd, output)) => Ok(Self { child, group, pidfd, output }),
            Err(error) => {
                kill(group);
                child.wait()?;
                Err(error)
            }
        }
    }

    fn wait(&mut self, deadline: Instant, cancelled: &OwnedFd) -> io::Result<End> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::TimedOut);
            }
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut fds = vec![
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::new(cancelled, PollFlags::IN),
            ];
            let pipes = self.output.pipes.iter();
            fds.extend(pipes.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
            match poll(&mut fds, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = |fd: &PollFd| !fd.revents().is_empty();
            let (exited, cancelled) = (ready(&fds[0]), ready(&fds[1]));
            // Before it exited it wrote what it had to say.
            self.output.drain();
            if exited {
                return Ok(End::Exited);
            }
            if cancelled {
                return Ok(End::Cancelled);
            }
        }
    }

    /// Kills what is left of the group, and only then asks for the exit status:
    /// until then the group's number cannot be given to another.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        kill(self.group);
        self.child.wait()
    }
}

fn kill(group: Pid) {
    // It fails when all of the group have ended, and that is what is wanted.
    let _ = kill_process_group(group, Signal::KILL);
}

/// What a command writes, on both its outlets: the beginning is kept.
struct Output {
    pipes: Vec<File>,
    kept: Vec<u8>,
}

impl Output {
    fn new(child: &mut Child) -> io::Result<Self> {
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        let pipes: Vec<File> = stdout.into_iter().chain(stderr).map(File::from).collect();
        for pipe in &pipes {
            fcntl_setfl(pipe.as_fd(), fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { pipes, kept: Vec::new() })
    }

    /// Takes what is there now, but no more than a pipe holds: a command that
    /// writes without end must not keep us from looking at the clock.
    fn drain(&mut self) {
        let kept = &mut self.kept;
        self.pipes.retain_mut(|pipe| {
            let mut chunk = [0; 4096];
            for _ in 0..16 {
                match pipe.read(&mut chunk) {
                    Ok(0) => return false,
                    Ok(len) => {
                        let room = OUTPUT_BYTES_MAX - kept.len();
                        kept.extend_from_slice(&chunk[..len.min(room)]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                }
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_writes_beyond_the_bound_is_thrown_away() {
        let mut big = Command::new("/bin/sh");
        big.args(["-c", "head -c 300000 /dev/zero"]).process_group(0);
        big.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (cancelled, _cancel) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let ended = run(big, Duration::from_secs(30), &cancelled).unwrap();
        assert_eq!((ended.end, ended.output.len()), (End::Exited, OUTPUT_BYTES_MAX));
        assert!(ended.status.success());
    }

    #[tokio::test]
    async fn errors_are_kept_only_where_they_are_heard() {
        let (_stop, alive) = watch::channel(false);
        let words = ["/bin/sh", "-c", "echo said; echo cried >&2"].map(str::to_owned);
        for (heard, expected) in
            [(Heard::Output, &b"said\n"[..]), (Heard::OutputAndErrors, b"said\ncried\n")]
        {
            let program = Program::new(&words, &BTreeMap::new(), heard, &alive);
            let ended = program.run(Duration::from_secs(30)).await.unwrap();
            assert_eq!(ended.output, expected);
        }
    }
}
