//! Carrying out what is said about plugins, on a thread of its own.
//!
//! Invariant: what is written down comes before what is done, so a crash
//! between the two is made good by the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::believed::Believed;
use super::installed::{Installed, Place, Shelf};
use crate::config::{Config, PluginConfig};
use crate::model::view::TrustView;
use crate::model::{Event, Origin, PluginSettings, selects};
use crate::plugin::{
    CheckpointStore, Events, Host, Loaded, PluginError, Run, Running, SHADOW, Said,
};
use crate::store::SharedSlot;

/// As what a plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Live {
        trial_until_age_ms: Option<u64>,
    },
    /// Beside what is live under its name; nothing follows from what it says.
    Shadow {
        until_age_ms: u64,
    },
}

/// What became of one plugin that is to run.
#[derive(Debug)]
pub struct Arrived {
    pub run: Run,
    pub role: Role,
    /// What the box says of it.
    pub config: PluginConfig,
    /// The file does not name it, or another digest.
    pub installed: bool,
    pub result: Result<(Loaded, Running), PluginError>,
}

/// Whoever runs the plugins' day: the driver, as it is seen from here.
pub trait Stage {
    /// Breaks when nobody is there any more.
    fn arrive(&mut self, arrived: Arrived) -> ControlFlow<()>;
    /// Gives up the live one, or the one in shadow, for whoever asks to end it.
    fn leave(&mut self, name: &str, shadow: bool) -> Option<Running>;
    /// Nothing of that name is to run any more.
    fn gone(&mut self, name: &str, shadow: bool);
    /// Whom the box believes from now on.
    fn trusts(&mut self, view: TrustView);
    fn write(&mut self, event: Event);
    fn now_age_ms(&self) -> u64;
}

/// An operator's word.
#[derive(Clone, Debug)]
pub struct Install {
    pub file: PathBuf,
    pub settings: PluginSettings,
    pub shadow_ms: Option<u64>,
    pub trial_ms: u64,
    pub by: Origin,
}

pub struct Reconciler<'r> {
    pub(super) host: &'r Host,
    pub(super) config: &'r Config,
    pub(super) slot: SharedSlot,
    pub(super) checkpoints: Arc<dyn CheckpointStore>,
    events: mpsc::Sender<Said>,
    pub(super) shelf: Shelf,
    pub(super) believed: Believed,
    /// Of the plugins that were started: whether they are healers.
    pub(super) healers: BTreeMap<String, bool>,
    /// The latest start under each name, live and in shadow.
    current: BTreeMap<(String, bool), Run>,
    runs: Run,
}

impl<'r> Reconciler<'r> {
    pub fn new(
        host: &'r Host,
        config: &'r Config,
        slot: SharedSlot,
        checkpoints: Arc<dyn CheckpointStore>,
        events: mpsc::Sender<Said>,
    ) -> Self {
        let (shelf, error) = Shelf::open(&config.paths.state);
        if let Some(error) = error {
            tracing::error!(%error, "what was installed is not known");
        }
        let believed = Believed::open(&config.paths.state, &slot);
        Self {
            host,
            config,
            slot,
            checkpoints,
            events,
            shelf,
            believed,
            healers: BTreeMap::new(),
            current: BTreeMap::new(),
            runs: 0,
        }
    }

    /// Loads and starts all of them, in the file's order and then by name, and
    /// tells of each as soon as it is there, for as long as somebody wants to
    /// hear it. Blocks while something is compiled.
    pub fn start_all(&mut self, stage: &mut dyn Stage) -> ControlFlow<()> {
        self.believe(stage);
        let overruled = self.shelf.follow(&self.config.plugins);
        if !overruled.is_empty() {
            // Or it would come back with the file's former word.
            self.shelf.change_anyway(|_| {});
        }
        for (name, place) in overruled {
            tracing::warn!(
                plugin = name,
                "the box's file speaks of it anew: what was installed goes"
            );
            self.drop_shadow_checkpoint(&name);
            let shadow = place.shadow.map(|it| it.what);
            let what = place.live.or(shadow);
            let why = "the box's file came to say something else";
            self.tell_withdrawn(&name, what.as_ref(), why, None, stage);
        }
        for name in self.names() {
            if let Some(config) = self.live_config(&name) {
                let role = self.live_role(&name);
                self.load_and_start(config, role, stage)?;
            }
            if let Some((config, until_age_ms)) = self.shadow_config(&name) {
                self.load_and_start(config, Role::Shadow { until_age_ms }, stage)?;
            }
        }
        self.forget_unused_code();
        ControlFlow::Continue(())
    }

    pub(super) fn names(&self) -> Vec<String> {
        let of_file = self.config.plugins.iter().map(|it| it.name.clone());
        let known: BTreeSet<_> = self.config.plugins.iter().map(|it| it.name.as_str()).collect();
        let others = self.shelf.places().keys().filter(|it| !known.contains(it.as_str())).cloned();
        of_file.chain(others).collect()
    }

    pub(super) fn file_entry(&self, name: &str) -> Option<&PluginConfig> {
        self.config.plugins.iter().find(|it| it.name == name)
    }

    /// What the box says of that name, with the digest that is to run.
    pub(super) fn config_of(&self, name: &str, what: &Installed) -> PluginConfig {
        let mut config = match self.file_entry(name) {
            Some(entry) => entry.clone(),
            None => settled(name, &what.settings, self.config),
        };
        config.package = self.shelf.path(what);
        config.digest.clone_from(&what.digest);
        config
    }

    pub(super) fn live_config(&self, name: &str) -> Option<PluginConfig> {
        let live = self.shelf.places().get(name).and_then(|place| place.live.as_ref());
        match live {
            Some(live) => Some(self.config_of(name, live)),
            None => self.file_entry(name).cloned(),
        }
    }

    pub(super) fn shadow_config(&self, name: &str) -> Option<(PluginConfig, u64)> {
        let shadow = self.shelf.places().get(name)?.shadow.as_ref()?;
        Some((self.config_of(name, &shadow.what), shadow.until_age_ms))
    }

    pub(super) fn floor(&self, name: &str) -> u64 {
        self.slot.look(|floors| floors.plugin_sequence.get(name).copied()).unwrap_or(0)
    }

    /// Whether an order is about what runs now, and not about what ran when it
    /// was given.
    pub(super) fn is_current(&self, name: &str, shadow: bool, run: Run) -> bool {
        self.current.get(&(name.to_owned(), shadow)) == Some(&run)
    }

    pub(super) fn run_of(&self, name: &str, shadow: bool) -> Option<Run> {
        self.current.get(&(name.to_owned(), shadow)).copied()
    }

    fn load_and_start(
        &mut self,
        config: PluginConfig,
        role: Role,
        stage: &mut dyn Stage,
    ) -> ControlFlow<()> {
        let loaded = self.host.load(&config, self.floor(&config.name));
        self.start(config, role, loaded, stage)
    }

    pub(super) fn start(
        &mut self,
        config: PluginConfig,
        role: Role,
        loaded: Result<Loaded, PluginError>,
        stage: &mut dyn Stage,
    ) -> ControlFlow<()> {
        self.runs += 1;
        let (name, run) = (config.name.clone(), self.runs);
        let shadow = matches!(role, Role::Shadow { .. });
        self.current.insert((name.clone(), shadow), run);
        let events = Events::new(self.events.clone(), run);
        let result = loaded.and_then(|loaded| {
            let loaded = match role {
                Role::Live { .. } => loaded,
                Role::Shadow { .. } => loaded.under(&shadow_name(&name)),
            };
            let running = self.host.start(&loaded, Arc::clone(&self.checkpoints), events)?;
            Ok((loaded, running))
        });
        if let Ok((loaded, _)) = &result {
            self.healers.insert(name.clone(), loaded.is_healer());
        }
        if let (Ok((loaded, _)), Role::Live { trial_until_age_ms: None }) = (&result, role) {
            let manifest = loaded.manifest();
            self.keep_floor(&name, manifest.sequence, &manifest.publisher);
        }
        let of_file = self.file_entry(&name).is_some_and(|it| it.digest == config.digest);
        stage.arrive(Arrived { run, role, config, installed: !of_file, result })
    }

    /// What ran once, and stood its trial, is never followed by something older,
    /// nor by another's of the same name. The box's file may say otherwise of whose
    /// it is: it names the very digest.
    pub(super) fn keep_floor(&self, plugin: &str, sequence: u64, publisher: &str) {
        let sequence = sequence.max(self.floor(plugin));
        let kept = self.slot.look(|floors| {
            floors.plugin_sequence.get(plugin) == Some(&sequence)
                && floors.plugin_publisher.get(plugin).is_some_and(|it| it == publisher)
        });
        if kept {
            return;
        }
        let raised = self.slot.update(|floors| {
            floors.plugin_sequence.insert(plugin.to_owned(), sequence);
            floors.plugin_publisher.insert(plugin.to_owned(), publisher.to_owned());
        });
        if let Err(error) = raised {
            tracing::error!(plugin, sequence, %error, "the floor is not raised: an older version could follow");
        }
    }

    /// Ends what runs under that name and starts what is to run now, if anything is.
    pub(super) fn run_live(&mut self, name: &str, stage: &mut dyn Stage) {
        let Some(config) = self.live_config(name) else {
            self.end(name, false, stage);
            stage.gone(name, false);
            if let Err(why) = self.checkpoints.clear(name) {
                tracing::warn!(plugin = name, why, "its checkpoint stays");
            }
            return;
        };
        let role = self.live_role(name);
        let loaded = self.host.load(&config, self.floor(name));
        self.end(name, false, stage);
        let _ = self.start(config, role, loaded, stage);
    }

    pub(super) fn live_role(&self, name: &str) -> Role {
        let trial = self.shelf.places().get(name).and_then(|it| it.trial.as_ref());
        Role::Live { trial_until_age_ms: trial.map(|it| it.until_age_ms) }
    }

    /// Its last checkpoint is kept when this returns.
    pub(super) fn end(&self, name: &str, shadow: bool, stage: &mut dyn Stage) {
        match stage.leave(name, shadow) {
            Some(Running::Detector(detector)) => detector.stop(),
            Some(Running::Healer(healer)) => healer.stop(),
            None => {}
        }
    }

    pub(super) fn drop_shadow_checkpoint(&self, name: &str) {
        if let Err(why) = self.checkpoints.clear(&shadow_name(name)) {
            tracing::warn!(plugin = name, why, "the checkpoint of its shadow stays");
        }
    }

    pub(super) fn forget_unused_code(&self) {
        let of_file = self.config.plugins.iter().map(|it| it.digest.to_ascii_lowercase());
        let places = self.shelf.places().values();
        let installed = places.flat_map(Place::all).map(|it| it.digest.to_ascii_lowercase());
        self.host.retain(&of_file.chain(installed).collect());
    }
}

/// Under what a plugin in shadow keeps its checkpoint and speaks in the log.
pub(super) fn shadow_name(name: &str) -> String {
    format!("{name}{SHADOW}")
}

/// What holds for a plugin that the box's file does not name.
fn settled(name: &str, settings: &PluginSettings, config: &Config) -> PluginConfig {
    let targets = match settings.targets.as_slice() {
        [] => vec!["*".to_owned()],
        targets => targets.to_vec(),
    };
    let judged = config.graph.iter().map(|it| &it.id);
    let judged = judged.filter(|id| targets.iter().any(|it| selects(it, id.as_str())));
    let usual = PluginConfig::unnamed(name);
    PluginConfig {
        judges: judged.cloned().collect(),
        targets,
        config: settings.config.as_ref().map_or_else(|| "{}".into(), ToString::to_string),
        period_ms: settings.period_ms.unwrap_or(usual.period_ms),
        ..usual
    }
}
