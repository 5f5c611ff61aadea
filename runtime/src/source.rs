//! Reading the device: the box and its links, its workloads' processes, probes,
//! sensors, and what the kernel and others write.
//!
//! Invariant: this room reads and never judges. What could not be read is left
//! out; it is never zero, and it never waits for anything that may not come.
//!
//! Series are fixed at the start, so that each keeps its id: a disk, a chip or a
//! thermal zone that appears later has none until the daemon starts again. What
//! the configuration names (links, logs, sensors, mount points) may come and go.
//!
//! ```text
//!  source-device (a thread)   /proc, cgroups ──────────┐ batches: dropped
//!  source-mount (one each)    statvfs ── asked by it ──┤ under load, counted
//!  source-hardware (a thread) sensors of the board ────┤
//!  source-sensor (one each)   channels of IIO ─────────┤
//!  a task per sensor          a command ───────────────┤
//!  a task per device          Modbus TCP ──────────────┤
//!  a task per host of a link  a connection ────────────┤
//!  a task per probe           HTTP, TCP, a command ────┤
//!                             └ results wait for room ─┼▶ events ──▶ driver
//!  source-kmsg (a thread)     lines wait for room ─────┤
//!  source-log (one each)      log files, the same ─────┘
//! ```
//!
//! All of it ends with the last [`SourceControl`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::{mpsc, watch};

use self::device::Device;
use self::halt::Halt;
use self::hardware::Hardware;
use self::journal::Journal;
use self::kmsg::Kmsg;
use self::line::Around;
use self::link::host::Host;
use self::log::Log;
use self::outlet::Outlet;
use self::probe::{Probe, Surroundings};
use self::sensor::Sensor;
use self::series::Registry;
use self::smart::Smart;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::{ExternalConfig, ProbeConfig, SourceConfig, WorkloadConfig};
use crate::model::{Batch, Line, Series, TargetId, TargetKind};
use crate::workload::WorkloadStatus;

mod device;
mod disk;
mod filesystem;
#[cfg(test)]
mod fixture;
mod halt;
mod hardware;
mod interlock;
mod journal;
mod kernel;
mod kmsg;
mod line;
mod link;
mod log;
mod outlet;
mod probe;
mod process;
mod procfs;
mod read;
mod readonly;
mod resolve;
mod sensor;
mod series;
mod smart;
mod timekeeping;
mod wear;

#[derive(Clone, Debug, PartialEq)]
pub enum SourceEvent {
    Batch(Batch),
    Probe(ProbeResult),
    Interlock(InterlockResult),
    Lines(Vec<Line>),
}

/// What an interlock said. `clear` is none when it could not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterlockResult {
    pub name: String,
    /// The box may act.
    pub clear: Option<bool>,
    pub age_ms: u64,
    pub detail: String,
}

/// What one probe found. `good` is none when it could not judge, or has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeResult {
    pub target: TargetId,
    pub probe: String,
    pub good: Option<bool>,
    /// When it began: a proof takes none that began before its action ended.
    pub began_age_ms: u64,
    pub age_ms: u64,
    pub detail: String,
}

/// Names of the disks below `sys_root` that can be asked for their health.
pub fn disks(sys_root: &Path) -> Vec<String> {
    smart::found(sys_root)
}

/// All that will be read, before the first reading.
pub struct Sources {
    series: Vec<Series>,
    device: Device,
    probes: Vec<Probe>,
    kmsg: Option<Kmsg>,
    logs: Vec<Log>,
    journals: Vec<Journal>,
    interlocks: Vec<ProbeConfig>,
    hosts: Vec<Host>,
    hardware: Hardware,
    smart: Option<Smart>,
    sensors: Vec<Sensor>,
}

/// Steers what runs. When its last clone is dropped, all of it ends.
#[derive(Clone, Debug)]
pub struct SourceControl {
    control: Arc<Control>,
}

#[derive(Debug)]
struct Control {
    stop: watch::Sender<bool>,
    stop_device: SyncSender<()>,
    /// Ends what reads lines; none where the kernel gave none.
    halt: Option<Arc<Halt>>,
    haste: BTreeMap<TargetId, watch::Sender<u64>>,
    dropped: Arc<AtomicU64>,
}

impl Sources {
    pub fn new(
        config: &SourceConfig,
        workloads: &[WorkloadConfig],
        externals: &[ExternalConfig],
        mut bus: Option<&mut Bus>,
    ) -> Self {
        let mut registry = Registry::default();
        let device = Device::new(config, workloads, &mut registry);
        let mut probes = Vec::new();
        for workload in workloads {
            let target = TargetId::workload(&workload.name);
            probes.extend(workload.probes.iter().map(|p| Probe::new(&target, p, &mut registry)));
        }
        for external in externals {
            let target = TargetId::new(TargetKind::External, &external.name);
            probes.extend(external.probes.iter().map(|p| Probe::new(&target, p, &mut registry)));
        }
        let hosts = config.links.iter().flat_map(|it| Host::all(it, &mut registry)).collect();
        let hardware = Hardware::new(&config.sys_root, config.period_ms, &mut registry);
        let smart = config.smart.as_ref();
        let smart = smart.map(|it| Smart::new(&config.sys_root, it, &mut registry));
        let sensor = |it| Sensor::new(&config.sys_root, it, bus.as_deref_mut(), &mut registry);
        let sensors = config.sensors.iter().map(sensor).collect();
        let kmsg = config.kmsg.as_ref().map(Kmsg::new);
        let logs = config.logs.iter().map(Log::new).collect();
        let journals = config.journals.iter().map(Journal::new).collect();
        Self {
            series: registry.into_series(),
            device,
            probes,
            interlocks: config.interlocks.clone(),
            kmsg,
            logs,
            journals,
            hosts,
            hardware,
            smart,
            sensors,
        }
    }

    /// Every series there is; a [`crate::model::SeriesId`] is an index of it.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// Starts reading. Call it inside a tokio runtime with time and I/O.
    pub fn run(
        self,
        clock: Clock,
        snapshot: watch::Receiver<BTreeMap<String, WorkloadStatus>>,
        events: mpsc::Sender<SourceEvent>,
    ) -> SourceControl {
        let outlet = Outlet::new(events);
        let (stop, stopped) = watch::channel(false);
        let (stop_device, device_stopped) = sync_channel(1);
        let mut haste = BTreeMap::new();
        for probe in self.probes {
            let hasten: &mut watch::Sender<u64> =
                haste.entry(probe.target().clone()).or_insert_with(|| watch::channel(0).0);
            tokio::spawn(probe.watch(Surroundings {
                clock: clock.clone(),
                outlet: outlet.clone(),
                haste: hasten.subscribe(),
                stop: stopped.clone(),
            }));
        }
        for config in self.interlocks {
            let (clock, outlet) = (clock.clone(), outlet.clone());
            tokio::spawn(interlock::watch(config, clock, outlet, stopped.clone()));
        }
        for host in self.hosts {
            tokio::spawn(host.watch(clock.clone(), outlet.clone(), stopped.clone()));
        }
        let dropped = outlet.dropped();
        let halt = Halt::new().map(Arc::new);
        let halt = halt
            .inspect_err(|error| tracing::error!("neither lines nor sensors can be read: {error}"))
            .ok();
        if let Some(halt) = halt.clone() {
            let (clock, outlet) = (clock.clone(), outlet.clone());
            let around = Around { clock, outlet, halt, alive: stopped.clone() };
            let kmsg = self.kmsg.map(|kmsg| kmsg.start(around.clone()));
            let logs = self.logs.into_iter().map(|log| log.start(around.clone()));
            let hardware = self.hardware.start(around.clone());
            if let Some(smart) = self.smart {
                smart.start(around.clone());
            }
            let journals = self.journals.into_iter().map(|it| it.start(around.clone()));
            let lines = logs.chain(journals).chain(kmsg);
            let threads = lines.chain([hardware]).filter_map(Result::err);
            for error in threads.chain(Sensor::start_all(self.sensors, &around)) {
                tracing::error!("not all can be read, a thread could not be started: {error}");
            }
        }
        if let Err(error) = self.device.start(clock, snapshot, outlet, device_stopped, stopped) {
            tracing::error!("the device cannot be read, no thread could be started: {error}");
        }
        SourceControl { control: Arc::new(Control { stop, stop_device, halt, haste, dropped }) }
    }
}

impl SourceControl {
    /// A proof is wanted: the target's probes begin at once (one in flight is let
    /// finish first), and then every 250 ms, or as often as they do anyway, until
    /// the box has this age.
    pub fn hasten(&self, target: &TargetId, until_age_ms: u64) {
        if let Some(haste) = self.control.haste.get(target) {
            haste.send_modify(|until| *until = until_age_ms.max(*until));
        }
    }

    /// The proof is complete: from the next one on, the target's probes keep to
    /// their period.
    pub fn calm(&self, target: &TargetId) {
        if let Some(haste) = self.control.haste.get(target) {
            // A change that is told means *now*; this is none.
            haste.send_if_modified(|until| {
                *until = 0;
                false
            });
        }
    }

    /// Batches that found no room, since the start.
    pub fn dropped(&self) -> u64 {
        self.control.dropped.load(Ordering::Relaxed)
    }

    /// Ends all reading. Commands under way are killed.
    pub fn stop(&self) {
        self.control.stop.send_replace(true);
        // Full: it was told before.
        let _ = self.control.stop_device.try_send(());
        self.control.halt.iter().for_each(|halt| halt.end());
    }

    /// Waits until all have ended. What hangs in the kernel never does: wait with
    /// a deadline.
    pub async fn stopped(&self) {
        self.control.stop.closed().await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.halt.iter().for_each(|halt| halt.end());
    }
}

/// Until told to stop, or until nobody is left to say so.
async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests;
