//! The box itself, from `/proc`: CPU, memory, pressure stall, load.
//!
//! Invariant: a reading that is missing is left out. A file that cannot be read
//! costs its own readings and no others.
//!
//! Names and units are OpenTelemetry's semantic conventions for system metrics
//! (<https://opentelemetry.io/docs/specs/semconv/system/system-metrics/>), with
//! three exceptions. Load average is named and measured as the Collector's
//! `hostmetrics` receiver does it. For pressure stall there is a proposal and no
//! convention yet (open-telemetry/semantic-conventions issue 2995), so its name
//! and labels are ours. `state=available` of `system.memory.usage` is ours too:
//! what can still be had is not the convention's `free`.

use std::io;
use std::path::{Path, PathBuf};

use super::read::{Page, Said, lines, malformed, number, words};
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

/// Fields of `/proc/stat`'s `cpu` line that are not part of another one: the
/// last two, guest time, are counted in `user` and `nice` already (proc_stat(5)).
const CPU_FIELDS: usize = 8;
const IDLE: usize = 3;
const IOWAIT: usize = 4;

#[derive(Debug)]
pub(super) struct BoxReader {
    cpu: Cpu,
    memory: Memory,
    load: Load,
    pressure: Vec<Pressure>,
    page: Page,
}

impl BoxReader {
    pub(super) fn new(proc_root: &Path, registry: &mut Registry) -> Self {
        Self {
            cpu: Cpu::new(proc_root, registry),
            memory: Memory::new(proc_root, registry),
            load: Load::new(proc_root, registry),
            pressure: Pressure::all(proc_root, registry),
            page: Page::default(),
        }
    }

    pub(super) fn sample(&mut self, values: &mut Values) {
        self.cpu.sample(&mut self.page, values);
        self.memory.sample(&mut self.page, values);
        self.load.sample(&mut self.page, values);
        for pressure in &mut self.pressure {
            pressure.sample(&mut self.page, values);
        }
    }
}

fn gauge(registry: &mut Registry, name: &str, unit: &str, labels: &[(&str, &str)]) -> SeriesId {
    registry.add(name, unit, &TargetId::the_box(), labels)
}

/// Share of all cores' time since the last reading that was not idle.
#[derive(Debug)]
struct Cpu {
    path: PathBuf,
    utilization: SeriesId,
    last: Option<CpuTime>,
    said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTime {
    busy: u64,
    all: u64,
}

impl Cpu {
    fn new(proc_root: &Path, registry: &mut Registry) -> Self {
        let path = proc_root.join("stat");
        Self {
            utilization: gauge(registry, "system.cpu.utilization", "1", &[]),
            last: None,
            said: Said::new(path.display().to_string()),
            path,
        }
    }

    fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let read = page.read(&self.path).and_then(|text| cpu_time(text).ok_or_else(malformed));
        let now = self.said.note(read);
        let last = std::mem::replace(&mut self.last, now);
        if let (Some(now), Some(last)) = (now, last)
            && let Some(all) = now.all.checked_sub(last.all).filter(|all| *all > 0)
        {
            // iowait may go back (proc_stat(5)), and busy can then seem to
            // outrun the whole.
            let busy = now.busy.saturating_sub(last.busy).min(all);
            values.push((self.utilization, busy as f64 / all as f64));
        }
    }
}

fn cpu_time(text: &[u8]) -> Option<CpuTime> {
    let mut fields = words(lines(text).next()?);
    if fields.next()? != b"cpu" {
        return None;
    }
    let mut ticks = [0_u64; CPU_FIELDS];
    for tick in &mut ticks {
        *tick = number(fields.next()?)?;
    }
    let all = ticks.iter().sum::<u64>();
    Some(CpuTime { busy: all - ticks[IDLE] - ticks[IOWAIT], all })
}

#[derive(Debug)]
struct Memory {
    path: PathBuf,
    utilization: SeriesId,
    used: SeriesId,
    available: SeriesId,
    said: Said,
}

impl Memory {
    fn new(proc_root: &Path, registry: &mut Registry) -> Self {
        let path = proc_root.join("meminfo");
        let usage = "system.memory.usage";
        Self {
            utilization: gauge(registry, "system.memory.utilization", "1", &[]),
            used: gauge(registry, usage, "By", &[("state", "used")]),
            available: gauge(registry, usage, "By", &[("state", "available")]),
            said: Said::new(path.display().to_string()),
            path,
        }
    }

    fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let read = page.read(&self.path).and_then(|text| memory_bytes(text).ok_or_else(malformed));
        if let Some((total, available)) = self.said.note(read) {
            let used = total.saturating_sub(available);
            values.push((self.utilization, used as f64 / total as f64));
            values.push((self.used, used as f64));
            values.push((self.available, available as f64));
        }
    }
}

/// Total and available bytes. What is used is the difference of the two, as the
/// convention has it for Linux.
fn memory_bytes(text: &[u8]) -> Option<(u64, u64)> {
    let field = |name: &[u8]| -> Option<u64> {
        let line = lines(text).find(|line| line.starts_with(name))?;
        let kibibytes: u64 = number(words(&line[name.len()..]).next()?)?;
        kibibytes.checked_mul(1024)
    };
    let total = field(b"MemTotal:").filter(|total| *total > 0)?;
    Some((total, field(b"MemAvailable:")?))
}

#[derive(Debug)]
struct Load {
    path: PathBuf,
    one_minute: SeriesId,
    said: Said,
}

impl Load {
    fn new(proc_root: &Path, registry: &mut Registry) -> Self {
        let path = proc_root.join("loadavg");
        Self {
            one_minute: gauge(registry, "system.cpu.load_average.1m", "{thread}", &[]),
            said: Said::new(path.display().to_string()),
            path,
        }
    }

    fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let first = |text: &[u8]| words(text).next().and_then(number::<f64>);
        let read = page.read(&self.path).and_then(|text| first(text).ok_or_else(malformed));
        if let Some(load) = self.said.note(read) {
            values.push((self.one_minute, load));
        }
    }
}

/// Share of the last ten seconds in which some, or all, tasks stood still for
/// want of a resource (<https://docs.kernel.org/accounting/psi.html>).
#[derive(Debug)]
struct Pressure {
    path: PathBuf,
    some: SeriesId,
    /// Of the CPU there is none: the kernel calls it undefined and writes zeros.
    full: Option<SeriesId>,
    said: Said,
}

impl Pressure {
    fn all(proc_root: &Path, registry: &mut Registry) -> Vec<Self> {
        ["cpu", "memory", "io"].map(|resource| Self::new(proc_root, resource, registry)).into()
    }

    fn new(proc_root: &Path, resource: &str, registry: &mut Registry) -> Self {
        let path = proc_root.join("pressure").join(resource);
        let mut stalled = |tasks: &str| {
            let labels = [("resource", resource), ("stall_type", tasks), ("window", "10s")];
            gauge(registry, "system.linux.pressure", "1", &labels)
        };
        Self {
            some: stalled("some"),
            full: (resource != "cpu").then(|| stalled("full")),
            said: Said::new(path.display().to_string()),
            path,
        }
    }

    fn sample(&mut self, page: &mut Page, values: &mut Values) {
        let read = match page.read(&self.path) {
            // A kernel that does not count pressure: nothing is wrong with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            read => read.and_then(|text| {
                let full = self.full.map(|id| Some((id, stalled_share(text, b"full")?)));
                let some = stalled_share(text, b"some").ok_or_else(malformed)?;
                // Kernels before 5.13 have a `some` line alone in some files.
                Ok((some, full.flatten()))
            }),
        };
        if let Some((some, full)) = self.said.note(read) {
            values.push((self.some, some));
            values.extend(full);
        }
    }
}

/// `avg10` of one line, from per cent to a share.
fn stalled_share(text: &[u8], tasks: &[u8]) -> Option<f64> {
    let line = lines(text).find(|line| words(line).next() == Some(tasks))?;
    let avg10 = words(line).find_map(|word| word.strip_prefix(b"avg10="))?;
    number::<f64>(avg10).map(|percent| percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::fixture::Proc;

    const MEMINFO: &str =
        "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:    250 kB\n";

    fn reader(proc: &Proc) -> (BoxReader, Registry) {
        let mut registry = Registry::default();
        (BoxReader::new(proc.root(), &mut registry), registry)
    }

    /// Readings as `name{labels} value`, in order.
    fn sample(reader: &mut BoxReader, registry: &Registry) -> Vec<String> {
        let mut values = Values::new();
        reader.sample(&mut values);
        values.iter().map(|(id, value)| format!("{} {value}", registry.describe(*id))).collect()
    }

    #[test]
    fn cpu_is_the_share_of_time_since_the_last_reading_and_needs_two() {
        let proc = Proc::new();
        let (mut reader, registry) = reader(&proc);
        proc.write("stat", "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 1 1 1\n");
        assert_eq!(sample(&mut reader, &registry), Vec::<String>::new());
        // 100 more: 20 idle, 10 waiting for the disk, so 70 busy.
        proc.write("stat", "cpu  150 0 110 720 110 2 3 5 90 0\n");
        assert_eq!(sample(&mut reader, &registry), ["system.cpu.utilization 0.7"]);
        // No time went by: nothing can be said.
        assert_eq!(sample(&mut reader, &registry), Vec::<String>::new());
    }

    #[test]
    fn memory_used_is_what_cannot_be_had_any_more() {
        let proc = Proc::new();
        let (mut reader, registry) = reader(&proc);
        proc.write("meminfo", MEMINFO);
        let expected = [
            "system.memory.utilization 0.75",
            "system.memory.usage{state=used} 768000",
            "system.memory.usage{state=available} 256000",
        ];
        assert_eq!(sample(&mut reader, &registry), expected);
    }

    #[test]
    fn pressure_is_a_share_and_the_cpu_has_no_full() {
        let proc = Proc::new();
        let (mut reader, registry) = reader(&proc);
        let text = "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n\
                    full avg10=6.25 avg60=0.00 avg300=0.00 total=1\n";
        proc.write("pressure/cpu", text);
        proc.write("pressure/io", text);
        let expected = [
            "system.linux.pressure{resource=cpu,stall_type=some,window=10s} 0.125",
            "system.linux.pressure{resource=io,stall_type=some,window=10s} 0.125",
            "system.linux.pressure{resource=io,stall_type=full,window=10s} 0.0625",
        ];
        assert_eq!(sample(&mut reader, &registry), expected);
        assert!(!reader.pressure[1].said.failing(), "no file for memory is no fault");
    }

    #[test]
    fn a_file_that_is_malformed_or_gone_costs_its_own_readings_only() {
        let proc = Proc::new();
        let (mut reader, registry) = reader(&proc);
        proc.write("loadavg", "0.50 0.40 0.30 1/100 4242\n");
        for (stat, meminfo) in [
            (Some("cpu  1 2 3\n"), Some("MemTotal: lots\n")),
            (Some(""), Some("MemTotal: 0 kB\nMemAvailable: 0 kB\n")),
            (Some("intr 1 2 3\n"), Some("MemFree: 12 kB\n")),
            (None, None),
        ] {
            proc.set("stat", stat);
            proc.set("meminfo", meminfo);
            assert_eq!(sample(&mut reader, &registry), ["system.cpu.load_average.1m 0.5"]);
            assert!(reader.cpu.said.failing() && reader.memory.said.failing());
        }
        proc.write("meminfo", MEMINFO);
        assert_eq!(sample(&mut reader, &registry).len(), 4);
        assert!(!reader.memory.said.failing());
    }

    #[test]
    fn a_gap_in_the_readings_does_not_become_a_difference() {
        let proc = Proc::new();
        let (mut reader, registry) = reader(&proc);
        proc.write("stat", "cpu  100 0 0 100 0 0 0 0\n");
        sample(&mut reader, &registry);
        proc.set("stat", None);
        sample(&mut reader, &registry);
        proc.write("stat", "cpu  900 0 0 100 0 0 0 0\n");
        assert_eq!(sample(&mut reader, &registry), Vec::<String>::new());
    }

    #[test]
    fn this_machine_can_be_read() {
        let mut registry = Registry::default();
        let mut reader = BoxReader::new(Path::new("/proc"), &mut registry);
        let read = sample(&mut reader, &registry).join("\n");
        assert!(read.contains("system.memory.utilization 0."), "{read}");
        assert!(read.contains("system.cpu.load_average.1m "), "{read}");
    }
}
