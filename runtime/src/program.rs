//! Running a command of the configuration's: a probe, a sensor, an action.
//!
//! Invariant: what the command started in its process group has ended before
//! its end is told. A command that cannot even be killed never ends, and stays
//! alone. One that [outlives](Program::outlives) its asker is left alone when
//! nobody waits any more; any other is killed.
//!
//! Each run has a thread of its own, because starting a program can hang as long
//! as reading one can: on a filesystem that does not answer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
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
/// A file of output that grows beyond this is emptied: what was said last counts.
/// While nobody looks, it is bounded by the command's own time.
const KEPT_BYTES_MAX: u64 = 1024 * 1024;
const KEPT_LOOK: Duration = Duration::from_secs(1);

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
    /// Its output goes there, and it outlives who asked for it.
    kept: Option<File>,
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
        Self { command, env, heard, input: None, kept: None, alive }
    }

    /// It is not killed when nobody waits any more, and writes to `output` (opened
    /// to append) instead of to a reader that would be gone.
    pub fn outlives(self, output: File) -> Self {
        Self { kept: Some(output), ..self }
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
        let outlet = || match &self.kept {
            Some(file) => file.try_clone().map(Stdio::from),
            None => Ok(Stdio::piped()),
        };
        let outlet = || outlet().map_err(|error| format!("no output: {error}"));
        command.stdout(outlet()?).stderr(match self.heard {
            Heard::Output => Stdio::null(),
            Heard::OutputAndErrors => outlet()?,
        });
        let kept = self.kept.as_ref().map(File::try_clone).transpose();
        let kept = kept.map_err(|error| format!("no output: {error}"))?;

        let (tell, told) = oneshot::channel();
        let alive = self.alive.clone();
        let thread = std::thread::Builder::new().name("program".into()).spawn(move || {
            let ended = run(command, timeout, &cancelled, kept);
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
fn run(
    mut command: Command,
    timeout: Duration,
    cancelled: &OwnedFd,
    kept: Option<File>,
) -> io::Result<Ended> {
    let began = Instant::now();
    let mut running = Running::new(command.spawn()?)?;
    running.output.file = kept;
    let end = running.wait(began + timeout, cancelled)?;
    if end == End::Cancelled && running.output.file.is_some() {
        return Err(io::Error::other("nobody waits for it; it goes on"));
    }
    let status = running.finish()?;
    Ok(Ended { end, status, output: running.output.read()? })
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
            let left = if self.output.file.is_some() { left.min(KEPT_LOOK) } else { left };
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
            // Before it exited it wrote what it had to say, and that is kept.
            if !exited {
                self.output.trim();
            }
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
    /// Where it writes to itself; the end is kept.
    file: Option<File>,
}

impl Output {
    fn new(child: &mut Child) -> io::Result<Self> {
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        let pipes: Vec<File> = stdout.into_iter().chain(stderr).map(File::from).collect();
        for pipe in &pipes {
            fcntl_setfl(pipe.as_fd(), fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(Self { pipes, kept: Vec::new(), file: None })
    }

    fn read(self) -> io::Result<Vec<u8>> {
        let Some(file) = self.file else { return Ok(self.kept) };
        let len = file.metadata()?.len();
        let mut end = vec![0; usize::try_from(len).unwrap_or(0).min(OUTPUT_BYTES_MAX)];
        let from = len - end.len() as u64;
        file.read_exact_at(&mut end, from)?;
        Ok(end)
    }

    /// Empties a file that has grown too long; who appends goes on at the new end.
    fn trim(&self) {
        if let Some(file) = &self.file
            && file.metadata().is_ok_and(|it| it.len() > KEPT_BYTES_MAX)
        {
            let _ = file.set_len(0);
        }
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
        let ended = run(big, Duration::from_secs(30), &cancelled, None).unwrap();
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

    #[tokio::test]
    async fn a_command_that_outlives_its_asker_goes_on_and_says_what_it_has_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let script = format!(
            "echo begun; touch {begun}; while ! [ -e {go} ]; do sleep 0.02; done; \
             echo further; echo more >&2; touch {over}",
            begun = path("begun"),
            go = path("go"),
            over = path("over"),
        );
        let output = || {
            let options = File::options().create(true).append(true).read(true).to_owned();
            options.open(path("output")).unwrap()
        };
        let until = async |name: &str| {
            while !folder.path().join(name).exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let (stop, alive) = watch::channel(false);
        let words = ["/bin/sh", "-c", &script].map(str::to_owned);
        let program = Program::new(&words, &BTreeMap::new(), Heard::OutputAndErrors, &alive);
        let program = program.outlives(output());
        tokio::select! {
            _ = program.run(Duration::from_secs(30)) => panic!("it waits for a word"),
            () = until("begun") => {}
        }
        drop((program, alive));
        // Its thread has let go of it.
        stop.closed().await;
        std::fs::write(path("go"), "").unwrap();
        tokio::time::timeout(Duration::from_secs(30), until("over")).await.unwrap();
        assert_eq!(std::fs::read_to_string(path("output")).unwrap(), "begun\nfurther\nmore\n");
    }

    #[tokio::test]
    async fn output_in_a_file_is_bounded_and_its_end_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let file = File::options().create(true).append(true).read(true).open(&output).unwrap();
        let (_stop, alive) = watch::channel(false);
        // It goes on when its output was emptied behind it.
        let script = format!(
            "head -c 3000000 /dev/zero; while [ -s {} ]; do sleep 0.02; done; echo the last",
            output.display()
        );
        let words = ["/bin/sh", "-c", &script].map(str::to_owned);
        let program = Program::new(&words, &BTreeMap::new(), Heard::OutputAndErrors, &alive);
        let ended = program.outlives(file).run(Duration::from_secs(30)).await.unwrap();
        assert_eq!(ended.output, b"the last\n");
        assert!(std::fs::metadata(&output).unwrap().len() < 100);
    }

    #[tokio::test]
    async fn the_last_words_of_a_command_that_wrote_much_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let file = File::options().create(true).append(true).read(true).open(&output).unwrap();
        let (_stop, alive) = watch::channel(false);
        let script = "head -c 2000000 /dev/zero; echo; echo the reason; exit 4";
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let program = Program::new(&words, &BTreeMap::new(), Heard::OutputAndErrors, &alive);
        let ended = program.outlives(file).run(Duration::from_secs(30)).await.unwrap();
        assert!(ended.output.ends_with(b"\nthe reason\n"));
        assert!(ended.output.len() <= OUTPUT_BYTES_MAX);
    }
}
