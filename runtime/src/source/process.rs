//! What each workload takes of the box, summed over its processes.
//!
//! Invariant: a sum is given whole or not at all. A process that ended between
//! two looks is no longer part of it; one that may not be looked at makes the
//! sum unknown.
//!
//! Which processes: those of the workload's cgroup where it has one, else its
//! main process and what descends from it or was left to its shim.
//!
//! Names and units are OpenTelemetry's semantic conventions for processes
//! (<https://opentelemetry.io/docs/specs/semconv/system/process-metrics/>), with
//! one exception: CPU is in cores, so that it does not depend on how many the box
//! has, and its unit says so.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::process::family::Family;
use super::process::table::{Process, Table};
use super::read::{Page, Said, lines, malformed, number, words};
use super::series::{Registry, Values};
use crate::config::WorkloadConfig;
use crate::model::view::WorkloadState;
use crate::model::{SeriesId, TargetId};
use crate::workload::WorkloadStatus;

mod cgroup;
mod family;
mod table;

/// More processes than that are not summed: a fork bomb is not read to its end.
const MEMBERS_MAX: usize = 4096;

pub(super) struct Processes {
    table: Table,
    family: Family,
    page: Page,
    workloads: Vec<Workload>,
    /// When the last sample was taken, in milliseconds since boot.
    last_ms: Option<u64>,
    members: Vec<u32>,
}

struct Workload {
    name: String,
    series: WorkloadSeries,
    cpu: CpuMeter,
    said: Said,
    files_said: Said,
}

struct WorkloadSeries {
    running: SeriesId,
    cpu: SeriesId,
    memory: SeriesId,
    threads: SeriesId,
    files: SeriesId,
}

impl Processes {
    pub(super) fn new(
        proc_root: &Path,
        workloads: &[WorkloadConfig],
        registry: &mut Registry,
    ) -> Self {
        Self {
            table: Table::new(proc_root),
            family: Family::default(),
            page: Page::default(),
            workloads: workloads.iter().map(|w| Workload::new(&w.name, registry)).collect(),
            last_ms: None,
            members: Vec::new(),
        }
    }

    /// `now_ms` counts from the kernel's boot, as the start times in `/proc` do.
    pub(super) fn sample(
        &mut self,
        now_ms: u64,
        snapshot: &BTreeMap<String, WorkloadStatus>,
        values: &mut Values,
    ) {
        let last_ms = self.last_ms.replace(now_ms);
        for index in 0..self.workloads.len() {
            let Some(status) = snapshot.get(&self.workloads[index].name) else { continue };
            let exists = matches!(status.state, WorkloadState::Running | WorkloadState::Stopping);
            values.push((self.workloads[index].series.running, f64::from(u8::from(exists))));
            match status.pid.filter(|_| exists) {
                Some(pid) => self.sample_one(index, pid, status, Span { last_ms, now_ms }, values),
                None => self.workloads[index].cpu = CpuMeter::default(),
            }
        }
    }

    fn sample_one(
        &mut self,
        index: usize,
        pid: u32,
        status: &WorkloadStatus,
        span: Span,
        values: &mut Values,
    ) {
        let found = self.find_members(pid, status, span.now_ms);
        let workload = &mut self.workloads[index];
        workload.cpu.begin(pid);
        let sum = found.and_then(|found_by| {
            let family = (found_by == FoundBy::Descent).then_some(&self.family);
            workload.sum(&mut self.table, family, &self.members)
        });
        let Some(sum) = workload.said.note(sum) else {
            workload.cpu = CpuMeter::default();
            return;
        };
        let exact = status.cgroup.as_deref().and_then(|dir| cpu_usec(&mut self.page, dir));
        if let Some(cores) = workload.cpu.end(exact, self.table.hz(), span) {
            values.push((workload.series.cpu, cores));
        }
        if sum.threads == 0 {
            // All of it are zombies or gone: there is nothing left to measure.
            return;
        }
        values.push((workload.series.memory, sum.memory_bytes as f64));
        values.push((workload.series.threads, sum.threads as f64));
        if let Some(files) = workload.files_said.note(sum.files) {
            values.push((workload.series.files, files as f64));
        }
    }

    fn find_members(
        &mut self,
        pid: u32,
        status: &WorkloadStatus,
        now_ms: u64,
    ) -> io::Result<FoundBy> {
        self.members.clear();
        let in_cgroup = status
            .cgroup
            .as_deref()
            .is_some_and(|dir| cgroup::members(dir, &mut self.page, &mut self.members).is_ok());
        let found_by = if in_cgroup && !self.members.is_empty() {
            self.members.retain(|member| Some(*member) != status.shim_pid);
            FoundBy::Cgroup
        } else {
            // No cgroup, or one that says nothing: a threaded one does.
            self.members.clear();
            self.family.refresh(&mut self.table, pid, now_ms)?;
            self.family.descendants(pid, status.shim_pid, &mut self.members);
            FoundBy::Descent
        };
        if self.members.len() > MEMBERS_MAX {
            return Err(io::Error::other(format!("more than {MEMBERS_MAX} processes")));
        }
        self.members.sort_unstable();
        self.members.dedup();
        Ok(found_by)
    }
}

/// A cgroup is asked each time. Who descends from whom is older, so that a pid
/// may have been given away since.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FoundBy {
    Cgroup,
    Descent,
}

/// From the sample before to this one.
#[derive(Clone, Copy)]
struct Span {
    last_ms: Option<u64>,
    now_ms: u64,
}

struct Sum {
    memory_bytes: u64,
    threads: u64,
    files: io::Result<u64>,
}

impl Workload {
    fn new(name: &str, registry: &mut Registry) -> Self {
        let target = TargetId::workload(name);
        let mut gauge = |name: &str, unit: &str| registry.add(name, unit, &target, &[]);
        Self {
            name: name.to_owned(),
            series: WorkloadSeries {
                running: gauge("homeostat.workload.running", "1"),
                cpu: gauge("process.cpu.utilization", "{cpu}"),
                memory: gauge("process.memory.usage", "By"),
                threads: gauge("process.thread.count", "{thread}"),
                files: gauge("process.unix.file_descriptor.count", "{file_descriptor}"),
            },
            cpu: CpuMeter::default(),
            said: Said::new(format!("processes of {target}")),
            files_said: Said::new(format!("open files of {target}")),
        }
    }

    fn sum(
        &mut self,
        table: &mut Table,
        family: Option<&Family>,
        members: &[u32],
    ) -> io::Result<Sum> {
        let mut sum = Sum { memory_bytes: 0, threads: 0, files: Ok(0) };
        for pid in members {
            let Some(process) = table.read(*pid)? else { continue };
            if family.is_some_and(|family| family.is_another(&process)) {
                continue;
            }
            self.cpu.add(&process);
            if process.dead {
                continue;
            }
            sum.memory_bytes += process.memory_bytes;
            sum.threads += process.threads;
            if let Ok(total) = sum.files {
                sum.files = table.open_files(*pid).map(|files| total + files);
            }
        }
        Ok(sum)
    }
}

/// Turns processor time that only grows into cores in use.
///
/// The cgroup's own account is exact. Without one, processes are compared each
/// with itself, by pid and start time: a pid that was given away again begins at
/// zero. What a process used after the last look at it is lost.
#[derive(Default)]
struct CpuMeter {
    main: u32,
    last: Vec<Ticks>,
    now: Vec<Ticks>,
    last_usec: Option<u64>,
}

#[derive(Clone, Copy)]
struct Ticks {
    pid: u32,
    start: u64,
    spent: u64,
}

impl CpuMeter {
    fn begin(&mut self, main: u32) {
        if self.main != main {
            *self = Self { main, ..Self::default() };
        }
        self.now.clear();
    }

    /// Processes come in the order of their pids.
    fn add(&mut self, process: &Process) {
        self.now.push(Ticks { pid: process.pid, start: process.start, spent: process.ticks });
    }

    fn end(&mut self, exact_usec: Option<u64>, hz: u64, span: Span) -> Option<f64> {
        let spent_s = match (exact_usec, self.last_usec) {
            (Some(now), Some(last)) => now.checked_sub(last).map(|usec| usec as f64 / 1e6),
            (Some(_), None) => None,
            (None, _) => self.ticks_since_last(hz, span).map(|ticks| ticks as f64 / hz as f64),
        };
        self.last_usec = exact_usec;
        std::mem::swap(&mut self.last, &mut self.now);
        let elapsed_ms = span.now_ms.checked_sub(span.last_ms?).filter(|ms| *ms > 0)?;
        Some(spent_s? * 1000.0 / elapsed_ms as f64)
    }

    fn ticks_since_last(&self, hz: u64, span: Span) -> Option<u64> {
        let last_tick = span.last_ms? * hz / 1000;
        let mut total = None;
        for now in &self.now {
            let before = self
                .last
                .binary_search_by_key(&now.pid, |last| last.pid)
                .ok()
                .map(|found| self.last[found])
                .filter(|last| last.start == now.start);
            let spent = match before {
                Some(last) => now.spent.saturating_sub(last.spent),
                None if now.start >= last_tick => now.spent,
                // It ran before we looked: how much of it was lately is not known.
                None => continue,
            };
            *total.get_or_insert(0) += spent;
        }
        total
    }
}

/// What a version 2 cgroup has used so far, processes that ended included.
fn cpu_usec(page: &mut Page, dir: &Path) -> Option<u64> {
    let text = page.read(&dir.join("cpu.stat")).ok()?;
    let line = lines(text).find(|line| line.starts_with(b"usage_usec "))?;
    number(words(line).nth(1)?)
}

#[cfg(test)]
mod tests;
