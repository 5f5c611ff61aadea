//! The thread that reads the box and its workloads, once a period.
//!
//! Invariant: files are read on this thread and on no other of the daemon's, so
//! that a kernel that is slow to answer holds up readings and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::disk::Disks;
use super::filesystem::{self, Mount, MountPlan};
use super::kernel::Kernel;
use super::link::Link;
use super::outlet::{Open, Outlet};
use super::process::Processes;
use super::procfs::BoxReader;
use super::read::Page;
use super::readonly::ReadOnly;
use super::series::{Registry, Values};
use super::timekeeping::Timekeeping;
use super::wear::Wear;
use crate::clock::{Clock, boottime_ms};
use crate::config::{SourceConfig, WorkloadConfig};
use crate::model::Batch;
use crate::workload::WorkloadStatus;

pub(super) type Snapshot = watch::Receiver<BTreeMap<String, WorkloadStatus>>;

pub(super) struct Device {
    period: Duration,
    the_box: BoxReader,
    kernel: Kernel,
    timekeeping: Timekeeping,
    disks: Disks,
    wear: Wear,
    read_only: ReadOnly,
    processes: Processes,
    links: Vec<Link>,
    page: Page,
    plans: Vec<MountPlan>,
    mounts: Vec<Mount>,
    series: usize,
    /// As last seen. Our own, because who holds a `watch` keeps its sender waiting.
    statuses: BTreeMap<String, WorkloadStatus>,
}

impl Device {
    pub(super) fn new(
        config: &SourceConfig,
        workloads: &[WorkloadConfig],
        registry: &mut Registry,
    ) -> Self {
        registry.set_period_ms(config.period_ms.into());
        let root = &config.proc_root;
        let the_box = BoxReader::new(root, registry);
        let kernel = Kernel::new(root, config.period_ms.into(), registry);
        let timekeeping = Timekeeping::new(registry);
        let disks = Disks::new(root, &config.sys_root, registry);
        let wear = Wear::new(&config.sys_root, registry);
        let read_only = ReadOnly::new(root, &config.filesystems, registry);
        let plan = |path: &PathBuf| MountPlan::new(path, registry);
        let plans = config.filesystems.iter().map(plan).collect();
        let processes = Processes::new(root, workloads, registry);
        let link = |it| Link::new(&config.sys_root, it, registry);
        let links = config.links.iter().map(link).collect();
        Self {
            period: Duration::from_millis(config.period_ms.max(1).into()),
            the_box,
            kernel,
            timekeeping,
            disks,
            wear,
            read_only,
            processes,
            links,
            page: Page::default(),
            plans,
            mounts: Vec::new(),
            series: registry.len(),
            statuses: BTreeMap::new(),
        }
    }

    /// Starts the thread. It ends when `stop` says so or is dropped, or when
    /// nobody takes what it reads; `alive` is dropped with it.
    pub(super) fn start(
        mut self,
        clock: Clock,
        mut snapshot: Snapshot,
        outlet: Outlet,
        stop: Receiver<()>,
        alive: watch::Receiver<bool>,
    ) -> io::Result<()> {
        for plan in self.plans.drain(..) {
            self.mounts.push(Mount::open(plan, filesystem::space)?);
        }
        snapshot.mark_changed();
        std::thread::Builder::new().name("source-device".into()).spawn(move || {
            self.run(&clock, &mut snapshot, &outlet, &stop);
            drop(alive);
        })?;
        Ok(())
    }

    fn run(
        &mut self,
        clock: &Clock,
        snapshot: &mut Snapshot,
        outlet: &Outlet,
        stop: &Receiver<()>,
    ) {
        let mut next = Instant::now();
        loop {
            let batch = self.sample(clock, snapshot);
            if outlet.batch(batch) == Open::No {
                return;
            }
            // What was missed, while suspended or starved, is not made up for.
            next = (next + self.period).max(Instant::now());
            let pause = next.saturating_duration_since(Instant::now());
            match stop.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn sample(&mut self, clock: &Clock, snapshot: &mut Snapshot) -> Batch {
        let age_ms = clock.age_ms();
        let mut values = Values::with_capacity(self.series);
        // The mounts answer while the rest is read.
        self.mounts.iter_mut().for_each(Mount::ask);
        self.the_box.sample(&mut values);
        self.kernel.sample(age_ms, &mut self.page, &mut values);
        self.timekeeping.sample(&mut values);
        self.disks.sample(&mut self.page, &mut values);
        self.wear.sample(&mut self.page, &mut values);
        self.read_only.sample(&mut self.page, &mut values);
        if snapshot.has_changed().unwrap_or(false) {
            self.statuses.clone_from(&snapshot.borrow_and_update());
        }
        self.processes.sample(boottime_ms(), &self.statuses, &mut values);
        for link in &mut self.links {
            link.sample(&mut self.page, &mut values);
        }
        for mount in &mut self.mounts {
            mount.collect(&mut values);
        }
        Batch { age_ms, values }
    }
}
