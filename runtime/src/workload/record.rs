//! What is written down of a workload, so that any shim and any daemon can
//! tell what an earlier one left.
//!
//! In the run directory, which lives as long as the boot:
//! `lock` (held by the shim for its life), `spawn` (the intent, written before
//! the fork, and below it what the child wrote of itself before its exec),
//! `attempt.json`, `exit.json`, `exit.seen`: a shim's word, but for the last.
//! In the state directory, for ever: `attempts.json`, the last [`HISTORY_LEN`]
//! attempts, written by the daemon alone and behind the shim's back, so that no
//! restart waits for a disk. What a crash keeps out of it is still the latest
//! in the run directory, and is brought over before the next start.
//!
//! Invariant: nothing is spawned but under the lock and below an intent, and a
//! child does not execute its program before it has written itself down. So
//! with the lock free, an intent without a child is an attempt that never ran.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::history::HISTORY_LEN;
use super::tree::{Proc, Stat};
use crate::clock;
use crate::model::{AttemptId, ExitStatus};

/// The two directories of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    pub run: PathBuf,
    pub state: PathBuf,
}

/// Written before the fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub attempt: AttemptId,
    pub boot_id: String,
    pub cgroup: Option<PathBuf>,
    pub shim: Proc,
}

/// `attempt.json`: what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    pub attempt: AttemptId,
    pub boot_id: String,
    pub cgroup: Option<PathBuf>,
    pub shim: Proc,
    pub main: Proc,
    /// The shim that spawned it is gone; its exit status will not be known.
    pub adopted: bool,
    /// Somebody asked for its end.
    pub stopping: bool,
    /// For a drill its tree stands still until so long after the boot.
    #[serde(default)]
    pub held_until_boottime_ms: Option<u64>,
    /// Those of this boot before it, latest first: a crash may keep one from
    /// the history, which is written behind everybody's back.
    #[serde(default)]
    pub earlier: Vec<AttemptId>,
}

/// `exit.json`: how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub attempt: AttemptId,
    pub status: ExitStatus,
    /// Somebody asked for its end.
    pub wanted: bool,
    pub boot_id: String,
    /// Milliseconds after that boot.
    pub boottime_ms: u64,
}

impl AttemptRecord {
    /// It, and those before it.
    fn chain(self) -> Vec<AttemptId> {
        let mut chain = vec![self.attempt];
        chain.extend(self.earlier);
        chain.truncate(HISTORY_LEN);
        chain
    }
}

/// What the run directory says of the latest attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latest {
    Nothing,
    /// About to be spawned; with the lock free and in the same boot: never ran.
    Intended(Intent),
    /// It ran. Whether it still does is the process table's to say.
    Begun(AttemptRecord),
    Ended(ExitRecord),
}

/// What the child wrote of itself below the intent, before its exec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildWord {
    pub proc: Option<Proc>,
    /// It could not enter its cgroup.
    pub outside: bool,
    /// It could not get ready: the step, as `spawn` names them, and the errno.
    pub failed: Option<(char, i32)>,
}

impl Place {
    pub fn new(run: &Path, state: &Path, workload: &str) -> Self {
        Self {
            run: run.join("workloads").join(workload),
            state: state.join("workloads").join(workload),
        }
    }

    /// For the owner alone: lines of a workload may hold anything.
    pub fn make(&self) -> io::Result<()> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700).create(&self.run)
    }

    /// The state directory may be read-only or full; a workload runs all the same.
    pub fn make_state(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.state)
    }

    pub fn socket(&self) -> PathBuf {
        self.run.join("shim.sock")
    }

    pub fn fifo(&self) -> PathBuf {
        self.run.join("output.fifo")
    }

    pub fn spawn(&self) -> PathBuf {
        self.run.join("spawn")
    }

    pub fn attempt(&self) -> PathBuf {
        self.run.join("attempt.json")
    }

    pub fn exit(&self) -> PathBuf {
        self.run.join("exit.json")
    }

    pub fn seen(&self) -> PathBuf {
        self.run.join("exit.seen")
    }

    /// What a shim itself has to say, such as a panic.
    pub fn shim_log(&self) -> PathBuf {
        self.run.join("shim.log")
    }

    pub fn log(&self) -> PathBuf {
        self.state.join("output.log")
    }

    pub fn history(&self) -> PathBuf {
        self.state.join("attempts.json")
    }

    /// The lock, or none while a shim lives. A child between fork and exec
    /// holds it too, because it shares the open file.
    pub fn lock(&self) -> io::Result<Option<File>> {
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.run.join("lock"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    pub fn latest(&self) -> io::Result<Latest> {
        let spawn = self.read_spawn()?;
        let mut begun: Option<AttemptRecord> = read_json(&self.attempt())?;
        let exit: Option<ExitRecord> = read_json(&self.exit())?;
        let attempt = match (&spawn, &begun) {
            (Some((intent, _)), _) => intent.attempt,
            (None, Some(begun)) => begun.attempt,
            (None, None) => return Ok(exit.map_or(Latest::Nothing, Latest::Ended)),
        };
        if let Some(exit) = exit.filter(|exit| exit.attempt == attempt) {
            return Ok(Latest::Ended(exit));
        }
        if let Some(begun) = begun.take_if(|begun| begun.attempt == attempt) {
            return Ok(Latest::Begun(begun));
        }
        let (intent, child) = spawn.expect("without an attempt record it came from the intent");
        Ok(match child.proc {
            Some(main) => Latest::Begun(AttemptRecord {
                attempt,
                boot_id: intent.boot_id,
                cgroup: intent.cgroup.filter(|_| !child.outside),
                shim: intent.shim,
                main,
                adopted: false,
                stopping: false,
                held_until_boottime_ms: None,
                earlier: begun.map(AttemptRecord::chain).unwrap_or_default(),
            }),
            None => Latest::Intended(intent),
        })
    }

    /// Attempts that are known here to have been begun, latest first.
    pub fn begun(&self) -> Vec<AttemptId> {
        let begun: Option<AttemptRecord> = read_json(&self.attempt()).ok().flatten();
        begun.map(AttemptRecord::chain).unwrap_or_default()
    }

    /// Not synced: the intent matters to whoever comes later in this boot, and
    /// after a power cut there is nobody left whom it could double.
    pub fn write_intent(&self, intent: &Intent) -> io::Result<File> {
        let mut bytes = serde_json::to_vec(intent)?;
        bytes.push(b'\n');
        let temp = self.run.join("spawn.new");
        fs::write(&temp, bytes)?;
        let file = File::options().append(true).open(&temp)?;
        fs::rename(&temp, self.spawn())?;
        Ok(file)
    }

    /// Nothing was executed under this intent.
    pub fn withdraw_intent(&self) -> io::Result<()> {
        match fs::remove_file(self.spawn()) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    pub fn child_word(&self) -> ChildWord {
        self.read_spawn().ok().flatten().map(|(_, child)| child).unwrap_or_default()
    }

    /// Damage reads as nothing: the process table is asked in any case, and
    /// the history remembers which attempts were.
    fn read_spawn(&self) -> io::Result<Option<(Intent, ChildWord)>> {
        let Some(bytes) = read(&self.spawn())? else { return Ok(None) };
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let intent = lines.next().and_then(|line| serde_json::from_slice(line).ok());
        let mut child = ChildWord::default();
        for line in lines {
            if line == b"outside" {
                child.outside = true;
            } else if let Some(rest) = line.strip_prefix(b"failed ") {
                child.failed = parse_failed(rest);
            } else if let Some(stat) = Stat::parse(line) {
                child.proc = Some(stat.proc);
            }
        }
        Ok(intent.map(|intent| (intent, child)))
    }

    /// Writes down an end, at this moment.
    pub fn conclude(
        &self,
        attempt: AttemptId,
        status: ExitStatus,
        wanted: bool,
    ) -> io::Result<ExitRecord> {
        let boot_id = clock::boot_id()?;
        let boottime_ms = clock::boottime_ms();
        let exit = ExitRecord { attempt, status, wanted, boot_id, boottime_ms };
        write_json(&self.exit(), &exit)?;
        Ok(exit)
    }
}

/// Replaces a file as a whole, and durably.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temp = path.with_extension("new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&temp)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&temp, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    // Written whole or not at all; what does not parse was damaged by others.
    Ok(read(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

fn parse_failed(rest: &[u8]) -> Option<(char, i32)> {
    let (step, errno) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    Some((step.chars().next()?, errno.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Place) {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(&dir.path().join("run"), &dir.path().join("state"), "a");
        place.make().expect("made");
        (dir, place)
    }

    fn intent(seq: u64) -> Intent {
        Intent {
            attempt: AttemptId { birth: 1, seq },
            boot_id: "boot".into(),
            cgroup: Some("/c".into()),
            shim: Proc { pid: 1, start_ticks: 1 },
        }
    }

    #[test]
    fn an_intent_becomes_an_attempt_by_the_childs_own_word() {
        let (_dir, place) = place();
        assert_eq!(place.latest().expect("read"), Latest::Nothing);

        let mut record = place.write_intent(&intent(1)).expect("written");
        assert_eq!(place.latest().expect("read"), Latest::Intended(intent(1)));

        record
            .write_all(b"outside\n42 (sh) R 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 1\n")
            .expect("w");
        match place.latest().expect("read") {
            Latest::Begun(begun) => {
                assert_eq!(begun.main, Proc { pid: 42, start_ticks: 99 });
                assert_eq!(begun.cgroup, None, "it stayed outside");
            }
            other => panic!("{other:?}"),
        }

        record.write_all(b"failed u 1\n").expect("w");
        assert_eq!(place.child_word().failed, Some(('u', 1)));
    }

    #[test]
    fn an_earlier_attempts_exit_does_not_end_the_one_that_runs() {
        let (_dir, place) = place();
        place.conclude(AttemptId { birth: 1, seq: 1 }, ExitStatus::Unknown, false).expect("w");
        assert!(matches!(place.latest().expect("read"), Latest::Ended(_)));
        place.write_intent(&intent(2)).expect("written");
        assert_eq!(place.latest().expect("read"), Latest::Intended(intent(2)));
        place.withdraw_intent().expect("gone");
        assert!(
            matches!(place.latest().expect("read"), Latest::Ended(exit) if exit.attempt.seq == 1)
        );
    }

    #[test]
    fn a_damaged_record_reads_as_nothing() {
        let (_dir, place) = place();
        fs::write(place.spawn(), b"{\"attempt\":\"1-").expect("w");
        fs::write(place.attempt(), b"\0\0").expect("w");
        assert_eq!(place.latest().expect("read"), Latest::Nothing);
    }

    #[test]
    fn the_lock_is_one_holders() {
        let (_dir, place) = place();
        let held = place.lock().expect("lock").expect("free");
        assert!(place.lock().expect("lock").is_none());
        drop(held);
        assert!(place.lock().expect("lock").is_some());
    }
}
