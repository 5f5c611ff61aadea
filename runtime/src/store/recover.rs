//! From whatever lies on the disk to a database that can be used.
//!
//! ```text
//! raw file read, chain whole up to the mark? ─no──────────────────────┐
//!   │yes                                                              ▼
//! sled opens it? ─────────no, damaged────────────────▶ what reads goes to db.next,
//!   │yes         └─no, the disk refuses──▶ read-only   db becomes db.damaged-N,
//! every record there? ────no─────────────────────────▶ db.next becomes db
//!   │yes
//! live
//! ```
//!
//! Invariant: a database is changed only after all that reads in it has been
//! found to be what the mark promises, or has been copied out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::archive::{Archive, Row, check_chain, run_of};
use super::cell::Head;
use super::database::{Batch, Database, Fault, Verdict, environment};
use super::mark::Mark;
use super::place::Place;
use super::shared::Owed;
use crate::model::{Event, Seq};

/// Numbers between the last that is known and the next after damage: more than
/// can have been given out and lost.
pub const SEQ_SKIP: Seq = 1_000_000;
const BATCH_ROWS: usize = 256;
/// Openings in a row that did not come to an end before sled is no longer asked.
const OPENINGS_MAX: u8 = 3;

/// Where the journal can be read.
pub enum Backend {
    Live(Database),
    /// The raw file: the filesystem lets nobody write.
    ReadOnly(Archive),
    /// Nothing yet.
    Absent,
}

pub struct Loaded {
    pub backend: Backend,
    /// The raw file of a live backend as it was, for a first replay.
    pub raw: Option<Archive>,
    /// Why nothing can be written.
    pub refused: Option<Fault>,
    /// The last record found.
    pub last: Seq,
    /// No number up to here may be given out.
    pub used: Seq,
    pub run: u64,
    /// Found damaged, and not yet told in the journal.
    pub gap: Option<Gap>,
}

/// What a `JournalGap` event tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The highest number that may have been given out, the lost ones included.
    pub used: Seq,
    pub why: String,
    pub salvaged: u64,
    pub first_lost: Option<Seq>,
    pub aside: String,
}

impl Gap {
    /// For a person: what was wanted, what was found, what to do.
    pub fn text(&self) -> String {
        let lost = match self.first_lost {
            Some(seq) => format!("records from {seq} on may be missing"),
            None => "no record is missing".to_owned(),
        };
        format!(
            "wanted the journal as it was written, found: {}; {} records were salvaged, {lost}. \
             Look at the disk; the damaged database is kept in {:?} and can be removed",
            self.why, self.salvaged, self.aside
        )
    }

    pub fn owed(self) -> Owed {
        let event = Event::JournalGap {
            why: self.why,
            salvaged: self.salvaged,
            first_lost: self.first_lost,
            aside: self.aside,
        };
        Owed { event, tells_gap: true }
    }
}
/// Hands out stamps: the run above, a count below.
#[derive(Debug)]
pub struct Stamps(AtomicU64);

impl Stamps {
    pub fn of_run(run: u64) -> Self {
        Self(AtomicU64::new(run << 32))
    }

    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A reopened database counts as another run.
    pub fn move_to(&self, run: u64) {
        self.0.fetch_max(run << 32, Ordering::Relaxed);
    }
}

/// How closely an existing database is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The raw file tells all that sled could lose. sled is asked for the end
    /// only, because what it has read once it keeps in memory.
    Raw,
    /// Something did not read: sled shows every record.
    Thorough,
}

/// Loads the store at `place`. An error means that nothing can be read either,
/// or that another process has it.
pub fn load(place: &Place, cache_bytes: u64, look: Look) -> Result<Loaded, Fault> {
    let settled = place.settle();
    let mark = Mark::read(&place.mark());
    let archive = Archive::read(&place.readable()).map_err(|error| environment(&error))?;
    let stamp_max = archive.as_ref().map_or(0, Archive::stamp_max);
    let run = 1 + run_of(stamp_max).max(mark.map_or(0, |mark| mark.run));
    // Without a mark, all that is intact is taken for durable.
    let intact = archive.as_ref().map_or(0, Archive::last);
    let durable = mark.map_or(intact, |mark| mark.durable);
    let mut loader = Loader { place, cache_bytes, look, durable, run };
    match (settled, archive) {
        (Err(error), archive) => Ok(loader.read_only(archive, environment(&error))),
        (Ok(()), Some(archive)) => loader.existing(archive),
        (Ok(()), None) => loader.fresh(),
    }
}

struct Loader<'a> {
    place: &'a Place,
    cache_bytes: u64,
    look: Look,
    durable: Seq,
    run: u64,
}

impl Loader<'_> {
    fn fresh(&mut self) -> Result<Loaded, Fault> {
        if self.durable > 0 {
            let why = format!("no database, and one was durable up to {}", self.durable);
            return self.replace(None, why);
        }
        match Database::open(&self.place.db(), self.cache_bytes) {
            Ok(database) => Ok(self.live(database, 0, None)),
            Err(Fault::Damaged(why)) => self.replace(None, why),
            Err(Fault::Busy) => Err(Fault::Busy),
            Err(refused) => Ok(self.read_only(None, refused)),
        }
    }

    fn existing(&mut self, archive: Archive) -> Result<Loaded, Fault> {
        match self.open_sound(&archive) {
            Ok((database, last)) => {
                let gap = database.gap().ok().flatten().and_then(|json| parse_gap(&json));
                Ok(Loaded { raw: Some(archive), ..self.live(database, last, gap) })
            }
            Err(Verdict::Fault(Fault::Busy)) => Err(Fault::Busy),
            Err(Verdict::Fault(Fault::Damaged(why))) => self.replace(Some(archive), why),
            Err(Verdict::Fault(refused)) => Ok(self.read_only(Some(archive), refused)),
            Err(Verdict::Unsound(unsound)) => self.replace(Some(archive), unsound.why),
        }
    }

    fn open_sound(&self, archive: &Archive) -> Result<(Database, Seq), Verdict> {
        archive.check(self.durable).map_err(Verdict::Unsound)?;
        let _attempt = Attempt::begin(self.place.opening()).map_err(Verdict::Fault)?;
        let database =
            Database::open(&self.place.db(), self.cache_bytes).map_err(Verdict::Fault)?;
        let verified = match self.look {
            Look::Raw => database.newest(1).map(|mut rows| rows.pop()).map_err(Verdict::Fault),
            Look::Thorough => database.verify(),
        };
        let verified = verified.and_then(|last| reaches(last, self.durable));
        match verified {
            Ok(last) => Ok((database, last)),
            Err(verdict) => {
                database.close();
                Err(verdict)
            }
        }
    }

    /// Builds a new database of what reads and puts it in place.
    fn replace(&mut self, archive: Option<Archive>, why: String) -> Result<Loaded, Fault> {
        match self.rebuild(archive.as_ref(), why) {
            Ok((database, gap)) => {
                let last = archive.as_ref().map_or(0, Archive::last);
                Ok(self.live(database, last, Some(gap)))
            }
            // Nothing was changed, so it is found damaged again when the disk
            // allows more. The numbers are skipped now.
            Err(refused @ Fault::Environment { .. }) => {
                let mut loaded = self.read_only(archive, refused);
                loaded.used += SEQ_SKIP;
                Ok(loaded)
            }
            Err(other) => Err(other),
        }
    }

    fn rebuild(&self, archive: Option<&Archive>, why: String) -> Result<(Database, Gap), Fault> {
        let io = |error: io::Error| environment(&error);
        self.place.remove_next().map_err(io)?;
        let database = Database::open(&self.place.next(), self.cache_bytes)?;
        let stamps = Stamps::of_run(self.run);
        let mut gap = Gap { why, ..salvage(archive, &database, &stamps, self.durable)? };
        let aside = self.place.db().exists().then(|| self.place.aside());
        gap.aside = aside.as_ref().map_or_else(String::new, |aside| aside.display().to_string());
        if let Some(before) = archive.and_then(|archive| parse_gap(&archive.gap()?)) {
            gap.first_lost = gap.first_lost.into_iter().chain(before.first_lost).min();
            gap.why = format!("{}; and before that: {}", gap.why, before.why);
        }
        let mut batch = Batch::default();
        batch.gap(&serde_json::to_vec(&gap).expect("a gap is plain data"), stamps.next());
        database.apply(batch)?;
        database.sync()?;
        // An opening that never ends is over with this.
        let _ = fs::remove_file(self.place.opening());
        match aside {
            Some(aside) => self.place.set_aside(&aside).map_err(io)?,
            None => self.place.settle().map_err(io)?,
        }
        Ok((database, gap))
    }

    fn live(&mut self, database: Database, last: Seq, gap: Option<Gap>) -> Loaded {
        Loaded {
            backend: Backend::Live(database),
            raw: None,
            refused: None,
            last,
            used: gap.as_ref().map_or(0, |gap| gap.used).max(last).max(self.durable),
            // Stamps of a salvage are this run's; what follows counts from the next.
            run: if gap.is_some() { self.run + 1 } else { self.run },
            gap,
        }
    }

    fn read_only(&mut self, archive: Option<Archive>, refused: Fault) -> Loaded {
        let last = archive.as_ref().map_or(0, Archive::last);
        Loaded {
            backend: archive.map_or(Backend::Absent, Backend::ReadOnly),
            raw: None,
            refused: Some(refused),
            last,
            used: last.max(self.durable),
            run: self.run,
            gap: None,
        }
    }
}

/// Copies what reads. Gives how much that was, and what is missing.
fn salvage(
    archive: Option<&Archive>,
    database: &Database,
    stamps: &Stamps,
    durable: Seq,
) -> Result<Gap, Fault> {
    let mut heads = Vec::new();
    let (mut next, mut prev) = (0, 0);
    while let Some(archive) = archive {
        let rows = archive.rows(next, BATCH_ROWS);
        let Some(last) = rows.last() else { break };
        next = last.head.seq + 1;
        let mut batch = Batch::default();
        for row in &rows {
            batch.record(Head { prev, stamp: stamps.next(), ..row.head }, &row.body);
            prev = row.head.seq;
        }
        database.apply(batch)?;
        heads.extend(rows.into_iter().map(|row| row.head));
    }
    for (plugin, state) in archive.into_iter().flat_map(Archive::checkpoints) {
        let mut batch = Batch::default();
        batch.checkpoint(&plugin, Some(&state), stamps.next());
        database.apply(batch)?;
    }
    let salvaged = heads.len() as u64;
    let used = prev.max(durable) + SEQ_SKIP;
    let first_lost = check_chain(heads.into_iter(), durable).err().map(|found| found.first_lost);
    Ok(Gap { used, why: String::new(), salvaged, first_lost, aside: String::new() })
}

fn reaches(last: Option<Row>, durable: Seq) -> Result<Seq, Verdict> {
    let last = last.map_or(0, |row| row.head.seq);
    if last < durable {
        let why = format!("sled shows records up to {last}, and {durable} was durable");
        return Err(Verdict::Fault(Fault::Damaged(why)));
    }
    Ok(last)
}

fn parse_gap(json: &[u8]) -> Option<Gap> {
    serde_json::from_slice(json).ok()
}

/// An opening in progress. Should sled take the process down with it, the next
/// start finds the note and, after some, salvages instead.
struct Attempt(PathBuf);

impl Attempt {
    fn begin(path: PathBuf) -> Result<Self, Fault> {
        let before = fs::read(&path).ok().and_then(|bytes| bytes.first().copied()).unwrap_or(0);
        if before >= OPENINGS_MAX {
            return Err(Fault::Damaged(format!("{before} openings did not come to an end")));
        }
        // On a disk that refuses, sled will say so itself.
        let _ = fs::write(&path, [before + 1]);
        Ok(Self(path))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
