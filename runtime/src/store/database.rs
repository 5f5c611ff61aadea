//! The only code that talks to sled.
//!
//! Two things about sled 0.34 shape it. Its `flush` ends in `sync_file_range`,
//! which reaches neither the disk's own cache nor the file's size, so a commit
//! ends in an `fdatasync` of the same file. And it panics where it meets what
//! it does not expect: every call is contained, so that a bad page costs an
//! answer and not the daemon (the release profile therefore unwinds).
//! Invariant: a value leaves here only if its CRC holds.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::archive::{Row, Unsound, check_chain, named, unname};
use super::cell::{self, Head, Space};
use crate::model::{IncidentId, Seq};

/// How long sled may take to open: it reads the whole log, from a slow card at
/// a few MB/s. One that takes longer is taken for hung.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// sled's threads let go of a closed database a moment later.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// sled refuses to work with next to none.
const CACHE_MIN: u64 = 64 * 1024;
const PAGE_ROWS: usize = 256;

/// Why a call gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The filesystem refuses; the data is not to blame.
    #[error("{text}")]
    Environment { kind: io::ErrorKind, text: String },
    #[error("another process has it open")]
    Busy,
    #[error("{0}")]
    Damaged(String),
}

impl Fault {
    /// More room would help.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind as K;
        matches!(self, Self::Environment { kind: K::StorageFull | K::QuotaExceeded, .. })
    }
}

pub struct Database {
    sled: sled::Db,
    /// sled's own file, for the `fdatasync` that sled leaves out.
    log: File,
}

/// Values set and removed together.
#[derive(Default)]
pub struct Batch(sled::Batch);

impl Batch {
    pub fn set(&mut self, key: impl AsRef<[u8]>, value: Vec<u8>) {
        self.0.insert(key.as_ref(), value);
    }

    pub fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.0.remove(key.as_ref());
    }

    /// A record with what finds it by its incident.
    pub fn record(&mut self, head: Head, body: &[u8]) {
        for (part, bytes) in cell::encode(head, body) {
            self.set(cell::journal_key(head.seq, part), bytes);
        }
        if head.incident != 0 {
            self.set(cell::incident_key(head.incident, head.seq), Vec::new());
        }
    }

    /// None leaves a tombstone: what was removed must not come back from raw bytes.
    pub fn checkpoint(&mut self, plugin: &str, state: Option<&[u8]>, stamp: u64) {
        let plain = Head::plain(Space::Checkpoint, stamp);
        let head = Head { closes: state.is_none(), ..plain };
        for (part, bytes) in cell::encode(head, &named(plugin, state.unwrap_or_default())) {
            self.set(cell::checkpoint_key(plugin, part), bytes);
        }
    }

    pub fn gap(&mut self, json: &[u8], stamp: u64) {
        let cell = cell::encode_one(Head::plain(Space::Gap, stamp), json);
        self.set([Space::Gap.byte()], cell);
    }

    pub fn gap_told(&mut self, stamp: u64) {
        let head = Head { closes: true, ..Head::plain(Space::Gap, stamp) };
        self.set([Space::Gap.byte()], cell::encode_one(head, b""));
    }
}

impl Database {
    /// Opens or makes the database in `dir`. What lies there should have been
    /// found sound before: opening changes a damaged one.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, Fault> {
        let (done, opened) = mpsc::sync_channel(1);
        let path = dir.to_owned();
        // A thread that sled leaves hanging must not be ours.
        std::thread::Builder::new()
            .name("store-open".into())
            .spawn(move || _ = done.send(contained(|| open_sled(&path, cache_bytes))))
            .map_err(|error| environment(&error))?;
        let sled = opened
            .recv_timeout(OPEN_TIMEOUT)
            .map_err(|_| Fault::Damaged("sled did not come back from opening it".into()))??;
        let log = File::open(dir.join("db")).map_err(|error| environment(&error))?;
        // The names of new files are data too.
        sync_dir(dir).map_err(|error| environment(&error))?;
        Ok(Self { sled, log })
    }

    pub fn apply(&self, batch: Batch) -> Result<(), Fault> {
        contained(|| self.sled.apply_batch(batch.0).map_err(fault))
    }

    /// Everything applied so far survives a power cut once this returns.
    pub fn sync(&self) -> Result<(), Fault> {
        contained(|| self.sled.flush().map_err(fault))?;
        rustix::fs::fdatasync(&self.log).map_err(|errno| environment(&errno.into()))
    }

    /// Up to `max` records from `from` on.
    pub fn rows(&self, from: Seq, max: usize) -> Result<Vec<Row>, Fault> {
        contained(|| {
            let mut rows = Vec::new();
            let mut cells =
                self.sled.range(cell::journal_key(from, 0)..cell::journal_key(Seq::MAX, u16::MAX));
            while rows.len() < max {
                let Some(first) = cells.next() else { break };
                let row = gather(first.map_err(fault)?, &mut cells)?;
                follows(rows.last(), &row)?;
                rows.push(row);
            }
            Ok(rows)
        })
    }

    /// The newest `max` records, oldest first.
    pub fn newest(&self, max: usize) -> Result<Vec<Row>, Fault> {
        let from = contained(|| {
            let mut from = None;
            let mut found = 0;
            for key in self.sled.scan_prefix([Space::Journal.byte()]).keys().rev() {
                if found == max {
                    break;
                }
                let (seq, part) = journal_name(&key.map_err(fault)?)?;
                if part == 0 {
                    (from, found) = (Some(seq), found + 1);
                }
            }
            Ok(from)
        })?;
        from.map_or(Ok(Vec::new()), |from| self.rows(from, max))
    }

    pub fn incident(&self, id: IncidentId) -> Result<Vec<Row>, Fault> {
        contained(|| {
            let mut rows = Vec::new();
            for key in self.sled.scan_prefix(&cell::incident_key(id.0, 0)[..9]).keys() {
                let key = key.map_err(fault)?;
                let seq = be_u64(key.get(9..17)).ok_or_else(bad_key)?;
                let mut cells = self.sled.scan_prefix(&cell::journal_key(seq, 0)[..9]);
                let first = cells.next().ok_or_else(|| missing(seq))?;
                rows.push(gather(first.map_err(fault)?, &mut cells)?);
            }
            Ok(rows)
        })
    }

    /// Reads every record and follows the chain: what sled silently lost shows
    /// as a hole. Gives the last.
    pub fn verify(&self) -> Result<Option<Row>, Verdict> {
        let mut failed = None;
        let mut page = Vec::new().into_iter();
        let mut next = 0;
        let mut last = None;
        let rows = std::iter::from_fn(|| {
            if page.len() == 0 {
                match self.rows(next, PAGE_ROWS) {
                    Ok(rows) => page = rows.into_iter(),
                    Err(fault) => failed = Some(fault),
                }
            }
            let row: Row = page.next()?;
            next = row.head.seq + 1;
            let head = row.head;
            last = Some(row);
            Some(head)
        });
        let checked = check_chain(rows, 0);
        match failed.map_or_else(|| self.verify_rest(), Err) {
            Err(fault) => Err(Verdict::Fault(fault)),
            Ok(()) => checked.map(|()| last).map_err(Verdict::Unsound),
        }
    }

    /// The index, both ways by its length, and what is no record.
    fn verify_rest(&self) -> Result<(), Fault> {
        contained(|| {
            let (mut named, mut indexed) = (0_u64, 0_u64);
            for pair in &*self.sled {
                let (key, value) = pair.map_err(fault)?;
                if key.first() == Some(&b'i') {
                    indexed += 1;
                    continue;
                }
                let cell = cell::decode(&value).ok_or_else(|| broken(&key))?;
                named += u64::from(cell.head.part == 0 && cell.head.incident != 0);
            }
            match named == indexed {
                true => Ok(()),
                false => Err(Fault::Damaged("the index of incidents is not whole".into())),
            }
        })
    }

    pub fn checkpoint(&self, plugin: &str) -> Result<Option<Vec<u8>>, Fault> {
        contained(|| {
            let first = cell::checkpoint_key(plugin, 0);
            let mut cells = self.sled.scan_prefix(&first[..first.len() - 2]);
            let Some(found) = cells.next() else { return Ok(None) };
            let row = gather(found.map_err(fault)?, &mut cells)?;
            Ok(if row.head.closes { None } else { unname(&row.body) })
        })
    }

    /// Keeps or removes (none) a plugin's state. Not yet synced.
    pub fn put_checkpoint(
        &self,
        plugin: &str,
        state: Option<&[u8]>,
        stamp: u64,
    ) -> Result<(), Fault> {
        let mut batch = Batch::default();
        // Parts of a longer one before it would never be read, and stay.
        let first = cell::checkpoint_key(plugin, 0);
        contained(|| {
            for key in self.sled.scan_prefix(&first[..first.len() - 2]).keys() {
                batch.remove(key.map_err(fault)?);
            }
            Ok(())
        })?;
        batch.checkpoint(plugin, state, stamp);
        self.apply(batch)
    }

    /// Names of the checkpoints, removed ones included.
    pub fn checkpoint_names(&self) -> Result<Vec<String>, Fault> {
        contained(|| {
            let mut names = Vec::new();
            for key in self.sled.scan_prefix([Space::Checkpoint.byte()]).keys() {
                let key = key.map_err(fault)?;
                let (name, part) = key[1..].split_at(key.len().saturating_sub(4));
                if part == [0, 0, 0] {
                    names.push(String::from_utf8(name.to_vec()).map_err(|_| bad_key())?);
                }
            }
            Ok(names)
        })
    }

    pub fn gap(&self) -> Result<Option<Vec<u8>>, Fault> {
        contained(|| {
            let Some(bytes) = self.sled.get([Space::Gap.byte()]).map_err(fault)? else {
                return Ok(None);
            };
            let cell = cell::decode(&bytes).ok_or_else(|| Fault::Damaged("gap note".into()))?;
            Ok((!cell.head.closes).then(|| cell.payload.to_vec()))
        })
    }

    /// Bytes of the log file. Pages never leave it: cells are too small.
    pub fn bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |file| file.len())
    }

    /// Closes it. sled syncs as it goes, and panics when it cannot.
    pub fn close(self) {
        let _ = contained(|| {
            drop(self);
            Ok(())
        });
    }
}

/// What reading it all showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fault(Fault),
    Unsound(Unsound),
}

pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub fn environment(error: &io::Error) -> Fault {
    Fault::Environment { kind: error.kind(), text: error.to_string() }
}

fn open_sled(dir: &Path, cache_bytes: u64) -> Result<sled::Db, Fault> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        let opened = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes.max(CACHE_MIN))
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None)
            .open();
        match opened.map_err(open_fault) {
            Err(Fault::Busy) if Instant::now() < deadline => std::thread::sleep(LOCK_PAUSE),
            other => return other,
        }
    }
}

/// Puts a record's parts together. `cells` stands behind `first`.
fn gather(
    (key, bytes): (sled::IVec, sled::IVec),
    cells: &mut impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
) -> Result<Row, Fault> {
    let broken = || broken(&key);
    let first = cell::decode(&bytes).filter(|cell| cell.head.part == 0).ok_or_else(broken)?;
    let mut row = Row { head: first.head, body: first.payload.to_vec() };
    for part in 1..first.head.parts {
        let (_, bytes) = cells.next().ok_or_else(broken)?.map_err(fault)?;
        let next = cell::decode(&bytes).ok_or_else(broken)?;
        if (next.head.part, next.head.stamp) != (part, row.head.stamp) {
            return Err(broken());
        }
        row.body.extend_from_slice(next.payload);
    }
    Ok(row)
}

fn journal_name(key: &[u8]) -> Result<(Seq, u16), Fault> {
    let seq = be_u64(key.get(1..9)).ok_or_else(bad_key)?;
    let part = key.get(9..11).ok_or_else(bad_key)?;
    Ok((seq, u16::from_be_bytes([part[0], part[1]])))
}

fn be_u64(bytes: Option<&[u8]>) -> Option<u64> {
    Some(u64::from_be_bytes(bytes?.try_into().ok()?))
}

fn bad_key() -> Fault {
    Fault::Damaged("a key is not one of ours".into())
}

fn missing(seq: Seq) -> Fault {
    Fault::Damaged(format!("record {seq} is named by its incident and absent"))
}

fn broken(key: &[u8]) -> Fault {
    Fault::Damaged(format!("the value of {} does not hold its CRC", show(key)))
}

fn show(key: &[u8]) -> String {
    match journal_name(key) {
        Ok((seq, _)) if key[0] == Space::Journal.byte() => format!("record {seq}"),
        _ => String::from_utf8_lossy(key).into_owned(),
    }
}

fn follows(before: Option<&Row>, row: &Row) -> Result<(), Fault> {
    match before {
        Some(before) if before.head.seq != row.head.prev => Err(Fault::Damaged(format!(
            "record {} follows {}, and {} was found",
            row.head.seq, row.head.prev, before.head.seq
        ))),
        _ => Ok(()),
    }
}

/// sled panics, and a panic must stay here.
fn contained<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // Nothing of ours is left half done: what sled holds is dropped or found
    // out by the next call.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Fault::Damaged(format!("sled panicked: {text}")))
    })
}

fn fault(error: sled::Error) -> Fault {
    match error {
        // sled hands its first error out again as a new one, whose text is that
        // of a debugger.
        sled::Error::Io(error) if refuses(error.kind()) => environment(&error.kind().into()),
        sled::Error::Io(error) => environment(&error),
        other => Fault::Damaged(other.to_string()),
    }
}

/// While opening, an I/O error that is not the filesystem's refusal comes from
/// the bytes: a short file, a bad sector.
fn open_fault(error: sled::Error) -> Fault {
    match fault(error) {
        Fault::Environment { text, .. } if text.contains("could not acquire lock") => Fault::Busy,
        Fault::Environment { kind, text } if !refuses(kind) => Fault::Damaged(text),
        other => other,
    }
}

fn refuses(kind: io::ErrorKind) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        kind,
        K::StorageFull
            | K::QuotaExceeded
            | K::ReadOnlyFilesystem
            | K::PermissionDenied
            | K::NotFound
            | K::OutOfMemory
    )
}
