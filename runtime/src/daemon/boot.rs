//! From a directory to what the box knows of itself: the lock, the trust slot,
//! the journal, the clock, and the fold over all that was written down.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::driver::Memory;
use crate::heap;
use crate::model::Condition;
use crate::store::{Slot, SlotError, SlotOrigin, Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("cannot use directory {}: {why}; create it and give it to the daemon's user, or set [paths]", path.display())]
    Directory { path: PathBuf, why: std::io::Error },
    #[error("state directory {}: another daemon holds it; stop that one first", path.display())]
    Held { path: PathBuf },
    #[error("the kernel's boot id does not read: {0}")]
    BootId(std::io::Error),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub struct Booted {
    /// Held for as long as this daemon may write to its state directory.
    pub lock: File,
    pub slot: Slot,
    pub store: Store,
    pub clock: Clock,
    pub memory: Memory,
    pub conditions: Vec<Condition>,
    pub new_boot: bool,
}

pub fn boot(config: &Config) -> Result<Booted, BootError> {
    for dir in [&config.paths.state, &config.paths.run] {
        directory(dir)?;
    }
    let lock = lock(&config.paths.state)?;
    let (mut slot, mut conditions) = Slot::open(&config.paths.state.join("trust"))?;
    let opened =
        Store::open(&config.paths.state.join("store"), &config.store, slot.floors().seq_floor)?;
    let store = opened.store;

    let mut memory = Memory::default();
    let mut unreadable = 0_u64;
    for record in store.reader().replay(1) {
        match record {
            Ok(record) => memory.apply(&record),
            Err(error) => {
                unreadable += 1;
                tracing::error!(%error, "a record is passed over");
            }
        }
    }
    // The journal was read whole.
    heap::give_back();
    if unreadable > 0 {
        conditions.push(Condition {
            name: "store.unreadable".into(),
            detail: format!("{unreadable} records of the journal did not read; the log names them"),
        });
    }

    let boot_id = clock::boot_id().map_err(BootError::BootId)?;
    let saved = slot.floors().clock.clone();
    let new_boot = saved.boot_id != boot_id;
    let clock = Clock::resume(saved, &boot_id, memory.last_age_ms);
    if slot.origin() == SlotOrigin::Fresh && memory.birth > 0 {
        conditions.push(Condition {
            name: "trust.slot-lost".into(),
            detail: "wanted the trust slot that belongs to this journal, found none and made a \
                     new one: the sequence numbers of plugins and the count of reboots begin \
                     anew. Look who removed it"
                .into(),
        });
    }
    let used = store.used();
    // Before anything is done in its name, the birth is on disk.
    slot.update(|floors| {
        floors.birth = floors.birth.max(memory.birth) + 1;
        floors.clock = clock.saved().clone();
        floors.keep_above(used);
    })?;
    Ok(Booted { lock, slot, store, clock, memory, conditions, new_boot })
}

fn directory(path: &Path) -> Result<(), BootError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|why| BootError::Directory { path: path.to_owned(), why })
}

/// One daemon per state directory.
fn lock(state: &Path) -> Result<File, BootError> {
    let path = state.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|why| BootError::Directory { path: path.clone(), why })?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| BootError::Held { path: state.to_owned() })?;
    Ok(file)
}
