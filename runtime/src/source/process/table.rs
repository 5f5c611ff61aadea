//! `/proc/PID`, one process at a time.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Page, malformed, number, words};

/// `PROC_SUPER_MAGIC`, statfs(2).
const PROC_MAGIC: u64 = 0x9fa0;

/// Entries of the auxiliary vector, getauxval(3).
const AT_PAGESZ: usize = 6;
const AT_CLKTCK: usize = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: u32,
    pub parent: u32,
    /// In ticks since boot. With the pid it names a process for as long as the box runs.
    pub start: u64,
    /// Processor time so far, user and system.
    pub ticks: u64,
    pub threads: u64,
    pub memory_bytes: u64,
    /// A zombie: it has ended, and its parent has not asked yet.
    pub dead: bool,
}

pub(super) struct Table {
    root: PathBuf,
    /// Kept, and written anew for each file.
    path: String,
    page: Page,
    hz: u64,
    page_bytes: u64,
    /// The size of `/proc/PID/fd` is the number of its entries. Linux 6.2 and
    /// later; 0 before.
    sized: bool,
}

impl Table {
    pub(super) fn new(root: &Path) -> Self {
        let magic = rustix::fs::statfs(root).map(|found| found.f_type);
        Self {
            root: root.to_owned(),
            path: String::new(),
            page: Page::default(),
            hz: auxiliary(AT_CLKTCK).unwrap_or(100),
            page_bytes: auxiliary(AT_PAGESZ).unwrap_or(4096),
            sized: magic.is_ok_and(|magic| u64::try_from(magic) == Ok(PROC_MAGIC)),
        }
    }

    /// Ticks of processor time in a second.
    pub(super) fn hz(&self) -> u64 {
        self.hz
    }

    #[cfg(test)]
    pub(super) fn page_bytes(&self) -> u64 {
        self.page_bytes
    }

    /// None when there is no such process, or no longer.
    pub(super) fn read(&mut self, pid: u32) -> io::Result<Option<Process>> {
        self.point_at(pid, "stat");
        match self.page.read(Path::new(&self.path)) {
            Ok(text) => {
                let process = parse(pid, text, self.page_bytes);
                process.map(Some).ok_or_else(malformed)
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// 0 when the process is gone.
    pub(super) fn open_files(&mut self, pid: u32) -> io::Result<u64> {
        self.point_at(pid, "fd");
        let counted = self.count_entries();
        match counted {
            Err(error) if is_gone(&error) => Ok(0),
            counted => counted,
        }
    }

    pub(super) fn pids(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    fn count_entries(&self) -> io::Result<u64> {
        if self.sized {
            let size = fs::metadata(&self.path)?.len();
            if size > 0 {
                return Ok(size);
            }
        }
        Ok(fs::read_dir(&self.path)?.count() as u64)
    }

    fn point_at(&mut self, pid: u32, file: &str) {
        self.path.clear();
        write!(self.path, "{}/{pid}/{file}", self.root.display()).expect("a string takes it all");
    }
}

/// ENOENT when its folder is gone, ESRCH when it went while the file was open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Fields as proc_pid_stat(5) numbers them. The second, the name, may hold
/// anything, brackets and spaces too, so that all else is counted from its end.
fn parse(pid: u32, text: &[u8], page_bytes: u64) -> Option<Process> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = [&b""[..]; 22];
    let mut rest = words(&text[name_end + 1..]);
    for field in &mut fields {
        *field = rest.next()?;
    }
    let field = |numbered: usize| fields[numbered - 3];
    let ticks = |numbered| number::<u64>(field(numbered));
    Some(Process {
        pid,
        parent: number(field(4))?,
        start: ticks(22)?,
        ticks: ticks(14)?.checked_add(ticks(15)?)?,
        threads: ticks(20)?,
        // Signed there, and never below zero.
        memory_bytes: ticks(24)?.checked_mul(page_bytes)?,
        dead: matches!(field(3), b"Z" | b"X" | b"x"),
    })
}

/// What the kernel told this program when it started it.
fn auxiliary(wanted: usize) -> Option<u64> {
    let bytes = fs::read("/proc/self/auxv").ok()?;
    let (words, _) = bytes.as_chunks::<{ size_of::<usize>() }>();
    let mut pairs = words.chunks_exact(2);
    let found = pairs.find(|pair| usize::from_ne_bytes(pair[0]) == wanted)?;
    u64::try_from(usize::from_ne_bytes(found[1])).ok().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = b"7 (a) S 9 (b) ) Z 3 1 1 0 -1 0 0 0 0 0 20 22 1 1 20 0 4 0 99 1 12 0 0\n";
        let expected = Process {
            pid: 7,
            parent: 3,
            start: 99,
            ticks: 42,
            threads: 4,
            memory_bytes: 12 * 4096,
            dead: true,
        };
        assert_eq!(parse(7, text, 4096), Some(expected));
    }

    #[test]
    fn what_is_cut_short_is_no_process() {
        for text in [&b""[..], b"7", b"7 (name", b"7 (name) S 1 2 3", b"7 (name) S x 1 1 1 1"] {
            assert_eq!(parse(7, text, 4096), None);
        }
    }

    #[test]
    fn the_kernel_tells_its_tick_and_its_page() {
        assert!(auxiliary(AT_PAGESZ).is_some_and(u64::is_power_of_two));
        assert_eq!(auxiliary(AT_CLKTCK), Some(100), "USER_HZ of every Linux we run on");
    }

    #[test]
    fn this_process_is_found_with_its_threads_and_files() {
        let mut table = Table::new(Path::new("/proc"));
        let me = table.read(std::process::id()).unwrap().unwrap();
        assert!(me.memory_bytes > 0 && me.threads > 0 && !me.dead);
        let _held = fs::File::open("/dev/null").unwrap();
        let listed = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let counted = table.open_files(std::process::id()).unwrap();
        // Tests beside this one open and close files of their own.
        assert!(counted > 3 && counted.abs_diff(listed) < 64, "{counted} and {listed}");
        assert!(table.pids().unwrap().contains(&std::process::id()));
    }
}
