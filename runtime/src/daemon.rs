//! Build, wire, run, drain: the one room that knows every other.
//!
//! Invariant: what is opened first is closed last. The lock on the state
//! directory is held from before the first read to after the last write, and
//! the journal closes when nobody is left who could write to it. Workloads
//! are not the daemon's to end: they go on under their shims.

mod boot;
mod floor;
mod history;
mod plugins;
mod recordings;
mod systemd;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::action::{Executor, Leave, Reboots, Tools};
use crate::api;
use crate::bus::{Bus, Link};
use crate::clock::Clock;
use crate::config::{Config, Secrets, SensorKind};
use crate::driver::{Driver, Inlets, Left, Outlets, Start};
use crate::heap;
use crate::model::{Condition, View};
use crate::plugin;
use crate::recording::{Shelf, Tape};
use crate::secret::Redactor;
use crate::source::Sources;
use crate::store::SharedSlot;
use crate::workload::{Options, Workloads};

/// Events that wait for the driver, by room. The driver empties them in
/// microseconds; a full channel makes its room wait, and nothing is lost.
const WAITING_MAX: usize = 1024;

/// Blocking threads beside those that may hang.
const THREADS_SPARE: usize = 16;

/// What is still blocked somewhere when all else is closed gets so long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// An action half-way through is let finish, within this.
const ACTION_GRACE: Duration = Duration::from_secs(15);

/// Runs until SIGTERM or SIGINT. `secrets` were given to their owners in `config`.
pub fn run(config: Config, secrets: Secrets) -> anyhow::Result<()> {
    heap::keep_small();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(blocking_threads_max(&config))
        .build()
        .context("the runtime does not start")?;
    let ended = runtime.block_on(serve(Arc::new(config), secrets));
    // A name that does not resolve, or a disk that does not answer, holds nobody up.
    runtime.shutdown_timeout(SHUTDOWN_GRACE);
    ended
}

/// Look-ups of names and looks at files may hang for as long as the kernel or a
/// resolver likes. Each probe, interlock and host of a link has one under way at
/// most, and all of them may hang: none takes the thread of another, of what
/// loads plugins or of the API. A notifier's look-ups come one a notification.
/// Workloads have threads of their own (`workload/process.rs`), so that a stop
/// waits for none of this.
fn blocking_threads_max(config: &Config) -> usize {
    let of_workloads = config.workloads.iter().flat_map(|it| &it.probes).count();
    let of_externals = config.externals.iter().flat_map(|it| &it.probes).count();
    let hosts = config.source.links.iter().flat_map(|it| &it.hosts).count();
    let interlocks = config.source.interlocks.len();
    let bus = usize::from(config.bus.is_some());
    let devices = config.source.sensors.iter();
    let devices = devices.filter(|it| matches!(it.kind, SensorKind::Modbus { .. })).count();
    let asked = of_workloads + of_externals + hosts + interlocks;
    let may_hang = asked + bus + devices + config.notify.len();
    THREADS_SPARE + may_hang
}

async fn serve(config: Arc<Config>, secrets: Secrets) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let boot::Booted { lock, slot, mut store, clock, memory, conditions, new_boot } =
        boot::boot(&config)?;
    let birth = slot.floors().birth;
    tracing::info!(birth, version = env!("CARGO_PKG_VERSION"), mode = %config.mode, "starting");

    let (workload_events, workloads_in) = mpsc::channel(WAITING_MAX);
    let mut options = Options::of_this_machine(&config.paths);
    options.secrets = secrets.by_workload();
    options.systemd.clone_from(&config.systemd.address);
    let (declared, paths) = (config.workloads.clone(), &config.paths);
    let workloads =
        Workloads::open_with(declared, paths, clock.clone(), workload_events, options).await?;
    let mut bus = config.bus.as_ref().map(Bus::new);
    let (workload, external) = (&config.workloads, &config.externals);
    let sources = Sources::new(&config.source, workload, external, bus.as_mut());
    let bus = bus.map(|bus| bus.start(clock.clone()));
    let series = sources.series().to_vec();
    let (tape, openings) = Tape::new(&config.recording, &series);
    let shelf = Shelf::new(&config.paths.state, &config.identity.name, &config.recording);
    recordings::keep(shelf.clone(), tape.clone(), openings);
    let (source_events, sources_in) = mpsc::channel(WAITING_MAX);
    let source_control = sources.run(clock.clone(), workloads.snapshot(), source_events);

    let journal = store.journal();
    let durable = journal.durable();
    let (leave, leave_seen) = watch::channel(Leave::new(config.mode));
    let (ended, ended_in) = mpsc::channel(WAITING_MAX);
    let slot = SharedSlot::new(slot);
    let reboots = Reboots::new(slot.clone());
    floor::keep(slot.clone(), durable.clone());
    let stops = config.workloads.iter();
    let (executor, in_flight) = Executor::new(
        Tools {
            workloads: workloads.clone(),
            stop_ms_max: stops.map(|it| (it.name.clone(), it.stop_deadline_ms)).collect(),
            notifiers: config.notify.clone(),
            commands: config.commands.clone(),
            catalogue: Arc::clone(&config.catalogue),
            reclaim: config.reclaim.clone(),
            reboots: reboots.clone(),
            sys_root: config.source.sys_root.clone(),
            run_dir: config.paths.run.clone(),
        },
        durable.clone(),
        leave_seen,
        clock.clone(),
        ended,
    );

    let (plugin_events, plugins_in) = mpsc::channel(WAITING_MAX);
    let (arrivals, arrivals_in) = mpsc::channel(WAITING_MAX);
    let expected = plugins::expected(&config);
    let (plugin_orders, orders_in) = plugins::orders();
    let loading = plugins::load(
        Arc::clone(&config),
        clock.clone(),
        slot.clone(),
        store.checkpoints(),
        plugin_events,
        arrivals,
        orders_in,
    );

    let (view, view_seen) =
        watch::channel(Arc::new(first_view(&config, birth, &clock, &conditions)));
    let (commands, requests) = mpsc::channel(16);
    let api = api::serve(
        &config.api,
        api::Outlets {
            view: view_seen,
            history: Arc::new(history::Told(store.reader())),
            durable: history::durable_seq(durable.clone()),
            commands,
            tape: tape.clone(),
            shelf,
        },
    )?;

    let rounds = Arc::new(AtomicU64::new(0));
    let told = systemd::Systemd::of_environment()
        .map(|it| it.keep(view.subscribe(), Arc::clone(&rounds), plugins::expected(&config).len()));

    let redactor = Redactor::new(secrets.iter());
    let reboots_age_ms = reboots.ages_ms();
    let start = Start {
        config,
        clock,
        birth,
        new_boot,
        memory,
        series,
        conditions,
        redactor,
        reboots_age_ms,
        plugins: expected,
    };
    let outlets = Outlets {
        journal,
        reader: store.reader(),
        executor,
        sources: source_control,
        conditions: std::iter::once(slot.condition())
            .chain(bus.as_ref().map(Link::condition))
            .collect(),
        workloads,
        tape,
        plugins: plugin_orders,
        view,
        leave,
        rounds,
    };
    let (stop, stopped) = oneshot::channel();
    let inlets = Inlets {
        sources: sources_in,
        workloads: workloads_in,
        plugins: plugins_in,
        arrivals: arrivals_in,
        ended: ended_in,
        requests,
        durable,
        stop: stopped,
    };
    let mut driver = tokio::spawn(Driver::new(start, outlets).run(inlets));

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // A daemon that shows an old view and heals nothing is worse than none.
        ended = &mut driver => {
            ended.context("the driver ended badly")?;
            anyhow::bail!("the driver ended, and nobody had told it to");
        }
    }
    if let Some(told) = told {
        told.stopping();
    }
    tracing::info!("stopping; workloads go on under their shims");
    in_flight.close();
    drop(stop);
    let Left { journal, detectors } = driver.await.context("the driver ended badly")?;
    let saved = tokio::task::spawn_blocking(move || plugin::stop_all(detectors));
    api.close().await;
    if let Some(bus) = bus {
        bus.close().await;
    }
    if tokio::time::timeout(ACTION_GRACE, in_flight.drained()).await.is_err() {
        tracing::warn!("an action did not come to its end; the next start looks for what it left");
    }
    loading.close().await;
    saved.await.context("the detectors ended badly")?;
    drop(journal);
    store.close();
    drop(lock);
    Ok(())
}

/// What is shown before the driver has looked at anything.
fn first_view(config: &Config, birth: u64, clock: &Clock, conditions: &[Condition]) -> View {
    View {
        box_name: config.identity.name.clone(),
        site: config.identity.site.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        birth,
        now: clock.now(),
        mode: config.mode,
        paused: None,
        conditions: conditions.to_vec(),
        workloads: Vec::new(),
        plugins: Vec::new(),
        trust: Default::default(),
        unprotected: Vec::new(),
        findings: Default::default(),
        incidents: Vec::new(),
        journal_seq: 0,
        journal_durable: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Machine};

    #[test]
    fn all_that_may_hang_can_hang_and_leaves_threads_for_the_rest() {
        let text = |probes: &str| {
            format!(
                "[box]\nname = \"b\"\nmode = \"enforce\"\n\
                 [[link]]\nname = \"eth0\"\nhosts = [\"a:1\", \"b:1\"]\n\
                 [[interlock]]\nname = \"line\"\nkind = \"tcp\"\naddress = \"plc:1\"\n\
                 [[notify]]\nname = \"page\"\nkind = \"webhook\"\nurl = \"http://p/\"\n\
                 [[external]]\nname = \"cam\"\nprobe = [{probes}]\n\
                 [[workload]]\nname = \"w\"\ncommand = [\"/w\"]\nprobe = [{probes}]\n"
            )
        };
        let probe =
            |name: usize| format!("{{ name = \"p{name}\", kind = \"tcp\", address = \"h:1\" }}");
        let probes = (0..30).map(probe).collect::<Vec<_>>().join(", ");
        let config = config::parse(Path::new("/box.toml"), &text(&probes), &Machine::default())
            .unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(blocking_threads_max(&config), THREADS_SPARE + 2 + 1 + 1 + 30 + 30);
    }
}
