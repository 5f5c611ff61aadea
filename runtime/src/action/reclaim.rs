//! Making room: files that the box's file declares for it are removed, or lose
//! their beginning.
//!
//! Invariant: nothing is touched but plain files of a declared folder, never
//! through a link and never on another filesystem. Whoever may write into the
//! folder gains nothing by it: a name is removed, not what it leads to, and a
//! file is cut only when it has no second name elsewhere and its folder's owner
//! is its own.

use std::path::{Component, Path};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fallocate,
    fstat, fstatvfs, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::config::ReclaimConfig;
use crate::model::frame::attr;
use crate::model::{Attrs, Outcome, Value};

/// Files of one folder that are looked at; a folder with more is no log folder.
const FILES_MAX: usize = 100_000;
/// Holes begin and end at whole blocks.
const BLOCK: u64 = 4096;

#[derive(Debug, Default, PartialEq, Eq)]
struct Reclaimed {
    removed: usize,
    trimmed: usize,
    bytes: u64,
    /// What could not be done, and why; the first is told.
    trouble: Vec<String>,
}

/// On a thread of its own, because a filesystem may not answer.
pub async fn reclaim(declared: &[ReclaimConfig], params: &Attrs) -> Outcome {
    let what = attr(params, "what").map(Value::to_string);
    let chosen: Vec<ReclaimConfig> = declared
        .iter()
        .filter(|it| what.as_ref().is_none_or(|what| it.name == *what))
        .cloned()
        .collect();
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("reclaim".into()).spawn(move || {
        let now = SystemTime::now();
        let mut all = Reclaimed::default();
        chosen.iter().for_each(|config| all.take(config, now));
        // Nobody waits for it after its timeout.
        let _ = tell.send(all);
    });
    let reclaimed = match thread {
        Ok(_) => told.await.unwrap_or_default(),
        Err(error) => return Outcome::Failed { detail: format!("no thread: {error}") },
    };
    reclaimed.outcome()
}

impl Reclaimed {
    fn outcome(self) -> Outcome {
        let Self { removed, trimmed, bytes, trouble } = &self;
        let also = match trouble.as_slice() {
            [] => String::new(),
            [first, rest @ ..] => format!("; not done: {first}, and {} more", rest.len()),
        };
        let detail =
            format!("{removed} files removed, {trimmed} cut, {} MiB freed{also}", bytes >> 20);
        if removed + trimmed > 0 { Outcome::Done { detail } } else { Outcome::Failed { detail } }
    }

    fn take(&mut self, config: &ReclaimConfig, now: SystemTime) {
        if let Err(error) = self.try_take(config, now) {
            let dir = config.dir.display();
            self.trouble.push(match error {
                Errno::LOOP | Errno::NOTDIR => format!(
                    "{dir} is no folder, or goes through a symbolic link; name where it leads"
                ),
                error => format!("{dir}: {error}"),
            });
        }
    }

    fn try_take(&mut self, config: &ReclaimConfig, now: SystemTime) -> Result<(), Errno> {
        let folder = Folder::open(&config.dir)?;
        if let Some(pattern) = &config.evict {
            self.evict(&folder, pattern, config, now)?;
        }
        if let Some(pattern) = &config.trim {
            self.trim(&folder, pattern, config)?;
        }
        Ok(())
    }

    /// The oldest first, and no more than is wanted.
    fn evict(
        &mut self,
        folder: &Folder,
        pattern: &str,
        config: &ReclaimConfig,
        now: SystemTime,
    ) -> Result<(), Errno> {
        let mut files = folder.files(pattern)?;
        files.sort_by_key(|(_, stat)| (stat.st_mtime, stat.st_mtime_nsec));
        files.truncate(files.len().saturating_sub(config.keep as usize));
        let older_than = Duration::from_millis(config.older_than_ms);
        for (name, stat) in files {
            if age(&stat, now) < older_than || config.has_room(folder)? {
                return Ok(());
            }
            match unlinkat(&folder.fd, &name, AtFlags::empty()) {
                Ok(()) => {
                    self.removed += 1;
                    // What has another name, or a reader, keeps its room.
                    self.bytes += if stat.st_nlink == 1 { used(&stat) } else { 0 };
                }
                Err(Errno::NOENT) => {}
                Err(error) => self.trouble.push(format!("{name}: {error}")),
            }
        }
        Ok(())
    }

    fn trim(
        &mut self,
        folder: &Folder,
        pattern: &str,
        config: &ReclaimConfig,
    ) -> Result<(), Errno> {
        for (name, _) in folder.files(pattern)? {
            if config.has_room(folder)? {
                return Ok(());
            }
            match folder.cut(&name, config.trim_to_bytes) {
                Ok(0) => {}
                Ok(bytes) => {
                    self.trimmed += 1;
                    self.bytes += bytes;
                }
                Err(why) => self.trouble.push(format!("{name}: {why}")),
            }
        }
        Ok(())
    }
}

impl ReclaimConfig {
    fn has_room(&self, folder: &Folder) -> Result<bool, Errno> {
        let Some(wanted) = self.until_free_bytes else { return Ok(false) };
        let space = fstatvfs(&folder.fd)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize) >= wanted)
    }
}

/// Part by part, and none of them a link.
fn walked(dir: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at = openat(CWD, "/", flags, Mode::empty())?;
    for part in dir.components() {
        if let Component::Normal(name) = part {
            at = openat(&at, name, flags, Mode::empty())?;
        }
    }
    Ok(at)
}

struct Folder {
    fd: OwnedFd,
    stat: Stat,
}

impl Folder {
    fn open(dir: &Path) -> Result<Self, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        // No part of the way may lead elsewhere: whoever owns one would choose what
        // is removed.
        let straight = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = match openat2(CWD, dir, flags, Mode::empty(), straight) {
            // A kernel before 5.6.
            Err(Errno::NOSYS) => walked(dir, flags)?,
            opened => opened?,
        };
        let stat = fstat(&fd)?;
        Ok(Self { fd, stat })
    }

    /// Plain files of this filesystem whose names match.
    fn files(&self, pattern: &str) -> Result<Vec<(String, Stat)>, Errno> {
        let mut files = Vec::new();
        for entry in Dir::read_from(self.fd.as_fd())?.take(FILES_MAX) {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if !matches(pattern, name) {
                continue;
            }
            match statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if self.holds(&stat) => files.push((name.to_owned(), stat)),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn holds(&self, stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_dev == self.stat.st_dev
    }

    /// Gives the room of a file's beginning back. Whoever writes to it goes on
    /// where it was: its length stays, and what is gone reads as zeros.
    fn cut(&self, name: &str, keep_bytes: u64) -> Result<u64, String> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let told = |error: Errno| error.to_string();
        let file = openat(&self.fd, name, flags, Mode::empty()).map_err(told)?;
        let before = fstat(&file).map_err(told)?;
        if !self.holds(&before) {
            return Err("it is no plain file any more".into());
        }
        if before.st_nlink != 1 || before.st_uid != self.stat.st_uid {
            return Err("it has another name, or another owner than its folder".into());
        }
        let len = u64::try_from(before.st_size).unwrap_or(0);
        let hole = len.saturating_sub(keep_bytes) / BLOCK * BLOCK;
        if hole == 0 {
            return Ok(0);
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, punch, 0, hole).map_err(|error| match error {
            Errno::OPNOTSUPP => "its filesystem cuts no beginnings off".into(),
            error => error.to_string(),
        })?;
        let after = fstat(&file).map_err(told)?;
        Ok(used(&before).saturating_sub(used(&after)))
    }
}

/// Bytes on disk (`st_blocks` counts 512 of them, stat(2)).
fn used(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

fn age(stat: &Stat, now: SystemTime) -> Duration {
    let written = UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    // What was written in the future was written now.
    now.duration_since(written).unwrap_or_default()
}

/// `*` stands for any text, none included.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
