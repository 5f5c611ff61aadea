//! Plugins arrive on a thread of their own: compiling one takes as long as it
//! takes, and the rest of the daemon does not wait.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::driver::Arrival;
use crate::model::view::{PluginState, PluginView};
use crate::plugin::compile::Halt;
use crate::plugin::{CheckpointStore, Events, Host, HostError, Running};
use crate::reconcile::{self, Outcome};
use crate::store::{Checkpoints, SharedSlot};

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

pub fn load(
    config: Arc<Config>,
    slot: SharedSlot,
    checkpoints: Checkpoints,
    events: Events,
    arrivals: mpsc::Sender<Arrival>,
) -> Loading {
    let checkpoints: Arc<dyn CheckpointStore> = Arc::new(Kept(checkpoints));
    let halt = Halt::default();
    let called = halt.clone();
    let thread = tokio::task::spawn_blocking(move || {
        let host = Host::new(&config.paths, &config.trust, config.plugins.len())
            .map(|host| host.halted_by(called));
        match host {
            Ok(host) => load_all(&config, &host, &slot, &checkpoints, &events, &arrivals),
            Err(error) => refuse_all(&config, &error, &arrivals),
        }
    });
    Loading { thread, halt }
}

fn load_all(
    config: &Config,
    host: &Host,
    slot: &SharedSlot,
    checkpoints: &Arc<dyn CheckpointStore>,
    events: &Events,
    arrivals: &mpsc::Sender<Arrival>,
) {
    let floors = slot.look(|floors| floors.plugin_sequence.clone());
    reconcile::start_all(host, &config.plugins, &floors, checkpoints, events, |outcome| {
        if let Ok((loaded, _)) = &outcome.result {
            raise_floor(slot, &outcome.name, loaded.manifest().sequence);
        }
        // The driver has gone when this fails, and the daemon with it.
        match arrivals.blocking_send(arrival(config, outcome)) {
            Ok(()) if !arrivals.is_closed() => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
}

/// What ran once is never followed by something older.
fn raise_floor(slot: &SharedSlot, plugin: &str, sequence: u64) {
    let floor = slot.look(|floors| floors.plugin_sequence.get(plugin).copied());
    if floor.is_some_and(|floor| floor >= sequence) {
        return;
    }
    let raised = slot.update(|floors| {
        floors.plugin_sequence.insert(plugin.to_owned(), sequence);
    });
    if let Err(error) = raised {
        tracing::error!(plugin, sequence, %error, "the floor is not raised: an older version could follow");
    }
}

fn arrival(config: &Config, outcome: Outcome) -> Arrival {
    let configured = config.plugins.iter().find(|it| it.name == outcome.name);
    let mut view = PluginView {
        name: outcome.name,
        version: String::new(),
        world: String::new(),
        digest: configured.map(|it| it.digest.clone()).unwrap_or_default(),
        state: PluginState::Refused,
        detail: String::new(),
        calls: 0,
        faults: 0,
    };
    let (loaded, running) = match outcome.result {
        Ok(started) => started,
        Err(error) => {
            view.detail = error.to_string();
            return Arrival::Refused { view };
        }
    };
    view.version.clone_from(&loaded.manifest().version);
    view.world = loaded.world().word().into();
    view.state = PluginState::Starting;
    match running {
        Running::Detector(handle) => Arrival::Detector {
            view,
            period_ms: loaded.config().period_ms,
            targets: loaded.config().targets.clone(),
            explains: loaded.manifest().explains.clone(),
            handle,
        },
        Running::Healer(handle) => Arrival::Healer { view, handle },
    }
}

fn refuse_all(config: &Config, error: &HostError, arrivals: &mpsc::Sender<Arrival>) {
    for plugin in &config.plugins {
        let view = PluginView {
            name: plugin.name.clone(),
            version: String::new(),
            world: String::new(),
            digest: plugin.digest.clone(),
            state: PluginState::Refused,
            detail: error.to_string(),
            calls: 0,
            faults: 0,
        };
        let _ = arrivals.blocking_send(Arrival::Refused { view });
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
