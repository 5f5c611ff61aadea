//! Plugins arrive on a thread of their own: compiling one takes as long as it
//! takes, and the rest of the daemon does not wait.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config::{Config, PluginConfig};
use crate::driver::{Arrival, PluginOrder};
use crate::model::view::{NamedBy, PluginState, PluginView, TrustView};
use crate::model::{CommandError, Event};
use crate::plugin::compile::Halt;
use crate::plugin::{CheckpointStore, Host, HostError, Running, Said};
use crate::reconcile::{self, Arrived, Install, Reconciler, Role, Stage};
use crate::store::{Checkpoints, SharedSlot};

/// Orders that wait while something is compiled.
const ORDERS_WAITING_MAX: usize = 16;

/// The thread that loads, and what it leaves behind.
pub struct Loading {
    thread: tokio::task::JoinHandle<()>,
    halt: Halt,
}

impl Loading {
    /// Ends the compiler, should it be at work, and waits for the thread.
    pub async fn close(self) {
        self.halt.call();
        if self.thread.await.is_err() {
            tracing::error!("the thread that loads plugins ended badly");
        }
    }
}

/// Where the driver's orders go, and who takes them.
pub fn orders() -> (mpsc::Sender<PluginOrder>, mpsc::Receiver<PluginOrder>) {
    mpsc::channel(ORDERS_WAITING_MAX)
}

/// Names of the plugins that are to arrive.
pub fn expected(config: &Config) -> BTreeSet<String> {
    let of_file = config.plugins.iter().map(|it| it.name.clone());
    of_file.chain(reconcile::installed_names(&config.paths.state, &config.plugins)).collect()
}

pub fn load(
    config: Arc<Config>,
    clock: Clock,
    slot: SharedSlot,
    checkpoints: Checkpoints,
    events: mpsc::Sender<Said>,
    arrivals: mpsc::Sender<Arrival>,
    orders: mpsc::Receiver<PluginOrder>,
) -> Loading {
    let checkpoints: Arc<dyn CheckpointStore> = Arc::new(Kept(checkpoints));
    let halt = Halt::default();
    let called = halt.clone();
    let count = expected(&config).len();
    let thread = tokio::task::spawn_blocking(move || {
        let mut driver = DriverStage { arrivals, clock };
        let host = Host::new(&config.paths, &config.trust, count + reconcile::SPARE)
            .map(|host| host.halted_by(called));
        match host {
            Ok(host) => {
                let reconciler = Reconciler::new(&host, &config, slot, checkpoints, events);
                serve(reconciler, &mut driver, orders);
            }
            Err(error) => refuse_all(&config, &error, &mut driver),
        }
    });
    Loading { thread, halt }
}

/// All that is to run, then what is ordered, until the driver is gone.
fn serve(
    mut reconciler: Reconciler<'_>,
    driver: &mut DriverStage,
    mut orders: mpsc::Receiver<PluginOrder>,
) {
    if reconciler.start_all(driver).is_break() {
        return;
    }
    while let Some(order) = orders.blocking_recv() {
        let failed = |detail: String| CommandError::Failed { detail };
        match order {
            PluginOrder::Install { file, settings, shadow_ms, trial_ms, by, reply } => {
                let install = Install { file, settings, shadow_ms, trial_ms, by };
                // Whoever asked may have gone; the journal has the answer.
                let _ = reply.send(reconciler.install(install, driver).map_err(failed));
            }
            PluginOrder::Remove { name, by, reply } => {
                let _ = reply.send(reconciler.remove(&name, by, driver).map_err(failed));
            }
            PluginOrder::Revoke { keys, digests, by, reply } => {
                let _ = reply.send(reconciler.revoke(&keys, &digests, by, driver).map_err(failed));
            }
            PluginOrder::UpdateRoot { file, by, reply } => {
                let _ = reply.send(reconciler.update_root(&file, by, driver).map_err(failed));
            }
            PluginOrder::Promote { name, run } => reconciler.promote(&name, run, driver),
            PluginOrder::GoBack { name, run, why } => {
                reconciler.go_back(&name, run, &why, driver);
            }
            PluginOrder::DropShadow { name, run, why } => {
                reconciler.drop_shadow(&name, run, &why, driver);
            }
            PluginOrder::Accept { name, run } => reconciler.accept(&name, run, driver),
        }
    }
}

/// The driver, as the reconciler sees it.
struct DriverStage {
    arrivals: mpsc::Sender<Arrival>,
    clock: Clock,
}

impl DriverStage {
    /// Breaks when the driver has gone, and the daemon with it.
    fn send(&mut self, arrival: Arrival) -> ControlFlow<()> {
        match self.arrivals.blocking_send(arrival) {
            Ok(()) if !self.arrivals.is_closed() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

impl Stage for DriverStage {
    fn arrive(&mut self, arrived: Arrived) -> ControlFlow<()> {
        self.send(arrival(arrived))
    }

    fn leave(&mut self, name: &str, shadow: bool) -> Option<Running> {
        let (reply, answer) = oneshot::channel();
        let name = name.to_owned();
        let _ = self.send(Arrival::Leave { name, shadow, reply });
        answer.blocking_recv().ok().flatten()
    }

    fn gone(&mut self, name: &str, shadow: bool) {
        let _ = self.send(Arrival::Gone { name: name.to_owned(), shadow });
    }

    fn trusts(&mut self, view: TrustView) {
        let _ = self.send(Arrival::Trust { view });
    }

    fn write(&mut self, event: Event) {
        let _ = self.send(Arrival::Note { event });
    }

    fn now_age_ms(&self) -> u64 {
        self.clock.age_ms()
    }
}

fn arrival(arrived: Arrived) -> Arrival {
    let Arrived { run, role, config, installed, result } = arrived;
    let (shadow_until_age_ms, trial_until_age_ms) = match role {
        Role::Live { trial_until_age_ms } => (None, trial_until_age_ms),
        Role::Shadow { until_age_ms } => (Some(until_age_ms), None),
    };
    let view = PluginView {
        named_by: if installed { NamedBy::Operator } else { NamedBy::File },
        shadow_until_age_ms,
        trial_until_age_ms,
        ..refused(&config, String::new())
    };
    let (loaded, running) = match result {
        Ok(started) => started,
        Err(error) => {
            let view = PluginView { detail: error.to_string(), ..view };
            return Arrival::Refused { view, run, targets: config.targets };
        }
    };
    let view = PluginView {
        version: loaded.manifest().version.clone(),
        world: loaded.world().word().into(),
        state: PluginState::Starting,
        ..view
    };
    match running {
        Running::Detector(handle) => Arrival::Detector {
            view,
            run,
            period_ms: config.period_ms,
            targets: config.targets,
            reads: loaded.manifest().reads.clone(),
            explains: loaded.manifest().explains.clone(),
            handle,
        },
        Running::Healer(handle) => Arrival::Healer { view, run, handle },
    }
}

fn refused(config: &PluginConfig, detail: String) -> PluginView {
    PluginView {
        name: config.name.clone(),
        digest: config.digest.clone(),
        state: PluginState::Refused,
        detail,
        ..PluginView::default()
    }
}

fn refuse_all(config: &Config, error: &HostError, driver: &mut DriverStage) {
    for plugin in &config.plugins {
        let view = refused(plugin, error.to_string());
        let targets = plugin.targets.clone();
        let _ = driver.send(Arrival::Refused { view, run: 0, targets });
    }
}

/// The store keeps what plugins ask to be kept.
struct Kept(Checkpoints);

impl CheckpointStore for Kept {
    fn load(&self, plugin: &str) -> Option<Vec<u8>> {
        self.0.get(plugin)
    }

    fn save(&self, plugin: &str, state: &[u8]) -> Result<(), String> {
        self.0.put(plugin, state).map_err(|error| error.to_string())
    }

    fn clear(&self, plugin: &str) -> Result<(), String> {
        self.0.remove(plugin).map_err(|error| error.to_string())
    }
}
