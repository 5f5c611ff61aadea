//! The daemon's end of a shim: starting one, finding one again, hearing it.
//!
//! Invariant: every wait has a deadline; a shim that says nothing is an error
//! text. What runs after a failed link is never guessed, but settled from the
//! records.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::record::Place;
use super::shim::{split, through};
use super::tree::Proc;
use super::wire::{Cause, FromShim, Hello, MESSAGE_MAX_BYTES, Spec, ToShim, encode};

/// From the fork of a shim to its first word; on a bad disk its records take long.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// From a connection to a running shim's first word.
const HELLO_DEADLINE: Duration = Duration::from_secs(2);
/// For the few bytes of a request.
const SEND_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    input: Vec<u8>,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The shim's own word: it came to run nothing.
    #[error("{detail}")]
    Refused { cause: Cause, detail: String },
    /// Nobody is there, or not yet, or not any more.
    #[error("{0}")]
    Absent(String),
    /// Somebody is, and says nothing.
    #[error("the shim {what} within {after:?}")]
    Silent { what: &'static str, after: Duration },
}

/// How shims are started.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// Where a test wants it killed.
    pub failpoint: Option<String>,
}

impl Program {
    /// Starts one; what it is for is in the specification.
    pub async fn start(&self, spec: &Spec) -> Result<(Link, Hello), LinkError> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(io_error)?;
        ours.set_nonblocking(true).map_err(io_error)?;
        let shim = self.spawn(spec, theirs.into()).map_err(|err| {
            LinkError::Absent(format!("cannot start {}: {err}", self.path.display()))
        })?;
        let begun = timeout(START_DEADLINE, async {
            let mut link = Link::over(UnixStream::from_std(ours).map_err(io_error)?);
            link.stream.write_all(&encode(spec)).await.map_err(io_error)?;
            let hello = link.hello().await?;
            Ok((link, hello))
        });
        begun.await.unwrap_or_else(|_| {
            // It may still be about to spawn. Dead, it leaves a record that is settled.
            if let Some(shim) = shim {
                shim.signal(Signal::KILL);
            }
            Err(LinkError::Silent { what: "did not start", after: START_DEADLINE })
        })
    }

    fn spawn(&self, spec: &Spec, stdin: OwnedFd) -> io::Result<Option<Proc>> {
        let own_words = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(spec.place.shim_log())?;
        let mut command = Command::new(&self.path);
        command
            .args(spec.launch.is_none().then_some("--adopt"))
            .arg(&spec.workload)
            .env_clear()
            .envs(self.failpoint.iter().map(|point| ("HOMEOSTAT_FAILPOINT", point)))
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(own_words);
        let mut child = command.spawn()?;
        let shim = child.id().and_then(Proc::of);
        // It is waited for, so that it leaves no zombie; nobody needs its status.
        tokio::spawn(async move {
            let _ = child.wait().await;
        });
        Ok(shim)
    }
}

impl Link {
    /// Finds a running shim. One that was started a moment ago has its lock
    /// before its socket, and is absent until then.
    pub async fn connect(place: &Place) -> Result<(Self, Hello), LinkError> {
        let connected = timeout(HELLO_DEADLINE, async {
            let path = place.socket();
            let (dir, name) = split(&path).map_err(io_error)?;
            let stream = UnixStream::connect(through(&dir, name)).await.map_err(io_error)?;
            let mut link = Self::over(stream);
            let hello = link.hello().await?;
            Ok((link, hello))
        });
        connected
            .await
            .unwrap_or(Err(LinkError::Silent { what: "does not answer", after: HELLO_DEADLINE }))
    }

    pub async fn send(&mut self, request: &ToShim) -> io::Result<()> {
        timeout(SEND_DEADLINE, self.stream.write_all(&encode(request))).await?
    }

    /// The next message; an error or none when there will be no more. May be
    /// dropped at any time without losing anything.
    pub async fn next(&mut self) -> io::Result<Option<FromShim>> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if self.input.len() > MESSAGE_MAX_BYTES {
                return Err(io::Error::other("a message without end"));
            }
            self.stream.readable().await?;
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) => return Err(err),
            }
        }
    }

    /// A message that came already.
    pub fn buffered(&mut self) -> io::Result<Option<FromShim>> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let message = serde_json::from_slice(&self.input[..end])?;
        self.input.drain(..=end);
        Ok(Some(message))
    }

    fn over(stream: UnixStream) -> Self {
        Self { stream, input: Vec::new() }
    }

    async fn hello(&mut self) -> Result<Hello, LinkError> {
        match self.next().await.map_err(io_error)? {
            Some(FromShim::Hello(hello)) => Ok(hello),
            Some(FromShim::Failed { cause, detail }) => Err(LinkError::Refused { cause, detail }),
            Some(_) => Err(LinkError::Absent("the shim speaks out of turn".into())),
            None => Err(LinkError::Absent("the shim died before it answered".into())),
        }
    }
}

fn io_error(err: io::Error) -> LinkError {
    LinkError::Absent(format!("the shim cannot be reached: {err}"))
}
