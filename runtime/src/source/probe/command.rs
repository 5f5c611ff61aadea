//! Command probes: the convention of the Nagios plugins
//! (<https://nagios-plugins.org/doc/guidelines.html>): exit 0 is good, 1 a
//! warning and still good, 2 bad, anything else no reading; the first line of the
//! output says why.
//!
//! Invariant: what the command started in its process group has ended before its
//! verdict is given. A command that cannot even be killed gives none, and stays
//! alone.
//!
//! Each run has a thread of its own, because starting a program can hang as long
//! as reading one can: on a filesystem that does not answer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::sync::{oneshot, watch};

use super::Verdict;

/// All that a command finds in its environment besides what the configuration adds.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a command writes beyond this is read and thrown away.
const OUTPUT_BYTES_MAX: usize = 4096;
const DETAIL_CHARS_MAX: usize = 200;

pub(super) struct CommandProbe {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    alive: watch::Receiver<bool>,
}

impl CommandProbe {
    pub(super) fn new(
        command: &[String],
        env: &BTreeMap<String, String>,
        alive: &watch::Receiver<bool>,
    ) -> Self {
        Self { command: command.to_vec(), env: env.clone(), alive: alive.clone() }
    }

    /// Cancelled, it kills what it started.
    pub(super) async fn ask(&mut self, timeout: Duration) -> Verdict {
        let (cancelled, cancel) = match pipe_with(PipeFlags::CLOEXEC) {
            Ok(pipe) => pipe,
            Err(error) => return Verdict::none(format!("no pipe: {error}")),
        };
        let Some((program, args)) = self.command.split_first() else {
            return Verdict::none("it names no program");
        };
        let mut command = Command::new(program);
        command.args(args).env_clear().env("PATH", PATH).env("LANG", "C").envs(&self.env);
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());

        let (tell, told) = oneshot::channel();
        let alive = self.alive.clone();
        let thread = std::thread::Builder::new().name("source-command".into()).spawn(move || {
            let verdict = run(command, timeout, &cancelled)
                .unwrap_or_else(|error| Verdict::none(format!("it cannot be run: {error}")));
            // Nobody listens to a probe that was cancelled.
            let _ = tell.send(verdict);
            drop(alive);
        });
        if let Err(error) = thread {
            return Verdict::none(format!("no thread: {error}"));
        }
        let verdict = told.await;
        drop(cancel);
        verdict.unwrap_or_else(|_| Verdict::none("its thread ended without a word"))
    }
}

/// Runs a command to its end, however that comes about. `cancelled` is readable
/// when nobody waits any more.
fn run(mut command: Command, timeout: Duration, cancelled: &OwnedFd) -> io::Result<Verdict> {
    let began = Instant::now();
    let mut running = Running::new(command.spawn()?)?;
    let end = running.wait(began + timeout, cancelled)?;
    let status = running.finish()?;
    Ok(match end {
        End::Exited => judge(status, &running.output.line()),
        End::TimedOut => {
            let ms = timeout.as_millis();
            Verdict::bad(format!("it did not end within {ms} ms and was killed"))
        }
        End::Cancelled => Verdict::none("it was cancelled"),
    })
}

fn judge(status: ExitStatus, line: &str) -> Verdict {
    let said = |word: &str| match line {
        "" => word.to_owned(),
        line => format!("{word}: {line}"),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) => Verdict::good(said("exit 0")),
        (Some(1), _) => Verdict::good(said("exit 1, a warning")),
        (Some(2), _) => Verdict::bad(said("exit 2")),
        (Some(code), _) => Verdict::none(said(&format!("exit {code}"))),
        (None, signal) => Verdict::none(said(&format!("signal {}", signal.unwrap_or(0)))),
    }
}

enum End {
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

    /// The first line that says something, fit to be shown.
    fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        line.chars().take(DETAIL_CHARS_MAX).map(plain).collect()
    }
}

#[cfg(test)]
mod tests;
