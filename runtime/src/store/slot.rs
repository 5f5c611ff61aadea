//! The trust slot: what must never go back, in two files that need no database.
//!
//! ```text
//! update: PATH.a ─▶ fsync ─▶ PATH.b ─▶ fsync      (the older copy first)
//! open:   the newest copy that reads; a bad one is written anew
//! ```
//!
//! Invariant: floors only rise, and while one copy reads nothing is lost. Two
//! copies that both exist and do not read are a person's to judge: starting
//! from nothing would let old policies and spent numbers back in.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::database::sync_dir;
use super::journal::BACKLOG_MAX;
use crate::clock::SavedClock;
use crate::failpoint::{Failpoint, hit};
use crate::model::Seq;
use crate::model::view::Condition;

const MAGIC: [u8; 8] = *b"hmslot\r\n";
/// 2 since the key root is in it: an older daemon would write it away.
const VERSION: u32 = 2;
const HEAD_LEN: usize = 32;
/// Copies grow in whole blocks, so that writing one in place rarely needs room.
const BLOCK: usize = 4096;
/// Far more than the floors of any box; what claims more is damage.
const LEN_MAX: u64 = 1024 * 1024;

/// What must never go back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Floors {
    /// Starts of the daemon on this box.
    pub birth: u64,
    /// Above every journal number that was given out (see [`Floors::keep_above`]):
    /// where a journal that was lost goes on.
    pub seq_floor: Seq,
    pub clock: SavedClock,
    /// Highest sequence number seen of each plugin.
    pub plugin_sequence: BTreeMap<String, u64>,
    /// Whose each plugin is: the publisher of what ran first under its name.
    pub plugin_publisher: BTreeMap<String, String>,
    /// The key root that was accepted last, and its version.
    pub root: Option<String>,
    pub root_version: u64,
    /// Reboots that we asked for.
    pub reboots: u64,
    /// Age of the box at the latest of them, oldest first.
    pub reboot_ages_ms: Vec<u64>,
}

/// Half of it is more than what can wait to become durable.
pub const SEQ_AHEAD: Seq = 4 * BACKLOG_MAX as Seq;
/// More than any policy lets through in any window.
const REBOOTS_REMEMBERED: usize = 128;

/// Whether there was a slot before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// None: a new box, or somebody removed both copies.
    Fresh,
    Found,
}

#[derive(Debug)]
pub struct Slot {
    copies: [PathBuf; 2],
    /// The copy that is written next, and which is the older.
    next: usize,
    generation: u64,
    floors: Floors,
    origin: Origin,
    condition: Option<Condition>,
}

#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error("trust slot {}: wanted to {doing} it, found: {why}; the disk or its mount must allow \
             it before the daemon can go on", path.display())]
    Io { path: PathBuf, doing: &'static str, why: io::Error },
    #[error("trust slot {} and {}: wanted one copy that reads, found neither ({why}); restore one \
             from a backup, or remove both to start this box as a new one, which forgets the \
             sequence numbers and revocations it has seen", .copies[0].display(), .copies[1].display())]
    BothDamaged { copies: [PathBuf; 2], why: String },
    #[error("trust slot {}: was written by a newer version ({found}, this one knows {VERSION}); \
             run that version", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("trust slot: {what} would go back from {from} to {to}")]
    GoesBack { what: String, from: u64, to: u64 },
    #[error("trust slot: the floors take {bytes} bytes, and a copy holds {LEN_MAX}")]
    TooLarge { bytes: usize },
}

/// What one file holds.
enum Copy {
    Absent,
    Bad(String),
    Good { generation: u64, floors: Floors },
}

impl Slot {
    /// Reads `PATH.a` and `PATH.b`, and makes them where there are none. The
    /// folder must exist.
    pub fn open(path: &Path) -> Result<(Self, Vec<Condition>), SlotError> {
        let copies = [".a", ".b"].map(|end| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        });
        let found = [read(&copies[0])?, read(&copies[1])?];
        let mut slot = Self::choose(copies, &found)?;
        if slot.origin == Origin::Fresh {
            slot.write_both()?;
            return Ok((slot, Vec::new()));
        }
        let repaired = bad(&found[slot.next]).map(|why| slot.repaired(&why));
        let behind = !matches!(&found[slot.next], Copy::Good { generation, .. } if *generation == slot.generation);
        // A copy that a crash left one update behind is brought up as well.
        if behind && let Err(error) = slot.write(slot.next) {
            slot.condition = Some(slot.one_copy(&error));
        }
        Ok((slot, repaired.into_iter().collect()))
    }

    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Only one copy could be written last time.
    pub fn condition(&self) -> Option<&Condition> {
        self.condition.as_ref()
    }

    /// Changes the floors. They are in force, and durable in one copy at
    /// least, when this returns; an error leaves them as they were.
    pub fn update(&mut self, change: impl FnOnce(&mut Floors)) -> Result<(), SlotError> {
        let mut floors = self.floors.clone();
        change(&mut floors);
        floors.check_above(&self.floors)?;
        let before = std::mem::replace(&mut self.floors, floors);
        self.generation += 1;
        hit(Failpoint::SlotBeforeWrite);
        if let Err(error) = self.write(self.next) {
            self.floors = before;
            self.generation -= 1;
            return Err(error);
        }
        hit(Failpoint::SlotBetweenCopies);
        self.next = 1 - self.next;
        self.condition = self.write(self.next).err().map(|error| self.one_copy(&error));
        Ok(())
    }

    fn choose(copies: [PathBuf; 2], found: &[Copy; 2]) -> Result<Self, SlotError> {
        let generation = |copy: &Copy| match copy {
            Copy::Good { generation, .. } => Some(*generation),
            _ => None,
        };
        let newest = usize::from(generation(&found[1]) > generation(&found[0]));
        let (generation, floors, origin) = match &found[newest] {
            Copy::Good { generation, floors } => (*generation, floors.clone(), Origin::Found),
            _ if found.iter().all(|copy| matches!(copy, Copy::Absent)) => {
                (1, Floors::default(), Origin::Fresh)
            }
            _ => {
                let why: Vec<_> = found.iter().filter_map(bad).collect();
                return Err(SlotError::BothDamaged { copies, why: why.join("; ") });
            }
        };
        let next = 1 - newest;
        Ok(Self { copies, next, generation, floors, origin, condition: None })
    }

    fn write_both(&self) -> Result<(), SlotError> {
        // Through another name: a copy that is there is a copy that is whole,
        // even if the power fails in the box's first second.
        for path in &self.copies {
            let new = path.with_extension("new");
            let io = |why| SlotError::Io { path: path.clone(), doing: "create", why };
            write_synced(&new, &self.encode()?).map_err(io)?;
            fs::rename(&new, path).map_err(io)?;
            sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        }
        Ok(())
    }

    fn write(&self, copy: usize) -> Result<(), SlotError> {
        let path = &self.copies[copy];
        let io = |why| SlotError::Io { path: path.clone(), doing: "write", why };
        let absent = !path.exists();
        write_synced(path, &self.encode()?).map_err(io)?;
        if absent {
            sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        }
        Ok(())
    }

    /// magic 8 | crc of the rest 4 | version 4 | generation 8 | length 8 | JSON, padded to a block
    fn encode(&self) -> Result<Vec<u8>, SlotError> {
        let json = serde_json::to_vec(&self.floors).expect("floors are plain data");
        if json.len() as u64 > LEN_MAX - HEAD_LEN as u64 {
            return Err(SlotError::TooLarge { bytes: json.len() });
        }
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&(json.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&json);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        let crc = crc32fast::hash(&bytes[12..]);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn repaired(&self, why: &str) -> Condition {
        Condition {
            name: "trust.slot-repaired".into(),
            detail: format!(
                "wanted two copies of the trust slot, found {} {why}; it was written anew from \
                 {}. Look at the disk",
                self.copies[self.next].display(),
                self.copies[1 - self.next].display()
            ),
        }
    }

    fn one_copy(&self, error: &SlotError) -> Condition {
        Condition {
            name: "trust.slot-one-copy".into(),
            detail: format!("the trust slot stands in one copy only: {error}"),
        }
    }
}

/// The slot among those who keep floors in it.
#[derive(Clone, Debug)]
pub struct SharedSlot {
    slot: Arc<Mutex<Slot>>,
    /// As it was last written, for who may not wait for the disk.
    seq_floor: Arc<AtomicU64>,
    condition: watch::Sender<Option<Condition>>,
}

impl SharedSlot {
    pub fn new(slot: Slot) -> Self {
        let condition = watch::Sender::new(slot.condition().cloned());
        let seq_floor = Arc::new(AtomicU64::new(slot.floors.seq_floor));
        Self { slot: Arc::new(Mutex::new(slot)), seq_floor, condition }
    }

    /// Whether the journal's numbers come near their floor. Waits for nobody.
    pub fn is_near(&self, seq: Seq) -> bool {
        is_near(self.seq_floor.load(Ordering::Relaxed), seq)
    }

    /// Only one copy could be written last time.
    pub fn condition(&self) -> watch::Receiver<Option<Condition>> {
        self.condition.subscribe()
    }

    /// Waits while somebody writes.
    pub fn look<T>(&self, at: impl FnOnce(&Floors) -> T) -> T {
        at(&self.held().floors)
    }

    /// As [`Slot::update`].
    pub fn update(&self, change: impl FnOnce(&mut Floors)) -> Result<(), SlotError> {
        let mut slot = self.held();
        let updated = slot.update(change);
        self.seq_floor.store(slot.floors.seq_floor, Ordering::Relaxed);
        self.condition.send_replace(slot.condition.clone());
        updated
    }

    fn held(&self) -> MutexGuard<'_, Slot> {
        // An update that does not come to its end leaves the floors as they were.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_near(floor: Seq, seq: Seq) -> bool {
    floor < seq + SEQ_AHEAD / 2
}

impl Floors {
    /// Keeps the floor so far above `seq` that it need not be written for each
    /// record.
    pub fn keep_above(&mut self, seq: Seq) {
        if is_near(self.seq_floor, seq) {
            self.seq_floor = seq + SEQ_AHEAD;
        }
    }

    pub fn count_reboot(&mut self, now_age_ms: u64) {
        self.reboots += 1;
        self.reboot_ages_ms.push(now_age_ms);
        if self.reboot_ages_ms.len() > REBOOTS_REMEMBERED {
            self.reboot_ages_ms.remove(0);
        }
    }

    fn check_above(&self, before: &Self) -> Result<(), SlotError> {
        let below = |what: &str, from: u64, to: u64| match to < from {
            true => Err(SlotError::GoesBack { what: what.to_owned(), from, to }),
            false => Ok(()),
        };
        below("birth", before.birth, self.birth)?;
        below("seq_floor", before.seq_floor, self.seq_floor)?;
        below("clock.boot", before.clock.boot, self.clock.boot)?;
        below("clock.offset_ms", before.clock.offset_ms, self.clock.offset_ms)?;
        below("reboots", before.reboots, self.reboots)?;
        below("the version of the key root", before.root_version, self.root_version)?;
        for (plugin, from) in &before.plugin_sequence {
            let to = self.plugin_sequence.get(plugin).copied().unwrap_or(0);
            below(&format!("the sequence of plugin {plugin}"), *from, to)?;
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Copy, SlotError> {
    let io = |why| SlotError::Io { path: path.to_owned(), doing: "read", why };
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Copy::Absent),
        Err(error) => return Err(io(error)),
        Ok(file) if file.len() > LEN_MAX + BLOCK as u64 => {
            return Ok(Copy::Bad("is too long".into()));
        }
        Ok(_) => {}
    }
    // A sector that does not read is a bad copy; the other may be good.
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(io(error)),
        Err(error) => return Ok(Copy::Bad(format!("does not read ({error})"))),
    };
    decode(&bytes, path)
}

fn decode(bytes: &[u8], path: &Path) -> Result<Copy, SlotError> {
    let bad = |why: &str| Ok(Copy::Bad(why.to_owned()));
    if bytes.len() < HEAD_LEN || bytes[..8] != MAGIC {
        return bad("is not a trust slot");
    }
    let word = |at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice is eight bytes long"))
    };
    if crc32fast::hash(&bytes[12..]).to_le_bytes() != bytes[8..12] {
        return bad("does not hold its CRC");
    }
    let version = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    if version > VERSION {
        return Err(SlotError::Newer { path: path.to_owned(), found: version });
    }
    let json = usize::try_from(word(24)).ok().and_then(|len| bytes[HEAD_LEN..].get(..len));
    match json.map(serde_json::from_slice) {
        Some(Ok(floors)) => Ok(Copy::Good { generation: word(16), floors }),
        Some(Err(error)) => bad(&format!("does not parse ({error})")),
        None => bad("is cut short"),
    }
}

fn bad(copy: &Copy) -> Option<String> {
    match copy {
        Copy::Absent => Some("is missing".into()),
        Copy::Bad(why) => Some(why.clone()),
        Copy::Good { .. } => None,
    }
}

/// In place: on a full disk, blocks that are there can still be written.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
