//! The journal as lines, and on as it grows.
//!
//! Invariant: only durable records are shown, so that what a follower was told
//! is never taken back by a crash.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::answer::{self, Answer};
use super::connection::Leash;
use super::history;
use super::route::{self, Desk};
use crate::model::{Record, Seq};

/// Records read and sent at once.
const CHUNK_LEN: usize = 128;
/// Chunks on their way to a caller that reads slowly.
const CHUNKS_WAITING_MAX: usize = 4;
/// An empty line now and then, so that a follower that is gone is noticed.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Records shown when nobody says from where.
const LAST_DEFAULT: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Seq(Seq),
    /// The newest so many, or somewhat fewer where some are no longer kept.
    Last(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    End,
    Follow,
}

pub(super) fn parse(query: &str) -> Result<(From, Then), String> {
    let (mut from, mut then) = (From::Last(LAST_DEFAULT), Then::End);
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = || value.parse().map_err(|_| format!("{key} wants a number, found {value:?}"));
        match key {
            "from" => from = From::Seq(number()?),
            "last" => from = From::Last(number()?),
            "follow" => then = if value == "1" { Then::Follow } else { Then::End },
            _ => return Err(format!("wanted from=SEQ, last=COUNT or follow=1, found {key:?}")),
        }
    }
    Ok((from, then))
}

pub(super) fn answer(desk: &Arc<Desk>, leash: &Leash, query: &str) -> Answer {
    let (from, then) = match parse(query) {
        Ok(parsed) => parsed,
        Err(text) => return answer::refusal(StatusCode::BAD_REQUEST, "bad-request", text),
    };
    let (lines, content) = mpsc::channel(CHUNKS_WAITING_MAX);
    let teller = Teller { desk: desk.clone(), leash: leash.clone(), lines };
    tokio::spawn(teller.tell(from, then));
    answer::lines(content)
}

struct Teller {
    desk: Arc<Desk>,
    leash: Leash,
    lines: mpsc::Sender<Bytes>,
}

/// The caller is gone, or slower than its leash.
struct Gone;

impl Teller {
    /// Ends when all is told, when the caller is gone, or when the daemon stops.
    async fn tell(self, from: From, then: Then) {
        let mut durable = self.desk.outlets.durable.clone();
        let mut closing = self.desk.closing.clone();
        let mut next = match from {
            From::Seq(seq) => seq.max(1),
            From::Last(count) => (*durable.borrow() + 1).saturating_sub(count).max(1),
        };
        loop {
            let newest = *durable.borrow_and_update();
            match self.tell_until(next, newest).await {
                Ok(()) => next = next.max(newest + 1),
                Err(Gone) => return,
            }
            if then == Then::End {
                return;
            }
            tokio::select! {
                grown = durable.changed() => if grown.is_err() { return },
                () = route::closed(&mut closing) => return,
                () = self.lines.closed() => return,
                () = sleep(HEARTBEAT) => if self.send(Bytes::from_static(b"\n")).await.is_err() { return },
            }
        }
    }

    async fn tell_until(&self, mut next: Seq, newest: Seq) -> Result<(), Gone> {
        while next <= newest {
            let records = match history::replay(&self.desk.outlets.history, next, CHUNK_LEN).await {
                Ok(records) => records,
                Err(error) => {
                    let line = serde_json::json!({ "error": "failed", "text": error.to_string() });
                    self.send(format!("{line}\n").into()).await?;
                    return Err(Gone);
                }
            };
            let durable: Vec<&Record> = records.iter().filter(|r| r.seq <= newest).collect();
            let Some(last) = durable.last() else { return Ok(()) };
            next = last.seq + 1;
            self.send(as_lines(&durable)).await?;
        }
        Ok(())
    }

    /// A line that is taken earns the caller more time.
    async fn send(&self, chunk: Bytes) -> Result<(), Gone> {
        self.lines.send(chunk).await.map_err(|_| Gone)?;
        self.leash.lengthen();
        Ok(())
    }
}

fn as_lines(records: &[&Record]) -> Bytes {
    let mut lines = Vec::new();
    for record in records {
        match serde_json::to_string(record) {
            Ok(line) => lines.extend_from_slice(line.as_bytes()),
            // A number that JSON cannot say; the record stays in the journal.
            Err(error) => lines.extend_from_slice(
                serde_json::json!({ "seq": record.seq, "error": error.to_string() })
                    .to_string()
                    .as_bytes(),
            ),
        }
        lines.push(b'\n');
    }
    lines.into()
}
