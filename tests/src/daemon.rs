//! The daemon as a process: started, killed, stopped, started again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::process;
use crate::program;
use crate::wait::{Seen, look_until};

pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `homeostat run`. Its output goes behind what earlier lives wrote.
    pub fn start(config: &Path, log: &Path, env: &[(&str, &str)]) -> io::Result<Self> {
        Self::start_at(&program::program("homeostat"), config, log, env)
    }

    /// As [`Daemon::start`], from a program that lies elsewhere.
    pub fn start_at(
        program: &Path,
        config: &Path,
        log: &Path,
        env: &[(&str, &str)],
    ) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(config)
            .envs(env.iter().copied())
            .env(process::MARK, config.parent().unwrap_or(config))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().expect("our own child can be waited for")
    }

    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// The status, once it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub fn until_ended(&mut self, deadline: Duration) -> ExitStatus {
        let log = self.log.clone();
        look_until(deadline, || {
            Seen::some(self.child.try_wait().expect("our own child can be waited for"), || {
                format!("the daemon still runs; its log:\n{}", tail(&log))
            })
        })
        .unwrap_or_else(|seen| panic!("waited {deadline:?} for the daemon to end: {seen}"))
    }

    /// SIGTERM, and waits for an orderly end.
    #[track_caller]
    pub fn stop(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.until_ended(deadline)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a log, for a message.
pub fn tail(log: &Path) -> String {
    const LINES: usize = 40;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
