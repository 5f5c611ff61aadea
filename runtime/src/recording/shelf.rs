//! Recordings of incidents: a file each, in a folder of their own.
//!
//! Invariant: at most so many files and so many bytes; the oldest goes first. A
//! file is there whole or not at all.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::scribe::{Scribe, Selection};
use super::tape::{Opened, Tape};
use crate::config::RecordingConfig;
use crate::model::IncidentId;

const ENDING: &str = "rec";
const UNFINISHED: &str = "unfinished";
/// Of one recording, whatever the box allows for all of them: as text a row of
/// many series takes far more than in memory.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Entries cloned at once.
const CHUNK_LEN: usize = 1_024;

#[derive(Debug, thiserror::Error)]
#[error("recordings of incidents in {}: {why}", path.display())]
pub struct ShelfError {
    pub path: PathBuf,
    pub why: std::io::Error,
}

#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
    box_name: String,
    files_max: usize,
    bytes_max: u64,
}

impl Shelf {
    /// A folder `recordings` in `state`, made when the first is kept.
    pub fn new(state: &Path, box_name: &str, config: &RecordingConfig) -> Self {
        Self {
            folder: state.join("recordings"),
            box_name: box_name.to_owned(),
            files_max: config.incidents_max,
            bytes_max: config.disk_max_bytes,
        }
    }

    fn path(&self, incident: IncidentId) -> PathBuf {
        self.folder.join(format!("{incident}.{ENDING}"))
    }

    /// Size in bytes of an incident's recording, if one is kept.
    pub fn size(&self, incident: IncidentId) -> Option<u64> {
        fs::metadata(self.path(incident)).ok().map(|it| it.len())
    }

    pub fn open(&self, incident: IncidentId) -> std::io::Result<fs::File> {
        fs::File::open(self.path(incident))
    }

    /// Writes down all that the tape holds, up to the incident. Blocks on the disk.
    pub fn keep(&self, tape: &Tape, opened: &Opened) -> Result<(), ShelfError> {
        if self.files_max == 0 {
            return Ok(());
        }
        let path = self.path(opened.incident);
        let failed = |why| ShelfError { path: path.clone(), why };
        fs::create_dir_all(&self.folder).map_err(failed)?;
        self.sweep();
        let unfinished = path.with_extension(UNFINISHED);
        let written =
            self.write(&unfinished, tape, opened).and_then(|()| fs::rename(&unfinished, &path));
        if let Err(why) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(failed(why));
        }
        self.make_room();
        Ok(())
    }

    fn write(&self, path: &Path, tape: &Tape, opened: &Opened) -> std::io::Result<()> {
        // Lines of workloads are in it: nobody else's to read.
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).mode(0o600).open(path)?;
        let mut out = std::io::BufWriter::new(file);
        let about = format!("what led to {}: {} of {}", opened.incident, opened.kind, opened.root);
        let (next, standing) = tape.from_age(0);
        let selection = Selection::default();
        let mut scribe =
            Scribe::new(&self.box_name, &about, tape.series(), &selection, opened.now.boot);
        writeln!(out, "{}", scribe.header())?;
        scribe.stand(standing);
        for line in self.latest(tape, scribe, next) {
            writeln!(out, "{line}")?;
        }
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    }

    /// The frames that led to it; of too many, those that came last.
    fn latest(&self, tape: &Tape, mut scribe: Scribe, mut next: u64) -> VecDeque<String> {
        let bytes_max = usize::try_from(self.bytes_max).unwrap_or(usize::MAX).min(FILE_BYTES_MAX);
        let end = tape.next();
        let (mut lines, mut bytes) = (VecDeque::new(), 0);
        let mut keep = |line: Option<String>| {
            let Some(line) = line else { return };
            bytes += line.len() + 1;
            lines.push_back(line);
            while bytes > bytes_max {
                let Some(oldest) = lines.pop_front() else { break };
                bytes -= oldest.len() + 1;
            }
        };
        while next < end {
            let heard = tape.hear(next, CHUNK_LEN.min(usize::try_from(end - next).unwrap_or(1)));
            if heard.entries.is_empty() {
                break;
            }
            scribe.miss(heard.missed);
            heard.entries.iter().for_each(|entry| keep(scribe.take(entry)));
            next = heard.next;
        }
        keep(scribe.finish());
        lines
    }

    /// What a daemon that was killed left half-written.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|it| it == UNFINISHED) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes the oldest, until what is left fits.
    fn make_room(&self) {
        let mut kept: Vec<(IncidentId, u64)> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let path = entry.path();
                let ours = path.extension().is_some_and(|it| it == ENDING);
                let id = path.file_stem()?.to_str()?.parse().ok().filter(|_| ours)?;
                Some((id, entry.metadata().ok()?.len()))
            })
            .collect();
        // Numbers of incidents grow.
        kept.sort_by_key(|(id, _)| std::cmp::Reverse(id.0));
        let mut bytes = 0;
        for (place, (id, size)) in kept.into_iter().enumerate() {
            if place >= self.files_max || bytes + size > self.bytes_max {
                let _ = fs::remove_file(self.path(id));
            } else {
                bytes += size;
            }
        }
    }
}
