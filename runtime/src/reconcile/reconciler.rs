//! Carrying out what is said about plugins, on a thread of its own.
//!
//! Invariant: what is written down comes before what is done, so a crash
//! between the two is made good by the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::installed::{Installed, InstalledError, Place, Shadow, Shelf, Trial};
use crate::config::{Config, PluginConfig};
use crate::model::{Event, Origin, PluginSettings, selects};
use crate::plugin::package::{Package, World};
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
    pub name: String,
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
    host: &'r Host,
    config: &'r Config,
    slot: SharedSlot,
    checkpoints: Arc<dyn CheckpointStore>,
    events: mpsc::Sender<Said>,
    shelf: Shelf,
    /// Of the plugins that were started: whether they are healers.
    healers: BTreeMap<String, bool>,
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
        Self { host, config, slot, checkpoints, events, shelf, healers: BTreeMap::new(), runs: 0 }
    }

    /// Loads and starts all of them, in the file's order and then by name, and
    /// tells of each as soon as it is there, for as long as somebody wants to
    /// hear it. Blocks while something is compiled.
    pub fn start_all(&mut self, stage: &mut dyn Stage) -> ControlFlow<()> {
        for name in self.shelf.follow(&self.config.plugins) {
            tracing::warn!(
                plugin = name,
                "the box's file speaks of it anew: what was installed goes"
            );
            let why = "the box's file came to say something else".to_owned();
            let (plugin, digest, back_to) = (name, String::new(), None);
            stage.write(Event::PluginWithdrawn { plugin, digest, back_to, why, by: None });
        }
        for name in self.names() {
            if let Some(config) = self.live_config(&name) {
                let trial = self.shelf.places.get(&name).and_then(|it| it.trial.as_ref());
                let role = Role::Live { trial_until_age_ms: trial.map(|it| it.until_age_ms) };
                self.load_and_start(config, role, stage)?;
            }
            if let Some((config, until_age_ms)) = self.shadow_config(&name) {
                self.load_and_start(config, Role::Shadow { until_age_ms }, stage)?;
            }
        }
        self.forget_unused_code();
        ControlFlow::Continue(())
    }

    fn names(&self) -> Vec<String> {
        let of_file = self.config.plugins.iter().map(|it| it.name.clone());
        let known: BTreeSet<_> = self.config.plugins.iter().map(|it| it.name.as_str()).collect();
        let others = self.shelf.places.keys().filter(|it| !known.contains(it.as_str())).cloned();
        of_file.chain(others).collect()
    }

    fn file_entry(&self, name: &str) -> Option<&PluginConfig> {
        self.config.plugins.iter().find(|it| it.name == name)
    }

    /// What the box says of that name, with the digest that is to run.
    fn config_of(&self, name: &str, settings: &PluginSettings, what: &Installed) -> PluginConfig {
        let mut config = match self.file_entry(name) {
            Some(entry) => entry.clone(),
            None => settled(name, settings, self.config),
        };
        config.package = self.shelf.path(what);
        config.digest.clone_from(&what.digest);
        config
    }

    fn live_config(&self, name: &str) -> Option<PluginConfig> {
        let place = self.shelf.places.get(name);
        match place.and_then(|place| Some((place, place.live.as_ref()?))) {
            Some((place, live)) => Some(self.config_of(name, &place.settings, live)),
            None => self.file_entry(name).cloned(),
        }
    }

    fn shadow_config(&self, name: &str) -> Option<(PluginConfig, u64)> {
        let place = self.shelf.places.get(name)?;
        let shadow = place.shadow.as_ref()?;
        Some((self.config_of(name, &place.settings, &shadow.what), shadow.until_age_ms))
    }

    fn floor(&self, name: &str) -> u64 {
        self.slot.look(|floors| floors.plugin_sequence.get(name).copied()).unwrap_or(0)
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

    fn start(
        &mut self,
        config: PluginConfig,
        role: Role,
        loaded: Result<Loaded, PluginError>,
        stage: &mut dyn Stage,
    ) -> ControlFlow<()> {
        self.runs += 1;
        let (name, run) = (config.name.clone(), self.runs);
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
        stage.arrive(Arrived { name, run, role, config, installed: !of_file, result })
    }

    /// What ran once, and stood its trial, is never followed by something older,
    /// nor by another's of the same name. The box's file may say otherwise of whose
    /// it is: it names the very digest.
    fn keep_floor(&self, plugin: &str, sequence: u64, publisher: &str) {
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

    /// Verifies, compiles and instantiates before anything changes.
    pub fn install(&mut self, order: Install, stage: &mut dyn Stage) -> Result<String, String> {
        let bytes = Package::read(&order.file).map_err(|error| error.to_string())?;
        let package = self.host.open(&bytes).map_err(|error| error.to_string())?;
        let manifest = package.manifest();
        let name = manifest.name.clone();
        self.check_settings(&name, &order.settings, package.world())?;
        self.check_kind(&name, package.world(), order.shadow_ms)?;
        let floor = self.floor(&name);
        if manifest.sequence < floor {
            return Err(format!(
                "{name} {}: wanted a sequence of at least {floor}, found {}: a box never goes \
                 back; raise `sequence` in plugin.toml and sign again",
                manifest.version, manifest.sequence
            ));
        }
        let owner = self.slot.look(|floors| floors.plugin_publisher.get(&name).cloned());
        if let Some(owner) = owner.filter(|it| *it != manifest.publisher) {
            return Err(format!(
                "{name} is {owner}'s: wanted a file that {owner} signed, found one by {}; only the \
                 box's own file may give a name to another",
                manifest.publisher
            ));
        }
        self.shelf.has_room_for(&name).map_err(|error| error.to_string())?;
        let mut what = Installed {
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            publisher: manifest.publisher.clone(),
            digest: package.digest().to_owned(),
            file: String::new(),
        };
        let config = self.config_of(&name, &order.settings, &what);
        let loaded = self.host.prepare(&config, &package).map_err(|error| error.to_string())?;
        let keep = |error: InstalledError| format!("it cannot be kept: {error}");
        what.file = self.shelf.put(&what.digest, &bytes).map_err(keep)?;
        self.take_in(&name, &what, &order, stage).map_err(keep)?;
        let config = self.config_of(&name, &order.settings, &what);
        let told = format!("{name} {} (sequence {})", what.version, what.sequence);
        Ok(match order.shadow_ms {
            Some(shadow_ms) => {
                let until_age_ms = stage.now_age_ms() + shadow_ms;
                self.end(&name, true, stage);
                let _ = self.start(config, Role::Shadow { until_age_ms }, Ok(loaded), stage);
                format!("{told} runs in shadow for {} s", shadow_ms / 1000)
            }
            None => {
                let trial_until_age_ms = Some(stage.now_age_ms() + order.trial_ms);
                self.end(&name, false, stage);
                let _ = self.start(config, Role::Live { trial_until_age_ms }, Ok(loaded), stage);
                format!("{told} runs, on trial for {} s", order.trial_ms / 1000)
            }
        })
    }

    /// Writes down what is to be.
    fn take_in(
        &mut self,
        name: &str,
        what: &Installed,
        order: &Install,
        stage: &mut dyn Stage,
    ) -> Result<(), InstalledError> {
        let now_age_ms = stage.now_age_ms();
        let over = self.file_entry(name).map(|it| it.digest.clone());
        let place = self.shelf.places.entry(name.to_owned()).or_default();
        place.over = over;
        place.settings = order.settings.clone();
        match order.shadow_ms {
            Some(shadow_ms) => {
                let until_age_ms = now_age_ms + shadow_ms;
                let (what, trial_ms) = (what.clone(), order.trial_ms);
                place.shadow = Some(Shadow { what, until_age_ms, trial_ms });
            }
            None => place.put_on_trial(what.clone(), now_age_ms + order.trial_ms),
        }
        self.shelf.save()?;
        stage.write(Event::PluginInstalled {
            plugin: name.to_owned(),
            version: what.version.clone(),
            sequence: what.sequence,
            publisher: what.publisher.clone(),
            digest: what.digest.clone(),
            shadow_ms: order.shadow_ms.unwrap_or(0),
            trial_ms: order.trial_ms,
            by: order.by.clone(),
        });
        Ok(())
    }

    fn check_settings(
        &self,
        name: &str,
        settings: &PluginSettings,
        world: World,
    ) -> Result<(), String> {
        if self.file_entry(name).is_some() {
            return match *settings == PluginSettings::default() {
                true => Ok(()),
                false => Err(format!(
                    "{name} is in the box's file, and that says its config, targets and period: \
                     change them there"
                )),
            };
        }
        if world == World::Healer {
            return Err(format!(
                "{name} is a healer, and the box's file does not name it: what it may propose, \
                 and for what, is said there, with [[plugin]], grants and [[incident.route]]"
            ));
        }
        if settings.config.as_ref().is_some_and(|it| !it.is_object()) {
            return Err("wanted a table as its config, found something else".into());
        }
        let nobody = |selector: &&String| {
            !self.config.graph.iter().any(|it| selects(selector, it.id.as_str()))
        };
        match settings.targets.iter().find(nobody) {
            Some(selector) => Err(format!(
                "no target of this box is selected by {selector:?}; `homeostat config show` has them"
            )),
            None => Ok(()),
        }
    }

    fn check_kind(&self, name: &str, world: World, shadow_ms: Option<u64>) -> Result<(), String> {
        let is_healer = world == World::Healer;
        if is_healer && shadow_ms.is_some() {
            return Err(format!(
                "{name} is a healer, and only detectors run in shadow: two healers would be asked \
                 about one incident; `mode = \"suggest\"` shows what it would do"
            ));
        }
        match self.healers.get(name) {
            Some(was_healer) if *was_healer != is_healer => Err(format!(
                "{name}: wanted another {}, found a plugin of world {world}",
                if *was_healer { "healer" } else { "detector" }
            )),
            _ => Ok(()),
        }
    }

    /// Its time in shadow is over, and it takes the place.
    pub fn promote(&mut self, name: &str, stage: &mut dyn Stage) {
        let now_age_ms = stage.now_age_ms();
        let Some(place) = self.shelf.places.get_mut(name) else { return };
        let Some(shadow) = place.shadow.take() else { return };
        let first = place.live.is_none() && self.config.plugins.iter().all(|it| it.name != name);
        let until_age_ms = now_age_ms + shadow.trial_ms;
        place.put_on_trial(shadow.what, until_age_ms);
        if let Err(error) = self.shelf.save() {
            tracing::error!(plugin = name, %error, "that it is live now is not written down");
        }
        self.end(name, true, stage);
        stage.gone(name, true);
        // What it learnt in shadow is all there is; else what its forerunner
        // learnt is carried over.
        let learnt = self.checkpoints.load(&shadow_name(name)).filter(|_| first);
        if let Some(state) = learnt
            && let Err(why) = self.checkpoints.save(name, &state)
        {
            tracing::warn!(plugin = name, why, "what it learnt in shadow is lost");
        }
        self.drop_shadow_checkpoint(name);
        self.run_live(name, stage);
    }

    /// It was quarantined within its trial.
    pub fn go_back(&mut self, name: &str, why: &str, stage: &mut dyn Stage) {
        let Some(place) = self.shelf.places.get_mut(name) else { return };
        let Some(trial) = place.trial.take() else { return };
        let failed = std::mem::replace(&mut place.live, trial.before);
        self.withdrawn(name, failed.as_ref(), why, None, stage);
        self.run_live(name, stage);
    }

    /// It was quarantined in shadow, where nothing depended on it.
    pub fn drop_shadow(&mut self, name: &str, why: &str, stage: &mut dyn Stage) {
        let Some(place) = self.shelf.places.get_mut(name) else { return };
        let Some(shadow) = place.shadow.take() else { return };
        self.withdrawn(name, Some(&shadow.what), why, None, stage);
        self.end(name, true, stage);
        stage.gone(name, true);
        self.drop_shadow_checkpoint(name);
    }

    /// It stood its trial.
    pub fn accept(&mut self, name: &str, stage: &mut dyn Stage) {
        let Some(place) = self.shelf.places.get_mut(name) else { return };
        if place.trial.take().is_none() {
            return;
        }
        let Some(live) = place.live.clone() else { return };
        if let Err(error) = self.shelf.save() {
            tracing::error!(plugin = name, %error, "that it stood its trial is not written down");
        }
        self.keep_floor(name, live.sequence, &live.publisher);
        let (plugin, digest, sequence) = (name.to_owned(), live.digest, live.sequence);
        stage.write(Event::PluginAccepted { plugin, digest, sequence });
        self.forget_unused_code();
    }

    /// Takes away what was installed; what the box's file names comes back.
    pub fn remove(
        &mut self,
        name: &str,
        by: Origin,
        stage: &mut dyn Stage,
    ) -> Result<String, String> {
        let Some(place) = self.shelf.places.get(name) else {
            return Err(match self.file_entry(name) {
                Some(_) => format!(
                    "{name} is named by the box's file: take its [[plugin]] out there, and start \
                     the daemon anew"
                ),
                None => format!("no plugin {name:?} is installed"),
            });
        };
        let (live, shadow) = (place.live.clone(), place.shadow.clone());
        if let Some(entry) = self.file_entry(name)
            && live.is_some()
        {
            // Nothing changes when what would come back may not run.
            self.host.load(entry, self.floor(name)).map_err(|error| {
                format!("the version of the box's file would come back, and may not: {error}")
            })?;
        }
        self.shelf.places.remove(name);
        let what = live.clone().or(shadow.as_ref().map(|it| it.what.clone()));
        self.withdrawn(name, what.as_ref(), "an operator's word", Some(by), stage);
        if shadow.is_some() {
            self.end(name, true, stage);
            stage.gone(name, true);
            self.drop_shadow_checkpoint(name);
        }
        if live.is_some() {
            self.run_live(name, stage);
        }
        Ok(match self.file_entry(name) {
            Some(entry) => {
                let digest: String = entry.digest.chars().take(12).collect();
                format!("{name} is as the box's file has it: {digest}")
            }
            None => format!("{name} is gone"),
        })
    }

    fn withdrawn(
        &mut self,
        name: &str,
        what: Option<&Installed>,
        why: &str,
        by: Option<Origin>,
        stage: &mut dyn Stage,
    ) {
        if let Err(error) = self.shelf.save() {
            tracing::error!(plugin = name, %error, "that it was taken back is not written down");
        }
        stage.write(Event::PluginWithdrawn {
            plugin: name.to_owned(),
            digest: what.map(|it| it.digest.clone()).unwrap_or_default(),
            back_to: self.live_config(name).map(|it| it.digest),
            why: why.to_owned(),
            by,
        });
    }

    /// Ends what runs under that name and starts what is to run now, if anything is.
    fn run_live(&mut self, name: &str, stage: &mut dyn Stage) {
        let Some(config) = self.live_config(name) else {
            self.end(name, false, stage);
            stage.gone(name, false);
            if let Err(why) = self.checkpoints.clear(name) {
                tracing::warn!(plugin = name, why, "its checkpoint stays");
            }
            return;
        };
        let trial = self.shelf.places.get(name).and_then(|it| it.trial.as_ref());
        let role = Role::Live { trial_until_age_ms: trial.map(|it| it.until_age_ms) };
        let loaded = self.host.load(&config, self.floor(name));
        self.end(name, false, stage);
        let _ = self.start(config, role, loaded, stage);
    }

    /// Its last checkpoint is kept when this returns.
    fn end(&self, name: &str, shadow: bool, stage: &mut dyn Stage) {
        match stage.leave(name, shadow) {
            Some(Running::Detector(detector)) => detector.stop(),
            Some(Running::Healer(healer)) => healer.stop(),
            None => {}
        }
    }

    fn drop_shadow_checkpoint(&self, name: &str) {
        if let Err(why) = self.checkpoints.clear(&shadow_name(name)) {
            tracing::warn!(plugin = name, why, "the checkpoint of its shadow stays");
        }
    }

    fn forget_unused_code(&self) {
        let of_file = self.config.plugins.iter().map(|it| it.digest.to_ascii_lowercase());
        let places = self.shelf.places.values();
        let installed = places.flat_map(Place::all).map(|it| it.digest.to_ascii_lowercase());
        self.host.retain(&of_file.chain(installed).collect());
    }
}

impl Place {
    fn put_on_trial(&mut self, what: Installed, until_age_ms: u64) {
        let before = match self.trial.take() {
            // What did not stand its trial yet is nothing to go back to.
            Some(trial) => trial.before,
            None => self.live.take(),
        };
        self.live = Some(what);
        self.trial = Some(Trial { until_age_ms, before });
    }
}

/// Under what a plugin in shadow keeps its checkpoint and speaks in the log.
fn shadow_name(name: &str) -> String {
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
