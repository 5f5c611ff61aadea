//! The files of a store, and the two renames that put a new database in place.
//!
//! ```text
//! DIR/db            the database          DIR/db.next        a new one, until it is complete
//! DIR/db.old        what it replaced      DIR/db.damaged-N   what was set aside
//! DIR/mark          how far it was durable
//! DIR/reserve       room for a full disk  DIR/opening        tries to open, see `recover`
//! ```
//!
//! Invariant: `db` goes away only when `db.next` is complete and synced, so
//! whenever the power fails one of them is the whole truth.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::database::sync_dir;

/// Damaged databases that are kept for a person to look at.
const DAMAGED_KEPT: usize = 2;
const DAMAGED: &str = "db.damaged-";

#[derive(Clone, Debug)]
pub struct Place(PathBuf);

impl Place {
    pub fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    pub fn db(&self) -> PathBuf {
        self.0.join("db")
    }

    pub fn next(&self) -> PathBuf {
        self.0.join("db.next")
    }

    pub fn old(&self) -> PathBuf {
        self.0.join("db.old")
    }

    pub fn mark(&self) -> PathBuf {
        self.0.join("mark")
    }

    pub fn reserve(&self) -> PathBuf {
        self.0.join("reserve")
    }

    pub fn opening(&self) -> PathBuf {
        self.0.join("opening")
    }

    /// Where the database is to be read, whatever a crash left half done.
    pub fn readable(&self) -> PathBuf {
        [self.db(), self.next(), self.old()]
            .into_iter()
            .find(|dir| dir.join("db").exists())
            .unwrap_or_else(|| self.db())
    }

    /// Finishes or undoes the exchange that a crash interrupted.
    pub fn settle(&self) -> io::Result<()> {
        if !self.db().exists() {
            if self.next().exists() {
                fs::rename(self.next(), self.db())?;
            } else if self.old().exists() {
                fs::rename(self.old(), self.db())?;
            }
            sync_dir(&self.0)?;
        }
        remove(&self.next())?;
        remove(&self.old())
    }

    /// Puts `db.next` in the place of `db`, which becomes `db.old`.
    pub fn exchange(&self) -> io::Result<()> {
        sync_dir(&self.0)?;
        fs::rename(self.db(), self.old())?;
        fs::rename(self.next(), self.db())?;
        sync_dir(&self.0)
    }

    pub fn remove_old(&self) -> io::Result<()> {
        remove(&self.old())
    }

    pub fn remove_next(&self) -> io::Result<()> {
        remove(&self.next())
    }

    /// The next free name for a damaged database.
    pub fn aside(&self) -> PathBuf {
        let next = self.damaged().last().map_or(1, |(number, _)| number + 1);
        self.0.join(format!("{DAMAGED}{next}"))
    }

    /// As [`Place::exchange`], keeping `db` as `aside`.
    pub fn set_aside(&self, aside: &Path) -> io::Result<()> {
        sync_dir(&self.0)?;
        fs::rename(self.db(), aside)?;
        fs::rename(self.next(), self.db())?;
        sync_dir(&self.0)?;
        self.forget_damaged(DAMAGED_KEPT)
    }

    /// Removes all but the newest `keep` damaged databases.
    pub fn forget_damaged(&self, keep: usize) -> io::Result<()> {
        let damaged = self.damaged();
        let gone = damaged.len().saturating_sub(keep);
        damaged.iter().take(gone).try_for_each(|(_, path)| remove(path))
    }

    /// Oldest first.
    fn damaged(&self) -> Vec<(u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name();
                let number = name.to_str()?.strip_prefix(DAMAGED)?.parse().ok()?;
                Some((number, entry.path()))
            })
            .collect();
        found.sort();
        found
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Something that is no folder stands where ours should.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &Path, text: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("db"), text).unwrap();
    }

    fn text(place: &Place) -> String {
        fs::read_to_string(place.db().join("db")).unwrap()
    }

    #[test]
    fn a_crash_at_any_step_of_the_exchange_leaves_one_whole_database() {
        // What lies there, and which one it comes to.
        for (left, wanted) in [
            (&["db", "db.next"][..], "db"),
            (&["db.old", "db.next"], "db.next"),
            (&["db", "db.old"], "db"),
            (&["db.old"], "db.old"),
            (&["db.next"], "db.next"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let place = Place::new(dir.path());
            for name in left {
                folder(&dir.path().join(name), name);
            }
            assert_eq!(fs::read_to_string(place.readable().join("db")).unwrap(), wanted);
            place.settle().unwrap();
            assert_eq!(text(&place), wanted, "{left:?}");
            assert!(!place.next().exists() && !place.old().exists(), "{left:?}");
        }
    }

    #[test]
    fn only_the_newest_damaged_databases_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path());
        for round in 1..=12 {
            folder(&place.db(), "damaged");
            folder(&place.next(), "fresh");
            let aside = place.aside();
            assert_eq!(aside, dir.path().join(format!("db.damaged-{round}")));
            place.set_aside(&aside).unwrap();
            assert_eq!(text(&place), "fresh");
        }
        let kept: Vec<_> = place.damaged().into_iter().map(|(number, _)| number).collect();
        assert_eq!(kept, [11, 12]);
    }
}
