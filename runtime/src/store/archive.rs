//! A sled database read without sled: every intact cell in the raw file.
//!
//! It serves three: it tells whether the file may be given to sled at all, it
//! is what a damaged database is salvaged from, and it is the view of a journal
//! that lies on a read-only filesystem. Invariant: it never writes, and any
//! bytes whatever make it neither panic nor hang.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::cell::{self, CELL_MAX, Head, Space};
use super::sledlog::{self, SEGMENT_LEN};
use crate::model::{IncidentId, Seq};

/// One record, its parts put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub head: Head,
    pub body: Vec<u8>,
}

#[derive(Debug)]
pub struct Archive {
    file: File,
    /// Whole records in order.
    records: Vec<Entry>,
    /// Newest whole version of each, by name; tombstones included.
    checkpoints: BTreeMap<String, Entry>,
    gap: Option<Entry>,
    /// Where in the file each part of each entry begins.
    places: Vec<u64>,
    stamp_max: u64,
    /// A stretch that no crash can have torn, and that does not read.
    torn: Option<String>,
}

/// What the walk found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    pub why: String,
    /// The first record that is, or may be, lost.
    pub first_lost: Seq,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    head: Head,
    /// Its parts' places, as a stretch of [`Archive::places`].
    first: usize,
    /// sled will read every part of it.
    sound: bool,
}

/// One cell as it is found. A file holds each several times: sled writes a
/// page anew when it is full of changes.
#[derive(Clone, Copy, Debug)]
struct Spot {
    head: Head,
    at: u64,
    sound: bool,
}

/// Spots between two clean-ups, at least: what is found is bounded by what
/// differs, not by the file.
const SPOTS_BETWEEN: usize = 4096;

impl Archive {
    /// Reads sled's folder `dir`; none if it holds no log.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(dir.join("db")) {
            Ok(file) => file,
            Err(error) if absent(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        let (spots, torn) = collect(&file, len);
        Ok(Some(Self::settle(file, &spots, torn)))
    }

    /// The highest stamp seen on any cell, readable by sled or not.
    pub fn stamp_max(&self) -> u64 {
        self.stamp_max
    }

    pub fn last(&self) -> Seq {
        self.records.last().map_or(0, |entry| entry.head.seq)
    }

    /// Whether sled will find every record that was ever called durable, up to
    /// `durable`. What lies behind may be the torn end of a crash, and is
    /// sled's to cut.
    pub fn check(&self, durable: Seq) -> Result<(), Unsound> {
        let kept = self.records.iter().filter(|entry| entry.sound && entry.head.seq <= durable);
        check_chain(kept.map(|entry| entry.head), durable)?;
        match &self.torn {
            Some(why) => Err(Unsound { why: why.clone(), first_lost: durable + 1 }),
            None => Ok(()),
        }
    }

    /// Up to `max` records from `from` on. A record that no longer reads is left out.
    pub fn rows(&self, from: Seq, max: usize) -> Vec<Row> {
        let begin = self.records.partition_point(|entry| entry.head.seq < from);
        self.records[begin..].iter().filter_map(|entry| self.row(entry)).take(max).collect()
    }

    /// As [`Archive::rows`], of a file that sled goes on writing: none if any
    /// of them was moved since.
    pub fn rows_unmoved(&self, from: Seq, max: usize) -> Option<Vec<Row>> {
        let begin = self.records.partition_point(|entry| entry.head.seq < from);
        self.records[begin..].iter().take(max).map(|entry| self.row(entry)).collect()
    }

    /// The newest `max` records, oldest first.
    pub fn newest(&self, max: usize) -> Vec<Row> {
        let mut rows: Vec<_> =
            self.records.iter().rev().filter_map(|entry| self.row(entry)).take(max).collect();
        rows.reverse();
        rows
    }

    pub fn incident(&self, id: IncidentId) -> Vec<Row> {
        let of_it = |entry: &&Entry| entry.head.incident == id.0 && id.0 != 0;
        self.records.iter().filter(of_it).filter_map(|entry| self.row(entry)).collect()
    }

    /// Name and state of each checkpoint that was not removed.
    pub fn checkpoints(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.checkpoints.iter().filter_map(|(name, entry)| {
            let state = unname(&self.row(entry)?.body)?;
            (!entry.head.closes).then_some((name.clone(), state))
        })
    }

    pub fn checkpoint(&self, plugin: &str) -> Option<Vec<u8>> {
        self.checkpoints().find(|(name, _)| name == plugin).map(|(_, state)| state)
    }

    /// The gap that was not yet told.
    pub fn gap(&self) -> Option<Vec<u8>> {
        let entry = self.gap.as_ref().filter(|entry| !entry.head.closes)?;
        Some(self.row(entry)?.body)
    }

    fn row(&self, entry: &Entry) -> Option<Row> {
        let mut body = Vec::new();
        let mut buffer = vec![0; CELL_MAX];
        for at in &self.places[entry.first..entry.first + usize::from(entry.head.parts)] {
            let len = read_most(&self.file, &mut buffer, *at);
            let cell = cell::decode(&buffer[..len])?;
            if (cell.head.seq, cell.head.stamp) != (entry.head.seq, entry.head.stamp) {
                return None;
            }
            body.extend_from_slice(cell.payload);
        }
        Some(Row { head: entry.head, body })
    }

    /// `spots` are in order and without doubles.
    fn settle(file: File, spots: &[Spot], torn: Option<String>) -> Self {
        let mut archive = Self {
            file,
            records: Vec::new(),
            checkpoints: BTreeMap::new(),
            gap: None,
            places: Vec::with_capacity(spots.len()),
            stamp_max: spots.iter().map(|spot| spot.head.stamp).max().unwrap_or(0),
            torn,
        };
        for version in spots.chunk_by(|a, b| a.version() == b.version()) {
            if let Some(entry) = archive.entry(version) {
                archive.add(entry);
            }
        }
        // Records of an older run behind those of a younger one were torn off
        // by a crash and their numbers given out again.
        let mut run = 0;
        archive.records.retain(|entry| {
            run = run.max(run_of(entry.head.stamp));
            run_of(entry.head.stamp) == run
        });
        archive
    }

    /// One version of one value, if all of its parts were found.
    fn entry(&mut self, version: &[Spot]) -> Option<Entry> {
        let head = version.first()?.head;
        let whole = version.len() == usize::from(head.parts)
            && version.iter().zip(0..).all(|(spot, part)| spot.head.part == part);
        let entry =
            Entry { head, first: self.places.len(), sound: version.iter().all(|spot| spot.sound) };
        whole.then(|| {
            self.places.extend(version.iter().map(|spot| spot.at));
            entry
        })
    }

    /// Versions come by stamp: a later one takes the place of an earlier.
    fn add(&mut self, entry: Entry) {
        match entry.head.space {
            Space::Journal => {
                self.records.pop_if(|last| last.head.seq == entry.head.seq);
                self.records.push(entry);
            }
            Space::Checkpoint => {
                if let Some(name) = self.row(&entry).and_then(|row| name_in(&row.body)) {
                    self.checkpoints.insert(name, entry);
                }
            }
            Space::Gap => self.gap = Some(entry),
        }
    }
}

impl Spot {
    /// What it is a part of: the value, then which writing of it.
    fn version(&self) -> (Space, Seq, u64) {
        (self.head.space, self.head.seq, self.head.stamp)
    }
}

/// There is none, or something else stands where its folder should.
fn absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The run of the daemon that wrote a stamp.
pub fn run_of(stamp: u64) -> u64 {
    stamp >> 32
}

/// Follows records from the first to `durable`, each naming the one before it.
pub fn check_chain(heads: impl Iterator<Item = Head>, durable: Seq) -> Result<(), Unsound> {
    let mut last = 0;
    for head in heads {
        if head.prev != last {
            return Err(Unsound {
                why: format!("record {} follows {}, and {last} was found", head.seq, head.prev),
                first_lost: last + 1,
            });
        }
        last = head.seq;
    }
    if last < durable {
        return Err(Unsound {
            why: format!("the journal ends at {last}, and was durable up to {durable}"),
            first_lost: last + 1,
        });
    }
    Ok(())
}

/// A checkpoint's payload carries its name, so that it is known without its key.
pub fn named(name: &str, state: &[u8]) -> Vec<u8> {
    let mut out = vec![u8::try_from(name.len()).expect("a plugin's name is checked to be short")];
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(state);
    out
}

/// The state behind the name.
pub fn unname(payload: &[u8]) -> Option<Vec<u8>> {
    let (len, rest) = payload.split_first()?;
    Some(rest.get(usize::from(*len)..)?.to_vec())
}

fn name_in(payload: &[u8]) -> Option<String> {
    let (len, rest) = payload.split_first()?;
    String::from_utf8(rest.get(..usize::from(*len))?.to_vec()).ok()
}

fn collect(file: &File, len: u64) -> (Vec<Spot>, Option<String>) {
    let mut buffer = vec![0; SEGMENT_LEN];
    let (mut ordered, mut lost) = (Vec::new(), Vec::new());
    for at in (0..len).step_by(SEGMENT_LEN) {
        let len = read_most(file, &mut buffer[..64], at);
        match sledlog::segment(&buffer[..len], at) {
            Some(segment) => ordered.push(segment),
            None => lost.push(at),
        }
    }
    ordered.sort_by_key(|segment| segment.lsn);
    let tail = sledlog::tail(&ordered, |at| {
        let mut bytes = vec![0; SEGMENT_LEN];
        let len = read_most(file, &mut bytes, at);
        bytes.truncate(len);
        bytes
    });

    let mut torn = None;
    let mut spots = Vec::new();
    let mut limit = SPOTS_BETWEEN;
    let mut note = |at: u64, segment: &[u8], walk: &sledlog::Walk| {
        note_all(segment, at, walk, &mut spots);
        if spots.len() > limit {
            clean(&mut spots);
            limit = 2 * spots.len() + SPOTS_BETWEEN;
        }
    };
    for segment in &ordered {
        let len = read_most(file, &mut buffer, segment.at);
        let mut walk = if segment.lsn < tail.end {
            sledlog::walk(&buffer[..len], segment.lsn)
        } else {
            sledlog::Walk::default()
        };
        if segment.lsn < tail.stable && !walk.complete {
            torn.get_or_insert_with(|| format!("the segment at byte {} does not read", segment.at));
        }
        walk.cut(tail.end);
        note(segment.at, &buffer[..len], &walk);
    }
    // Segments without a header: sled will not look at them, we do.
    for at in lost {
        let len = read_most(file, &mut buffer, at);
        if buffer[..len].iter().any(|byte| *byte != 0) {
            torn.get_or_insert_with(|| format!("the segment at byte {at} has no header"));
        }
        note(at, &buffer[..len], &sledlog::Walk::default());
    }
    clean(&mut spots);
    (spots, torn)
}

fn note_all(segment: &[u8], at: u64, walk: &sledlog::Walk, spots: &mut Vec<Spot>) {
    let mut bodies = walk.bodies.iter().peekable();
    for (place, cell) in cell::scan(segment) {
        while bodies.next_if(|body| body.end <= place).is_some() {}
        let sound = bodies.peek().is_some_and(|body| body.contains(&place));
        spots.push(Spot { head: cell.head, at: at + place as u64, sound });
    }
}

/// Puts spots in order, and keeps one of each: a sound one, if there is any.
fn clean(spots: &mut Vec<Spot>) {
    spots.sort_unstable_by_key(|spot| (spot.version(), spot.head.part, !spot.sound));
    spots.dedup_by_key(|spot| (spot.version(), spot.head.part));
}

/// Fills as much of `buffer` as the file gives. Where the disk refuses, what
/// lies behind the bad place reads as zeros: the rest can still be salvaged.
fn read_most(file: &File, buffer: &mut [u8], at: u64) -> usize {
    const BLOCK: usize = 4096;
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => {
                let end = buffer.len().min(done + BLOCK);
                buffer[done..end].fill(0);
                done = end;
            }
        }
    }
    done
}
