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

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::{Batch, Database, Fault};
use super::journal::Durable;
use super::mark::{Mark, MarkFile};
use super::place::Place;
use super::recover::{Backend, load};
use super::reserve::{Reserve, free_bytes};
use super::retention;
use super::shared::{Pending, Shared};
use crate::failpoint::{Failpoint, hit};
use crate::model::Seq;
use crate::model::event::Class;

/// Records and bytes of one commit.
const BATCH_RECORDS: usize = 1024;
const BATCH_BYTES: usize = 1024 * 1024;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Free bytes below which a full disk is not tried again.
const ROOM_MIN: u64 = 64 * 1024;
/// Between two tries to take the reserve back.
const RESERVE_RETRY: Duration = Duration::from_secs(30);

const ONLY_WHAT_MUST: &str = ". Until then telemetry is not written";

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
}

enum Gathered {
    Records(Vec<Arc<Pending>>),
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
                Gathered::Closed => return,
            }
        }
    }

    /// Waits for work; then, within the window, for company.
    fn gather(&self) -> Gathered {
        let mut queue = self.shared.queue();
        while queue.pending.is_empty() && !queue.unsynced {
            if queue.closing {
                return Gathered::Closed;
            }
            queue = self.shared.wake.wait(queue).unwrap_or_else(|poison| poison.into_inner());
        }
        let deadline = Instant::now() + self.limits.window;
        while queue.pending.len() < BATCH_RECORDS && !queue.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.wake.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(|poison| poison.into_inner()).0;
        }
        queue.unsynced = false;
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
        let last = self.write(records.iter().filter(written))?;
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
        let done = records.last().map_or(self.last, |pending| pending.seq.max(self.last));
        let mut queue = self.shared.queue();
        while queue.pending.pop_front_if(|pending| pending.seq <= done).is_some() {}
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

    /// Says what is wrong, waits, and opens the database anew: sled keeps its
    /// first error for good. False once the store is closed and the last try failed.
    fn heal(&mut self, fault: Fault) -> bool {
        self.publish(&fault);
        let full = fault.is_full();
        if self.shared.queue().closing {
            if std::mem::replace(&mut self.state.last_words, true) {
                return false;
            }
        } else if !(full && self.reserve.release()) {
            self.pause();
            if full && free_bytes(&self.place.reserve()).is_ok_and(|free| free < ROOM_MIN) {
                self.trouble = Some(fault);
                return true;
            }
        }
        self.trouble = self.reopen().and_then(|()| self.commit(&[])).err();
        true
    }

    fn reopen(&mut self) -> Result<(), Fault> {
        let mut backend = self.shared.backend_mut();
        if let Backend::Live(database) = std::mem::replace(&mut *backend, Backend::Absent) {
            database.close();
        }
        let loaded = load(&self.place, self.limits.cache_bytes)?;
        *backend = loaded.backend;
        drop(backend);
        self.last = loaded.last;
        self.run = loaded.run;
        self.shared.stamps.move_to(loaded.run);
        if let Some(gap) = loaded.gap {
            self.shared.set_condition("store.salvaged", gap.text());
            self.write_mark();
            let mut queue = self.shared.queue();
            // Told once, by the record that is already on its way or by this.
            if !queue.pending.iter().any(|pending| pending.tells_gap) {
                queue.owed.push_back(gap.owed());
            }
        }
        loaded.refused.map_or(Ok(()), Err)
    }

    pub fn publish(&self, fault: &Fault) {
        let waiting = self.shared.queue().pending.len();
        let text = format!(
            "wanted to write the journal in {}, found: {fault}; {}. {waiting} records wait in memory and are \
             written once it works",
            self.place.dir().display(),
            advice(fault),
        );
        self.shared.set_condition("store.failing", text.clone());
        self.shared.durable.send_modify(|durable| durable.failing = Some(text));
    }

    /// Sleeps, longer each time; closing wakes it.
    fn pause(&mut self) {
        let pause = self.state.pause.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.state.pause = Some(pause);
        let deadline = Instant::now() + pause;
        let mut queue = self.shared.queue();
        while !queue.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.wake.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(|poison| poison.into_inner()).0;
        }
    }

    fn give_up(&self) {
        let left = self.shared.queue().pending.len();
        if left > 0 {
            tracing::error!(records = left, "closed without writing: the disk still refuses");
        }
    }

    /// Takes the reserve back when there is room for it again.
    pub fn look_after_room(&mut self) {
        if self.reserve.held() {
            return;
        }
        let due = self.state.reserve_tried.is_none_or(|tried| tried.elapsed() >= RESERVE_RETRY);
        if !due {
            return;
        }
        self.state.reserve_tried = Some(Instant::now());
        match self.reserve.take() {
            Ok(()) => self.shared.clear_condition("store.low-space"),
            Err(error) => {
                let so = if self.reserve.given_up() { ONLY_WHAT_MUST } else { "" };
                let dir = self.place.dir().display();
                let text = format!("wanted room in reserve in {dir}, found: {error}; free some space{so}");
                self.shared.set_condition("store.low-space", text);
            }
        }
    }

    /// Copies what is kept into a new database once this one is too large.
    fn shrink(&mut self) -> Result<(), Fault> {
        let bytes = match &*self.shared.backend() {
            Backend::Live(database) if database.bytes() > self.copy_at => database.bytes(),
            _ => return Ok(()),
        };
        match self.copy() {
            Ok(now) => {
                // Not at once again where audit alone is too much.
                self.copy_at = self.limits.copy_at().max(now + self.limits.max_bytes / 8);
                if now > self.limits.copy_at() {
                    self.shared.set_condition("store.over-bound", over_bound(now, &self.limits));
                } else {
                    self.shared.clear_condition("store.over-bound");
                }
                Ok(())
            }
            Err(Fault::Environment { text, .. }) => {
                let _ = self.place.remove_next();
                self.copy_at = bytes + self.limits.max_bytes / 8;
                self.shared.set_condition(
                    "store.over-bound",
                    format!("wanted to copy the database to make it smaller, found: {text}"),
                );
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    fn copy(&self) -> Result<u64, Fault> {
        let io = |error: io::Error| super::database::environment(&error);
        self.place.remove_next().map_err(io)?;
        let new = Database::open(&self.place.next(), self.limits.cache_bytes)?;
        let stamps = &self.shared.stamps;
        if let Backend::Live(old) = &*self.shared.backend() {
            retention::copy_records(old, &new, self.limits.budget(), stamps)?;
        }
        // Records are this thread's alone. Checkpoints are not: who writes one
        // waits until the new database is in place.
        let mut backend = self.shared.backend_mut();
        let Backend::Live(old) = &*backend else { return Ok(0) };
        retention::copy_rest(old, &new, stamps)?;
        self.place.exchange().map_err(io)?;
        let bytes = new.bytes();
        let old = std::mem::replace(&mut *backend, Backend::Live(new));
        drop(backend);
        if let Backend::Live(old) = old {
            old.close();
        }
        self.place.remove_old().map_err(io)?;
        Ok(bytes)
    }
}

fn over_bound(bytes: u64, limits: &Limits) -> String {
    format!(
        "wanted the database below {} bytes, found {bytes} of audit records and open incidents, \
         which are never dropped; raise store.max_bytes",
        limits.copy_at()
    )
}

fn advice(fault: &Fault) -> &'static str {
    use io::ErrorKind as K;
    match fault {
        Fault::Environment { kind: K::StorageFull | K::QuotaExceeded, .. } => {
            "free some space on that filesystem"
        }
        Fault::Environment { kind: K::ReadOnlyFilesystem, .. } => {
            "mount it for writing, and look in the kernel's log for why it is not"
        }
        Fault::Environment { kind: K::PermissionDenied, .. } => {
            "give the daemon's user the right to write there"
        }
        Fault::Environment { .. } => "look in the kernel's log for a failing disk",
        Fault::Busy => "stop the other process that has the database open",
        Fault::Damaged(_) => "what reads is being salvaged",
    }
}
