//! The talk between injector and server: over a Unix socket of its own, so that
//! breaking a server is no request its inference port could be asked for.
//!
//! One line of JSON each way per connection. A fault that kills is answered
//! first; any other is answered once it holds.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::moment::Moment;

/// The longest request or reply, in bytes.
pub const LINE_LEN_MAX: u64 = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    Apply(Fault),
    Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done { pid: u32, at: Moment, standing: Standing },
    Refused { pid: u32, why: String },
}

/// Every fault that holds at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub hang: bool,
    pub sigterm_ignored: bool,
    pub slow_ms: u64,
    pub wrong: bool,
    pub not_ready: bool,
    pub leak_mb_per_s: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no server listens on the control socket {}: {error}", path.display())]
    Connect { path: PathBuf, error: io::Error },
    #[error("the server behind {} did not answer: {error}", path.display())]
    Exchange { path: PathBuf, error: io::Error },
    #[error("the server behind {} answered what is no reply: {text:?}", path.display())]
    Reply { path: PathBuf, text: String },
}

/// Asks the server behind `path` once.
pub fn ask(path: &Path, request: &Request, timeout: Duration) -> Result<Reply, ControlError> {
    let stream = UnixStream::connect(path)
        .map_err(|error| ControlError::Connect { path: path.into(), error })?;
    let text = exchange(stream, request, timeout)
        .map_err(|error| ControlError::Exchange { path: path.into(), error })?;
    serde_json::from_str(&text).map_err(|_| ControlError::Reply { path: path.into(), text })
}

fn exchange(mut stream: UnixStream, request: &Request, timeout: Duration) -> io::Result<String> {
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut text = String::new();
    BufReader::new(io::Read::take(stream, LINE_LEN_MAX)).read_line(&mut text)?;
    Ok(text)
}
