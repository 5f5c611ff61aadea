//! A `/proc` made of plain files. For tests.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) struct Proc {
    dir: tempfile::TempDir,
}

/// One process as `/proc/PID` shows it.
#[derive(Clone, Copy)]
pub(super) struct Pretend<'a> {
    pub pid: u32,
    pub parent: u32,
    pub name: &'a str,
    pub state: char,
    /// utime + stime, in ticks.
    pub ticks: u64,
    pub threads: u64,
    /// Start, in ticks since boot.
    pub start: u64,
    pub pages: u64,
    pub files: u32,
}

impl Default for Pretend<'_> {
    fn default() -> Self {
        Self {
            pid: 100,
            parent: 1,
            name: "model server",
            state: 'S',
            ticks: 0,
            threads: 1,
            start: 50,
            pages: 10,
            files: 3,
        }
    }
}

impl Proc {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn set(&self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.write(name, text),
            None => fs::remove_file(self.path(name)).unwrap(),
        }
    }

    pub(super) fn process(&self, process: Pretend) {
        let Pretend { pid, parent, name, state, ticks, threads, start, pages, .. } = process;
        let (user, system) = (ticks / 2, ticks - ticks / 2);
        self.write(
            &format!("{pid}/stat"),
            &format!(
                "{pid} ({name}) {state} {parent} 1 1 0 -1 4194560 9 0 0 0 {user} {system} 7 7 20 0 \
                 {threads} 0 {start} 1000000 {pages} 18446744073709551615 1 1 0 0 0 0 0\n"
            ),
        );
        let _ = fs::remove_dir_all(self.path(&format!("{pid}/fd")));
        fs::create_dir_all(self.path(&format!("{pid}/fd"))).unwrap();
        for file in 0..process.files {
            self.write(&format!("{pid}/fd/{file}"), "");
        }
    }

    pub(super) fn remove_process(&self, pid: u32) {
        fs::remove_dir_all(self.path(&pid.to_string())).unwrap();
    }
}
