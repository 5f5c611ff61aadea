//! The one thread that writes.
//!
//! ```text
//! wait ─▶ gather what is there, and what comes within the window
//!      ─▶ one batch ─▶ flush ─▶ fdatasync ─▶ publish ─▶ wait
//!                 └─ fault ─▶ publish why ─▶ pause ─▶ reopen ─▶ once more
//! ```
//!
//! Invariant: a record leaves the backlog only when it is durable, or is
//! telemetry that there was no room for and is counted.

mod heal;
mod room;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::{Batch, Fault};
use super::journal::Durable;
use super::mark::{Mark, MarkFile};
use super::place::Place;
use super::recover::Backend;
use super::reserve::Reserve;
use super::shared::{Pending, Shared};
use crate::failpoint::{Failpoint, hit};
use crate::model::Seq;
use crate::model::event::Class;

/// Records and bytes of one commit.
const BATCH_RECORDS: usize = 1024;
const BATCH_BYTES: usize = 1024 * 1024;

pub struct Writer {
    pub shared: Arc<Shared>,
    pub place: Place,
    pub limits: Limits,
    pub reserve: Reserve,
    /// The last record in the database.
    pub last: Seq,
    pub run: u64,
    pub trouble: Option<Fault>,
    pub copy_at: u64,
    pub state: State,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub cache_bytes: u64,
    pub max_bytes: u64,
    pub window: Duration,
}

/// What the thread remembers between two commits.
#[derive(Default)]
pub struct State {
    pause: Option<Duration>,
    mark: Option<MarkFile>,
    reserve_tried: Option<Instant>,
    last_words: bool,
    /// A sync failed: what the file reads back may not be on the disk.
    unsure: bool,
}

enum Gathered {
    Records(Vec<Arc<Pending>>),
    /// A reader met what does not read.
    Suspect(Fault),
    Closed,
}

impl Limits {
    /// Both the database and its copy fit under the ceiling while one is made.
    pub fn copy_at(&self) -> u64 {
        self.max_bytes / 2
    }

    /// Bytes of records that are kept: a fresh file takes up to three times as
    /// much, with pages, keys and the room sled leaves in its segments.
    fn budget(&self) -> u64 {
        self.max_bytes / 10
    }
}

impl Writer {
    pub fn run(mut self) {
        loop {
            while let Some(fault) = self.trouble.take() {
                if !self.heal(fault) {
                    self.give_up();
                    return;
                }
            }
            match self.gather() {
                Gathered::Records(records) => self.trouble = self.commit(&records).err(),
                Gathered::Suspect(fault) => self.trouble = Some(fault),
                Gathered::Closed => return,
            }
        }
    }

    /// Waits for work; then, within the window, for company. A permit ends the
    /// window: a repair waits for it to be durable.
    fn gather(&self) -> Gathered {
        let mut queue = self.shared.queue();
        loop {
            if let Some(fault) = queue.suspect.take() {
                return Gathered::Suspect(fault);
            }
            if !queue.pending.is_empty() || queue.unsynced {
                break;
            }
            if queue.closing {
                return Gathered::Closed;
            }
            queue = self.shared.wake.wait(queue).unwrap_or_else(|poison| poison.into_inner());
        }
        let deadline = Instant::now() + self.limits.window;
        while queue.pending.len() < BATCH_RECORDS && !queue.closing && !queue.urgent {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.wake.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(|poison| poison.into_inner()).0;
        }
        queue.unsynced = false;
        queue.urgent = false;
        let mut bytes = 0;
        let fits = |pending: &&Arc<Pending>| {
            let first = bytes == 0;
            bytes += pending.json.len();
            first || bytes <= BATCH_BYTES
        };
        let records = queue.pending.iter().take(BATCH_RECORDS).take_while(fits);
        Gathered::Records(records.cloned().collect())
    }

    fn commit(&mut self, records: &[Arc<Pending>]) -> Result<(), Fault> {
        if !records.is_empty() {
            hit(Failpoint::JournalBeforeCommit);
        }
        // On the last of the room only what must be kept is written.
        let tight = self.reserve.given_up();
        let written = |pending: &&Arc<Pending>| !(tight && pending.class == Class::Telemetry);
        let last = self.shared.busy.during(|| self.write(records.iter().filter(written)))?;
        if !records.is_empty() {
            hit(Failpoint::JournalAfterCommit);
        }
        self.last = last;
        self.settle(records, tight);
        self.look_after_room();
        self.shrink()
    }

    /// One batch on the disk. Gives the last record it holds then.
    fn write<'a>(&self, records: impl Iterator<Item = &'a Arc<Pending>>) -> Result<Seq, Fault> {
        let backend = self.shared.backend();
        let Backend::Live(database) = &*backend else {
            return Err(Fault::Environment {
                kind: io::ErrorKind::Other,
                text: "the database is not open".into(),
            });
        };
        let mut batch = Batch::default();
        let mut prev = self.last;
        // After a commit that failed late, some may be there already.
        for pending in records.filter(|pending| pending.seq > self.last) {
            batch.record(pending.head(prev, self.shared.stamps.next()), &pending.json);
            prev = pending.seq;
            if pending.tells_gap {
                batch.gap_told(self.shared.stamps.next());
            }
        }
        database.apply(batch)?;
        database.sync()?;
        Ok(prev)
    }

    /// Takes what is durable off the backlog and says so.
    fn settle(&mut self, records: &[Arc<Pending>], tight: bool) {
        let mut done = records.last().map_or(self.last, |pending| pending.seq.max(self.last));
        let mut queue = self.shared.queue();
        while queue.pending.pop_front_if(|pending| pending.seq <= done).is_some() {}
        if queue.pending.is_empty() && queue.next > 0 {
            // Numbers behind it went to telemetry that was dropped.
            done = done.max(queue.next - 1);
        }
        if tight {
            for pending in records.iter().filter(|pending| pending.class == Class::Telemetry) {
                queue.count_dropped(pending.seq, 1);
            }
        }
        drop(queue);
        self.write_mark();
        self.state.pause = None;
        self.shared.clear_condition("store.failing");
        self.shared.durable.send_if_modified(|durable| {
            let now = Durable { seq: done.max(durable.seq), failing: None };
            let changed = *durable != now;
            *durable = now;
            changed
        });
    }

    pub fn write_mark(&mut self) {
        if self.state.mark.is_none() {
            self.state.mark = MarkFile::open(&self.place.mark()).ok();
        }
        let mark = Mark { durable: self.last, run: self.run };
        // A mark that is behind only sees less damage.
        if let Some(file) = &self.state.mark
            && file.write(mark).is_err()
        {
            self.state.mark = None;
        }
    }
}
