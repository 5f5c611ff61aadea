//! What the handles and the writer thread have in common.
//!
//! Two locks: the queue's is held for moments only, the backend's for one page
//! or one commit; the writer alone takes the latter for writing, to put another
//! database in place. Invariant: who wants both takes the queue's first and
//! lets go of it before the other.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

use tokio::sync::watch;

use super::archive::{Archive, Row};
use super::cell::{Head, Space};
use super::database::{Database, Fault, environment};
use super::journal::Durable;
use super::place::Place;
use super::recover::{Backend, Stamps};
use super::watch::Busy;
use crate::model::event::Class;
use crate::model::view::Condition;
use crate::model::{Event, IncidentId, Seq};

pub struct Shared {
    backend: RwLock<Backend>,
    /// The file as it was when it was opened. The daemon begins by replaying
    /// it all; read through sled, it would all stay in sled's memory.
    raw: Mutex<Option<Arc<Archive>>>,
    queue: Mutex<Queue>,
    /// Something was queued, or the store is closing.
    pub wake: Condvar,
    pub durable: watch::Sender<Durable>,
    pub stamps: Stamps,
    pub busy: Busy,
    place: Place,
    conditions: Mutex<BTreeMap<&'static str, String>>,
}

#[derive(Debug, Default)]
pub struct Queue {
    /// The next number to give out.
    pub next: Seq,
    /// Given out and not yet durable, in order.
    pub pending: VecDeque<Arc<Pending>>,
    /// Telemetry that found no room.
    pub dropped: Option<Dropped>,
    /// What the journal itself has to tell, in front of the next record.
    pub owed: VecDeque<Owed>,
    /// Something besides records waits to be synced.
    pub unsynced: bool,
    /// A permit waits, and the hands wait for it: no time for company.
    pub urgent: bool,
    /// A reader met damage; the writer looks after it.
    pub suspect: Option<Fault>,
    pub closing: bool,
}

#[derive(Debug)]
pub struct Owed {
    pub event: Event,
    /// It tells the gap that the database has noted.
    pub tells_gap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub count: u64,
    pub first: Seq,
}

/// A record on its way to the disk.
#[derive(Debug)]
pub struct Pending {
    pub seq: Seq,
    pub class: Class,
    pub incident: Option<IncidentId>,
    pub closes: bool,
    pub tells_gap: bool,
    pub json: Vec<u8>,
}

impl Shared {
    pub fn new(
        place: Place,
        (backend, raw): (Backend, Option<Archive>),
        queue: Queue,
        durable: Durable,
        stamps: Stamps,
    ) -> Self {
        Self {
            backend: RwLock::new(backend),
            raw: Mutex::new(raw.map(Arc::new)),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            durable: watch::Sender::new(durable),
            stamps,
            busy: Busy::default(),
            place,
            conditions: Mutex::default(),
        }
    }

    // A poisoned lock is taken all the same: what it guards is replaced whole
    // or changed by single steps, and the journal must outlive a panic.
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn backend(&self) -> RwLockReadGuard<'_, Backend> {
        self.backend.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn backend_mut(&self) -> RwLockWriteGuard<'_, Backend> {
        self.backend.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Up to `max` records from `from` on, those not yet written included.
    pub fn rows(&self, from: Seq, max: usize) -> Result<Vec<Row>, Fault> {
        // The queue first: what the writer moves meanwhile is then seen twice,
        // not missed.
        let waiting = self.waiting(|pending| pending.seq >= from, max);
        let raw = self.raw_from(from);
        let written = self.written(
            |database| {
                let begun = raw.as_ref().and_then(|raw| raw.rows_unmoved(from, max));
                let mut rows = begun.unwrap_or_default();
                let next = rows.last().map_or(from, |row| row.head.seq + 1);
                rows.extend(database.rows(next, max - rows.len())?);
                Ok(rows)
            },
            |archive| archive.rows(from, max),
        )?;
        Ok(joined(written, waiting, max))
    }

    /// The raw file, if it holds records from `from` on. A replay that has come
    /// past its end was what it was kept for.
    fn raw_from(&self, from: Seq) -> Option<Arc<Archive>> {
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        raw.take_if(|raw| raw.last() < from);
        raw.clone()
    }

    pub fn forget_raw(&self) {
        *self.raw.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The newest `max` records, oldest first.
    pub fn newest(&self, max: usize) -> Result<Vec<Row>, Fault> {
        let waiting = self.waiting(|_| true, usize::MAX);
        let written =
            self.written(|database| database.newest(max), |archive| archive.newest(max))?;
        let mut rows = joined(written, waiting, usize::MAX);
        rows.drain(..rows.len().saturating_sub(max));
        Ok(rows)
    }

    pub fn incident(&self, id: IncidentId) -> Result<Vec<Row>, Fault> {
        let waiting = self.waiting(|pending| pending.incident == Some(id), usize::MAX);
        let written =
            self.written(|database| database.incident(id), |archive| archive.incident(id))?;
        Ok(joined(written, waiting, usize::MAX))
    }

    fn written(
        &self,
        live: impl FnOnce(&Database) -> Result<Vec<Row>, Fault>,
        raw: impl Fn(&Archive) -> Vec<Row>,
    ) -> Result<Vec<Row>, Fault> {
        let found = self.read(|backend| match backend {
            Backend::Live(database) => live(database),
            Backend::ReadOnly(archive) => Ok(raw(archive)),
            Backend::Absent => Ok(Vec::new()),
        });
        match found {
            // sled does not read either once it could not write. The file does.
            Err(Fault::Environment { .. }) => Archive::read(&self.place.readable())
                .map(|archive| archive.as_ref().map_or_else(Vec::new, raw))
                .map_err(|error| environment(&error)),
            other => other,
        }
    }

    /// Runs a read, and has the database looked after when it meets damage.
    pub fn read<T>(&self, read: impl FnOnce(&Backend) -> Result<T, Fault>) -> Result<T, Fault> {
        let found = read(&self.backend());
        if let Err(fault @ Fault::Damaged(_)) = &found {
            self.queue().suspect = Some(fault.clone());
            self.wake.notify_all();
        }
        found
    }

    fn waiting(&self, wanted: impl Fn(&Pending) -> bool, max: usize) -> Vec<Arc<Pending>> {
        self.queue().pending.iter().filter(|pending| wanted(pending)).take(max).cloned().collect()
    }

    pub fn set_condition(&self, name: &'static str, detail: String) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = conditions.insert(name, detail.clone());
        if before.as_ref() != Some(&detail) {
            tracing::warn!(condition = name, "{detail}");
        }
    }

    pub fn clear_condition(&self, name: &'static str) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        if conditions.remove(name).is_some() {
            tracing::info!(condition = name, "over");
        }
    }

    pub fn conditions(&self) -> Vec<Condition> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |(name, detail): (&&'static str, &String)| Condition {
            name: (*name).to_owned(),
            detail: detail.clone(),
        };
        conditions.iter().map(show).collect()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Pending {
    pub fn head(&self, prev: Seq, stamp: u64) -> Head {
        Head {
            class: self.class,
            closes: self.closes,
            seq: self.seq,
            prev,
            incident: self.incident.map_or(0, |id| id.0),
            ..Head::plain(Space::Journal, stamp)
        }
    }
}

fn joined(mut written: Vec<Row>, waiting: Vec<Arc<Pending>>, max: usize) -> Vec<Row> {
    let last = written.last().map_or(0, |row| row.head.seq);
    let rest = waiting
        .iter()
        .filter(|pending| pending.seq > last)
        .map(|pending| Row { head: pending.head(0, 0), body: pending.json.clone() });
    let room = max.saturating_sub(written.len());
    written.extend(rest.take(room));
    written
}
