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
    stamp_max: u64,
}

/// What the walk found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsound {
    pub why: String,
    /// The first record that is, or may be, lost.
    pub first_lost: Seq,
}

#[derive(Clone, Debug)]
struct Entry {
    head: Head,
    /// Where each part begins in the file.
    at: Vec<u64>,
    /// sled will read every part of it.
    sound: bool,
}

/// Parts of one record in one version, as they are found.
#[derive(Debug)]
struct Found {
    head: Head,
    at: Vec<Option<u64>>,
    sound: Vec<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Record(Seq),
    /// Which one, its first part says.
    Checkpoint,
    Gap,
}

impl Archive {
    /// Reads sled's folder `dir`; none if it holds no log.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(dir.join("db")) {
            Ok(file) => file,
            Err(error) if absent(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        let found = collect(&file, len);
        Ok(Some(Self::settle(file, found)))
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
        check_chain(kept.map(|entry| entry.head), durable)
    }

    /// Up to `max` records from `from` on. A record that no longer reads is left out.
    pub fn rows(&self, from: Seq, max: usize) -> Vec<Row> {
        let begin = self.records.partition_point(|entry| entry.head.seq < from);
        self.records[begin..].iter().filter_map(|entry| self.row(entry)).take(max).collect()
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
        for at in &entry.at {
            let len = read_most(&self.file, &mut buffer, *at);
            let cell = cell::decode(&buffer[..len])?;
            if (cell.head.seq, cell.head.stamp) != (entry.head.seq, entry.head.stamp) {
                return None;
            }
            body.extend_from_slice(cell.payload);
        }
        Some(Row { head: entry.head, body })
    }

    fn settle(file: File, found: BTreeMap<(Name, u64), Found>) -> Self {
        let mut archive = Self {
            file,
            records: Vec::new(),
            checkpoints: BTreeMap::new(),
            gap: None,
            stamp_max: found.keys().map(|(_, stamp)| *stamp).max().unwrap_or(0),
        };
        // By name, then by stamp: a later version takes the place of an earlier.
        for ((name, _), found) in found {
            let Some(entry) = found.whole() else { continue };
            match name {
                Name::Record(seq) => {
                    archive.records.pop_if(|last| last.head.seq == seq);
                    archive.records.push(entry);
                }
                Name::Checkpoint => {
                    if let Some(name) = archive.row(&entry).and_then(|row| name_in(&row.body)) {
                        archive.checkpoints.insert(name, entry);
                    }
                }
                Name::Gap => archive.gap = Some(entry),
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

fn collect(file: &File, len: u64) -> BTreeMap<(Name, u64), Found> {
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
    let end = sledlog::tail_end(&ordered, |at| {
        let mut bytes = vec![0; SEGMENT_LEN];
        let len = read_most(file, &mut bytes, at);
        bytes.truncate(len);
        bytes
    });

    let mut found = BTreeMap::new();
    for segment in &ordered {
        let len = read_most(file, &mut buffer, segment.at);
        let mut walk = if segment.lsn < end {
            sledlog::walk(&buffer[..len], segment.lsn)
        } else {
            sledlog::Walk::default()
        };
        walk.cut(end);
        note_all(&buffer[..len], segment.at, &walk, &mut found);
    }
    // Segments without a header: sled will not look at them, we do.
    for at in lost {
        let len = read_most(file, &mut buffer, at);
        note_all(&buffer[..len], at, &sledlog::Walk::default(), &mut found);
    }
    found
}

fn note_all(
    segment: &[u8],
    at: u64,
    walk: &sledlog::Walk,
    found: &mut BTreeMap<(Name, u64), Found>,
) {
    let mut bodies = walk.bodies.iter().peekable();
    for (place, cell) in cell::scan(segment) {
        while bodies.next_if(|body| body.end <= place).is_some() {}
        let sound = bodies.peek().is_some_and(|body| body.contains(&place));
        note(cell.head, at + place as u64, sound, found);
    }
}

fn note(head: Head, at: u64, sound: bool, found: &mut BTreeMap<(Name, u64), Found>) {
    let name = match head.space {
        Space::Journal => Name::Record(head.seq),
        Space::Checkpoint => Name::Checkpoint,
        Space::Gap => Name::Gap,
    };
    let (part, parts) = (usize::from(head.part), usize::from(head.parts));
    let entry = found.entry((name, head.stamp)).or_insert_with(|| Found {
        head: Head { part: 0, ..head },
        at: vec![None; parts],
        sound: vec![false; parts],
    });
    if entry.at.len() != parts || part >= parts {
        return;
    }
    if entry.at[part].is_none() || (sound && !entry.sound[part]) {
        entry.at[part] = Some(at);
        entry.sound[part] = sound;
    }
}

impl Found {
    fn whole(self) -> Option<Entry> {
        let at = self.at.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Entry { head: self.head, at, sound: self.sound.into_iter().all(|part| part) })
    }
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
