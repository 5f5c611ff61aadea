//! What the daemon remembers: journal, checkpoints, and the trust slot.
//!
//! sled holds the first two; no other room names it. What must never go back
//! is also in the slot, which needs no database to be read.
//!
//! ```text
//! Journal::append ─▶ backlog ─▶ writer thread ─▶ sled, fdatasync ─▶ Durable (watch)
//! Reader, Checkpoints ──────────────┴─▶ one backend: live, read-only, or absent
//! ```
//!
//! Invariant: a number is given out once, and what was called durable is there
//! after any crash; where damage takes it, the journal itself says so.

mod archive;
mod cell;
mod checkpoint;
mod database;
mod journal;
mod mark;
mod place;
mod reader;
mod recover;
mod reserve;
mod retention;
mod shared;
mod sledlog;
pub mod slot;
mod watch;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::config::StoreConfig;
use crate::model::Seq;
use crate::model::view::Condition;

pub use checkpoint::{Checkpoints, STATE_MAX};
pub use journal::{BACKLOG_MAX, Durable, Journal};
pub use reader::Reader;
pub use slot::{Floors, Origin as SlotOrigin, SharedSlot, Slot, SlotError};

use database::Fault;
use place::Place;
use recover::{Loaded, Look, Stamps, load};
use reserve::Reserve;
use shared::{Queue, Shared};
use writer::{Limits, Writer};

/// A smaller ceiling could not hold two segments of sled and their copy.
const MAX_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// How long closing waits for the last commit.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Opened {
    pub store: Store,
    /// What is degraded from the start; [`Reader::conditions`] has them later.
    pub conditions: Vec<Condition>,
}

/// Owns the writer's thread and its watch's. Dropping it closes it.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    finished: mpsc::Receiver<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("state directory {}: wanted to read and write there, found: {why}; \
             create it, or give the daemon's user the right to", path.display())]
    Directory { path: PathBuf, why: io::Error },
    #[error("state directory {}: wanted the database for this daemon alone, found it open in \
             another process; stop that one", path.display())]
    Busy { path: PathBuf },
    #[error("state directory {}: the database cannot be opened or rebuilt: {why}; move it away to \
             start with an empty one", path.display())]
    Database { path: PathBuf, why: String },
    #[error("the journal does not read: {why}; restart the daemon to salvage what does")]
    Unreadable { why: String },
    #[error("record {seq} is intact and this version cannot read it: {why}")]
    Record { seq: Seq, why: String },
    #[error("checkpoint of {plugin}: wanted at most {STATE_MAX} bytes, found {bytes}")]
    CheckpointTooLarge { plugin: String, bytes: usize },
    #[error("checkpoint: {plugin:?} is no plugin's name")]
    CheckpointName { plugin: String },
    #[error("checkpoint of {plugin} is not kept: {why}")]
    Checkpoint { plugin: String, why: String },
    #[error("the writer thread does not start: {0}")]
    Thread(io::Error),
}

impl Store {
    /// Opens or makes the store in `dir`. A journal that is lost, or older than
    /// what was written since, goes on from `seq_floor`: no number below it is given out again. Where the disk can be read and not written, the store opens
    /// all the same: it keeps new records in memory, says so, and recovers.
    pub fn open(dir: &Path, config: &StoreConfig, seq_floor: Seq) -> Result<Opened, StoreError> {
        // On a read-only filesystem a folder that is there is enough.
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::read_dir(dir).map(drop))
            .map_err(|why| StoreError::Directory { path: dir.to_owned(), why })?;
        let place = Place::new(dir);
        let limits = Limits {
            cache_bytes: config.cache_bytes,
            max_bytes: config.max_bytes.max(MAX_BYTES_MIN),
            window: Duration::from_millis(config.commit_window_ms),
        };
        let mut reserve = Reserve::new(place.reserve());
        let mut loaded = load_or_explain(&place, &limits)?;
        if loaded.refused.as_ref().is_some_and(Fault::is_full) && reserve.release() {
            loaded = load_or_explain(&place, &limits)?;
        }
        Self::start(place, limits, reserve, loaded, seq_floor)
    }

    fn start(
        place: Place,
        limits: Limits,
        reserve: Reserve,
        loaded: Loaded,
        seq_floor: Seq,
    ) -> Result<Opened, StoreError> {
        let durable = Durable { seq: loaded.last, failing: None };
        // Lost whole, or an older one that somebody put back.
        let is_behind = loaded.used + slot::SEQ_AHEAD < seq_floor;
        let next = if is_behind || loaded.used == 0 { seq_floor.max(1) } else { loaded.used + 1 };
        let mut queue = Queue { next, ..Queue::default() };
        let salvaged = loaded.gap.as_ref().map(recover::Gap::text);
        queue.owed.extend(loaded.gap.map(recover::Gap::owed));
        let stamps = Stamps::of_run(loaded.run);
        let shared = Arc::new(Shared::new(
            place.clone(),
            (loaded.backend, loaded.raw),
            queue,
            durable,
            stamps,
        ));
        if let Some(text) = salvaged {
            shared.set_condition("store.salvaged", text);
        }
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            copy_at: limits.copy_at(),
            place,
            limits,
            reserve,
            last: loaded.last,
            run: loaded.run,
            trouble: None,
            state: writer::State::default(),
        };
        match loaded.refused {
            Some(fault) => {
                writer.publish(&fault);
                writer.trouble = Some(fault);
            }
            None => {
                writer.write_mark();
                writer.look_after_room();
            }
        }
        let conditions = shared.conditions();
        let (finish, finished) = mpsc::sync_channel(1);
        let (tell, told) = mpsc::sync_channel(1);
        let (watched, place) = (Arc::clone(&shared), writer.place.clone());
        spawn("store-watch", move || watch::watch(&watched, &place, &told))?;
        spawn("store-writer", move || {
            writer.run();
            let _ = tell.send(());
            let _ = finish.send(());
        })?;
        Ok(Opened { store: Self { shared, finished }, conditions })
    }

    pub fn journal(&mut self) -> Journal {
        Journal::new(Arc::clone(&self.shared))
    }

    /// The newest number that was given out.
    pub fn used(&self) -> Seq {
        self.shared.queue().next - 1
    }

    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(Arc::clone(&self.shared))
    }

    /// Commits what waits, and closes the database. Where the disk still
    /// refuses, one last try is made.
    pub fn close(self) {}
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.queue().closing = true;
        self.shared.wake.notify_all();
        if self.finished.recv_timeout(CLOSE_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::error!("the journal's last commit does not come to an end");
            return;
        }
        let backend = std::mem::replace(&mut *self.shared.backend_mut(), recover::Backend::Absent);
        if let recover::Backend::Live(database) = backend {
            database.close();
        }
    }
}

impl StoreError {
    fn unreadable(fault: &Fault) -> Self {
        Self::Unreadable { why: fault.to_string() }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(work);
    thread.map(drop).map_err(StoreError::Thread)
}

fn load_or_explain(place: &Place, limits: &Limits) -> Result<Loaded, StoreError> {
    let path = place.dir().to_owned();
    load(place, limits.cache_bytes, Look::Raw).map_err(|fault| match fault {
        Fault::Busy => StoreError::Busy { path },
        Fault::Environment { kind, text } => {
            StoreError::Directory { path, why: io::Error::new(kind, text) }
        }
        Fault::Damaged(why) => StoreError::Database { path, why },
    })
}
