//! A client of the daemon's socket: the view, the journal, an operator's word.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use homeostat::model::{Command, Record, View};

use crate::http::{self, Address, Reply};

/// Longer than any answer takes on a box that is merely busy.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Client {
    address: Address,
}

impl Client {
    pub fn new(socket: PathBuf) -> Self {
        Self { address: Address::Socket(socket) }
    }

    pub fn view(&self) -> io::Result<View> {
        self.get("/v1/status")?.json()
    }

    /// Every record that is kept, oldest first.
    pub fn journal(&self) -> io::Result<Vec<Record>> {
        let reply = self.get("/v1/events?from=1")?;
        reply.text().lines().map(record).collect()
    }

    /// Records from `from` on, as they come, until the daemon is gone.
    pub fn follow(
        &self,
        from: u64,
    ) -> io::Result<impl Iterator<Item = io::Result<Record>> + use<>> {
        let path = format!("/v1/events?from={from}&follow=1");
        Ok(http::lines(&self.address, &path, Duration::from_secs(3600))?
            .map(|line| line.and_then(|line| record(&line))))
    }

    pub fn command(&self, command: &Command) -> io::Result<Reply> {
        let body = serde_json::to_string(command)?;
        http::send(&self.address, "POST", "/v1/commands", &body, PATIENCE)
    }

    pub fn get(&self, path: &str) -> io::Result<Reply> {
        let reply = http::get(&self.address, path, PATIENCE)?;
        match reply.status {
            200 => Ok(reply),
            status => Err(io::Error::other(format!("{path} answered {status}: {}", reply.text()))),
        }
    }
}

fn record(line: &str) -> io::Result<Record> {
    serde_json::from_str(line).map_err(|error| io::Error::other(format!("{error} in {line}")))
}
