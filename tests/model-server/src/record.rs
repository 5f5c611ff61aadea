//! The three records a run leaves, each a file of JSON lines kept by another
//! process: what was started (ledger), what was broken (injector), what a
//! client saw (load client).
//!
//! A line is written with one `write` to a file opened for appending, so that
//! several processes can share a file and a kill tears at most the last line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;

/// One start of a server, the first thing it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub server: String,
    /// `HOMEOSTAT_ATTEMPT` as found; none when started by hand.
    pub attempt: Option<String>,
    pub pid: u32,
    pub unix_ns: u64,
}

/// One fault that was injected, or could not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injection {
    pub server: String,
    /// A name of [`crate::fault::Fault`], or `sigkill`, `sigstop`, `sigcont`, `sigterm`.
    pub fault: String,
    pub pid: Option<u32>,
    /// Just before asking. The fault began between these two moments.
    pub asked: Moment,
    pub done: Moment,
    /// Why it could not be; none when it was.
    pub error: Option<String>,
}

/// One request of the load client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub server: String,
    /// Counts from 1 for each server.
    pub n: u64,
    /// When it was due. The client is an open loop: a slow answer to one request
    /// delays no other, and latency counts from here.
    pub due: Moment,
    pub latency_us: u64,
    pub result: Outcome,
    /// The HTTP status, where one came.
    pub status: Option<u16>,
    /// What was wrong with it, in words; empty when good.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The golden answer, in time.
    Good,
    /// An answer with status 200 that is not the golden one.
    Wrong,
    /// No answer in time.
    Timeout,
    /// Nobody listens.
    Refused,
    /// An answer with another status.
    Status,
    /// The connection ended before the answer did.
    Broken,
    /// As many requests as allowed were already waiting.
    Unsent,
}

pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

pub fn append(mut file: &File, line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

/// Every whole line. What follows the last newline was torn and is left out.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let text = std::fs::read(path)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).collect()
}

/// Attempts that were executed more than once, which must never be.
pub fn doubled(starts: &[Start]) -> Vec<String> {
    let mut seen = BTreeMap::<&str, usize>::new();
    for attempt in starts.iter().filter_map(|start| start.attempt.as_deref()) {
        *seen.entry(attempt).or_default() += 1;
    }
    seen.into_iter().filter(|(_, count)| *count > 1).map(|(attempt, _)| attempt.into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(attempt: Option<&str>, pid: u32) -> Start {
        Start { server: "a".into(), attempt: attempt.map(Into::into), pid, unix_ns: 1 }
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let file = open(&path).unwrap();
        append(&file, &start(Some("x"), 1)).unwrap();
        append(&file, &start(None, 2)).unwrap();
        (&file).write_all(b"{\"server\":\"a\",\"att").unwrap();
        let lines = read::<Start>(&path).unwrap();
        assert_eq!(lines, [start(Some("x"), 1), start(None, 2)]);

        (&file).write_all(b"\n").unwrap();
        assert!(read::<Start>(&path).is_err());
    }

    #[test]
    fn an_attempt_executed_twice_is_named_once_and_hand_starts_are_not() {
        let starts =
            [start(Some("x"), 1), start(None, 2), start(Some("y"), 3), start(Some("x"), 4)];
        assert_eq!(doubled(&starts), ["x"]);
        assert!(doubled(&[start(None, 1), start(None, 2)]).is_empty());
    }
}
