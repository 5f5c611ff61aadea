//! What the kernel has a limited number of, and how far it is used: open files,
//! process numbers; and the states its processes are in.
//!
//! Invariant: reading every process costs milliseconds, so that it is done
//! every [`CENSUS_MS`] at most; of more than [`PROCESSES_MAX`] nothing is said.
//!
//! `system.linux.file_handle.utilization` and `system.linux.pid.utilization`
//! are ours. `system.process.count` is OpenTelemetry's
//! (<https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>); its
//! states are proc_pid_stat(5)'s.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::read::{Page, Said, malformed, number, words};
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

/// Between two looks at every process.
const CENSUS_MS: u64 = 5_000;
const PROCESSES_MAX: usize = 16_384;

const STATES: [&str; 4] = ["running", "sleeping", "uninterruptible", "zombie"];

#[derive(Debug)]
pub(super) struct Kernel {
    files: Files,
    census: Census,
}

impl Kernel {
    /// Read every `period_ms`, what is dear less often.
    pub(super) fn new(proc_root: &Path, period_ms: u64, registry: &mut Registry) -> Self {
        let files = Files::new(proc_root, registry);
        registry.set_period_ms(period_ms.max(CENSUS_MS));
        let census = Census::new(proc_root, registry);
        registry.set_period_ms(period_ms);
        Self { files, census }
    }

    /// `now_ms` counts on whatever else is done.
    pub(super) fn sample(&mut self, now_ms: u64, page: &mut Page, values: &mut Values) {
        self.files.sample(page, values);
        self.census.sample(now_ms, page, values);
    }
}

#[derive(Debug)]
struct Files {
    path: PathBuf,
    utilization: SeriesId,
    said: Said,
}

impl Files {
    fn new(proc_root: &Path, registry: &mut Registry) -> Self {
        let path = proc_root.join("sys/fs/file-nr");
        let name = "system.linux.file_handle.utilization";
        let utilization = registry.add(name, "1", &TargetId::the_box(), &[]);
        Self { said: Said::new(path.display().to_string()), path, utilization }
    }

    fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let read = page.read(&self.path).and_then(|text| used_share(text).ok_or_else(malformed));
        values.extend(self.said.note(read).map(|share| (self.utilization, share)));
    }
}

/// Allocated, free among them (none since Linux 2.6), and the limit.
fn used_share(text: &[u8]) -> Option<f64> {
    let mut fields = words(text);
    let mut field = || fields.next().and_then(number::<u64>);
    let (allocated, free, limit) = (field()?, field()?, field()?);
    (limit > 0).then(|| allocated.saturating_sub(free) as f64 / limit as f64)
}

#[derive(Debug)]
struct Census {
    root: PathBuf,
    pid_max: PathBuf,
    counts: [SeriesId; STATES.len()],
    pids: SeriesId,
    last_ms: Option<u64>,
    /// Kept, and written anew for each process.
    path: String,
    said: Said,
}

#[derive(Debug, Default, PartialEq)]
struct Counted {
    states: [u64; STATES.len()],
    /// Each thread has a number of its own.
    threads: u64,
}

impl Census {
    fn new(proc_root: &Path, registry: &mut Registry) -> Self {
        let the_box = TargetId::the_box();
        let mut add = |name, unit, labels: &[_]| registry.add(name, unit, &the_box, labels);
        Self {
            counts: STATES
                .map(|state| add("system.process.count", "{process}", &[("state", state)])),
            pids: add("system.linux.pid.utilization", "1", &[]),
            root: proc_root.to_owned(),
            pid_max: proc_root.join("sys/kernel/pid_max"),
            last_ms: None,
            path: String::new(),
            said: Said::new(format!("the processes in {}", proc_root.display())),
        }
    }

    fn sample(&mut self, now_ms: u64, page: &mut Page, values: &mut Values) {
        if self.last_ms.is_some_and(|last| now_ms < last + CENSUS_MS) {
            return;
        }
        self.last_ms = Some(now_ms);
        let counted = self.count(page);
        let Some(counted) = self.said.note(counted) else { return };
        let states = self.counts.iter().zip(counted.states);
        values.extend(states.map(|(series, count)| (*series, count as f64)));
        let max: Option<u64> =
            page.read(&self.pid_max).ok().and_then(|text| words(text).next().and_then(number));
        if let Some(max) = max.filter(|max| *max > 0) {
            values.push((self.pids, counted.threads as f64 / max as f64));
        }
    }

    fn count(&mut self, page: &mut Page) -> io::Result<Counted> {
        let mut counted = Counted::default();
        let mut processes = 0;
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let name = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
            let Some(name) = name else { continue };
            processes += 1;
            if processes > PROCESSES_MAX {
                return Err(io::Error::other(format!("more than {PROCESSES_MAX}")));
            }
            self.path.clear();
            write!(self.path, "{}/{name}/stat", self.root.display()).map_err(io::Error::other)?;
            // One that ended meanwhile is not counted.
            let Ok(text) = page.read(Path::new(&self.path)) else { continue };
            let (state, threads) = state_and_threads(text).ok_or_else(malformed)?;
            counted.threads += threads;
            counted.states[state] += 1;
        }
        Ok(counted)
    }
}

/// Fields 3 and 20 of proc_pid_stat(5), counted from the end of the name.
fn state_and_threads(text: &[u8]) -> Option<(usize, u64)> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = words(&text[name_end + 1..]);
    let state = match fields.next()? {
        b"R" => 0,
        b"D" => 2,
        b"Z" | b"X" | b"x" => 3,
        // Asleep, idle, stopped or traced: waiting, and could be woken.
        _ => 1,
    };
    Some((state, number(fields.nth(16)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::{Pretend, Proc};

    fn kernel(proc: &Proc) -> (Kernel, Registry) {
        let mut registry = Registry::default();
        (Kernel::new(proc.root(), 1000, &mut registry), registry)
    }

    fn sample(kernel: &mut Kernel, now_ms: u64, registry: &Registry) -> Vec<String> {
        let mut values = Values::new();
        kernel.sample(now_ms, &mut Page::default(), &mut values);
        values.iter().map(|(id, value)| format!("{} {value}", registry.describe(*id))).collect()
    }

    #[test]
    fn open_files_are_a_share_of_what_the_kernel_allows() {
        let proc = Proc::new();
        let (mut kernel, registry) = kernel(&proc);
        proc.write("sys/fs/file-nr", "600\t100\t2000\n");
        let read = sample(&mut kernel, 0, &registry);
        assert_eq!(read[0], "system.linux.file_handle.utilization 0.25");
        proc.write("sys/fs/file-nr", "600\t0\n");
        assert!(sample(&mut kernel, 1, &registry).is_empty());
        assert!(kernel.files.said.failing());
    }

    #[test]
    fn processes_are_counted_by_state_and_not_at_every_look() {
        let proc = Proc::new();
        let (mut kernel, registry) = kernel(&proc);
        proc.write("sys/kernel/pid_max", "100\n");
        for (pid, state, threads) in
            [(1, 'S', 3), (2, 'R', 1), (3, 'D', 1), (4, 'Z', 1), (5, 'I', 4)]
        {
            proc.process(Pretend { pid, state, threads, ..Pretend::default() });
        }
        let expected = [
            "system.process.count{state=running} 1",
            "system.process.count{state=sleeping} 2",
            "system.process.count{state=uninterruptible} 1",
            "system.process.count{state=zombie} 1",
            "system.linux.pid.utilization 0.1",
        ];
        assert_eq!(sample(&mut kernel, 1000, &registry), expected);
        assert!(sample(&mut kernel, 1000 + CENSUS_MS - 1, &registry).is_empty());
        assert_eq!(sample(&mut kernel, 1000 + CENSUS_MS, &registry), expected);
    }

    #[test]
    fn this_machine_counts_this_process() {
        let mut registry = Registry::default();
        let mut kernel = Kernel::new(Path::new("/proc"), 1000, &mut registry);
        let read = sample(&mut kernel, 0, &registry).join("\n");
        assert!(read.contains("system.process.count{state=running} "), "{read}");
        assert!(read.contains("system.linux.pid.utilization 0."), "{read}");
    }
}
