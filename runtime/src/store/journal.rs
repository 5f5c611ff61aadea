//! The journal's pen: numbers records and hands them to the writer.
//!
//! Invariant: `append` never waits for the disk. When the disk does not keep
//! up, telemetry is dropped, counted and told; an audit record or one of an
//! incident never is.

use std::sync::Arc;

use tokio::sync::watch;

use super::shared::{Dropped, Owed, Pending, Queue, Shared};
use crate::model::event::Class;
use crate::model::{Event, Instant, Record, Seq};

/// Records that wait before telemetry is dropped.
pub const BACKLOG_MAX: usize = 8192;

/// How far the journal has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Every record up to this one survives a power cut, dropped telemetry apart.
    pub seq: Seq,
    /// The disk is full, read-only or broken: what was wanted, what was found,
    /// what to do. Tried again all the time; none once it works.
    pub failing: Option<String>,
}

#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
}

impl Journal {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Gives the event its number and hands it to the writer.
    pub fn append(&mut self, at: Instant, event: Event) -> Record {
        let mut queue = self.shared.queue();
        if queue.pending.len() < BACKLOG_MAX / 2
            && let Some(dropped) = queue.dropped.take()
        {
            queue.owed.push_back(Owed { event: dropped.event(), tells_gap: false });
        }
        while let Some(owed) = queue.owed.pop_front() {
            queue.push(at, owed.event, owed.tells_gap);
        }
        let record = queue.push(at, event, false);
        drop(queue);
        self.shared.wake.notify_one();
        record
    }

    pub fn durable(&self) -> watch::Receiver<Durable> {
        self.shared.durable.subscribe()
    }
}

impl Queue {
    fn push(&mut self, at: Instant, event: Event, tells_gap: bool) -> Record {
        let record = Record { seq: self.next, at, event };
        self.next += 1;
        let class = record.event.class(record.seq);
        if class == Class::Telemetry && self.pending.len() >= BACKLOG_MAX {
            self.count_dropped(record.seq, 1);
            return record;
        }
        self.urgent |= matches!(record.event, Event::Permitted { .. });
        self.pending.push_back(Arc::new(Pending {
            seq: record.seq,
            class,
            incident: record.event.incident(record.seq),
            closes: matches!(record.event, Event::IncidentClosed { .. }),
            tells_gap,
            json: serde_json::to_vec(&record).expect("a record is plain data with text keys"),
        }));
        record
    }

    pub fn count_dropped(&mut self, first: Seq, count: u64) {
        let dropped = self.dropped.get_or_insert(Dropped { count: 0, first });
        dropped.count += count;
        dropped.first = dropped.first.min(first);
    }
}

impl Dropped {
    fn event(self) -> Event {
        Event::JournalGap {
            why: format!(
                "{} telemetry records were dropped: the disk did not keep up or was full",
                self.count
            ),
            salvaged: 0,
            first_lost: Some(self.first),
            aside: String::new(),
        }
    }
}
