//! What is ordered of the plugins: by a person, and by time.
//!
//! Invariant: an order names the start that it is about, and one that comes too
//! late, when another runs, is about nothing.

use std::path::Path;

use super::installed::{Installed, InstalledError, Shadow};
use super::reconciler::{Install, Reconciler, Role, Stage, shadow_name};
use crate::config::PluginConfig;
use crate::model::{Event, Origin, PluginSettings, selects};
use crate::plugin::package::{Package, PackageError, World};
use crate::plugin::{Cause, PluginError, Run};

impl Reconciler<'_> {
    /// Verifies, compiles and instantiates before anything changes.
    pub fn install(&mut self, order: Install, stage: &mut dyn Stage) -> Result<String, String> {
        check_is_file(&order.file)?;
        let bytes = Package::read(&order.file).map_err(|error| error.to_string())?;
        let package = self.host.open(&bytes).map_err(|error| error.to_string())?;
        let manifest = package.manifest();
        let name = manifest.name.clone();
        self.check_settings(&name, &order.settings, package.world())?;
        self.check_kind(&name, package.world(), order.shadow_ms)?;
        self.check_floor(&name, manifest.sequence, &manifest.publisher)?;
        self.shelf.has_room_for(&name).map_err(|error| error.to_string())?;
        let mut what = Installed {
            version: manifest.version.clone(),
            sequence: manifest.sequence,
            publisher: manifest.publisher.clone(),
            digest: package.digest().to_owned(),
            file: String::new(),
            settings: order.settings.clone(),
        };
        let config = self.config_of(&name, &what);
        let loaded = self.host.prepare(&config, &package).map_err(|error| error.to_string())?;
        let keep = |error: InstalledError| format!("it cannot be kept: {error}");
        what.file = self.shelf.put(&bytes).map_err(keep)?;
        let config = self.config_of(&name, &what);
        self.take_in(&name, &what, &order, stage).map_err(keep)?;
        let told = format!("{name} {} (sequence {})", what.version, what.sequence);
        Ok(match order.shadow_ms {
            Some(shadow_ms) => {
                let until_age_ms = stage.now_age_ms().saturating_add(shadow_ms);
                self.end(&name, true, stage);
                let _ = self.start(config, Role::Shadow { until_age_ms }, Ok(loaded), stage);
                format!("{told} runs in shadow for {} s", shadow_ms / 1000)
            }
            None => {
                // What is live now is the later word.
                self.end_shadow(&name, stage);
                self.end(&name, false, stage);
                let role = self.live_role(&name);
                let _ = self.start(config, role, Ok(loaded), stage);
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
        self.shelf.change(|places| {
            let place = places.entry(name.to_owned()).or_default();
            place.over = over;
            match order.shadow_ms {
                Some(shadow_ms) => {
                    let until_age_ms = now_age_ms.saturating_add(shadow_ms);
                    let (what, trial_ms) = (what.clone(), order.trial_ms);
                    place.shadow = Some(Shadow { what, until_age_ms, trial_ms });
                }
                None => {
                    place.shadow = None;
                    place.put_on_trial(what.clone(), now_age_ms.saturating_add(order.trial_ms));
                }
            }
        })?;
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

    fn check_floor(&self, name: &str, sequence: u64, publisher: &str) -> Result<(), String> {
        let floor = self.floor(name);
        if sequence < floor {
            return Err(format!(
                "{name}: wanted a sequence of at least {floor}, found {sequence}: a box never goes \
                 back; raise `sequence` in plugin.toml and sign again"
            ));
        }
        let owner = self.slot.look(|floors| floors.plugin_publisher.get(name).cloned());
        match owner.filter(|it| it != publisher) {
            Some(owner) => Err(format!(
                "{name} is {owner}'s: wanted a file that {owner} signed, found one by {publisher}; \
                 only the box's own file may give a name to another"
            )),
            None => Ok(()),
        }
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
    pub fn promote(&mut self, name: &str, run: Run, stage: &mut dyn Stage) {
        if !self.is_current(name, true, run) {
            return;
        }
        let Some((config, _)) = self.shadow_config(name) else { return };
        // Looked at before anything is ended for it.
        if let Err(error) = self.host.admits(&config, self.floor(name)) {
            self.drop_shadow(name, run, &error.to_string(), stage);
            return;
        }
        let now_age_ms = stage.now_age_ms();
        let first = self.live_config(name).is_none();
        self.shelf.change_anyway(|places| {
            let Some(place) = places.get_mut(name) else { return };
            if let Some(shadow) = place.shadow.take() {
                let until_age_ms = now_age_ms.saturating_add(shadow.trial_ms);
                place.put_on_trial(shadow.what, until_age_ms);
            }
        });
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

    /// It was quarantined, or refused, within its trial.
    pub fn go_back(&mut self, name: &str, run: Run, why: &str, stage: &mut dyn Stage) {
        if !self.is_current(name, false, run) {
            return;
        }
        let mut failed = None;
        self.shelf.change_anyway(|places| {
            let Some(place) = places.get_mut(name) else { return };
            if let Some(trial) = place.trial.take() {
                failed = std::mem::replace(&mut place.live, trial.before);
            }
        });
        if let Some(failed) = failed {
            self.tell_withdrawn(name, Some(&failed), why, None, stage);
            self.run_live(name, stage);
        }
    }

    /// It was quarantined, or refused, in shadow, where nothing depended on it.
    pub fn drop_shadow(&mut self, name: &str, run: Run, why: &str, stage: &mut dyn Stage) {
        if !self.is_current(name, true, run) {
            return;
        }
        let mut dropped = None;
        self.shelf.change_anyway(|places| {
            dropped = places.get_mut(name).and_then(|place| place.shadow.take());
        });
        let Some(dropped) = dropped else { return };
        self.tell_withdrawn(name, Some(&dropped.what), why, None, stage);
        self.end_shadow(name, stage);
    }

    /// It stood its trial.
    pub fn accept(&mut self, name: &str, run: Run, stage: &mut dyn Stage) {
        let place = self.shelf.places().get(name);
        let on_trial = place.is_some_and(|it| it.trial.is_some());
        let Some(live) = place.and_then(|it| it.live.clone()) else { return };
        if !on_trial || !self.is_current(name, false, run) {
            return;
        }
        let written = self.shelf.change(|places| {
            if let Some(place) = places.get_mut(name) {
                place.trial = None;
            }
        });
        if let Err(error) = written {
            // The floor may not rise above what the next start would go back to.
            tracing::error!(plugin = name, %error, "it stays on trial until the next start");
            return;
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
        let Some(place) = self.shelf.places().get(name).cloned() else {
            return Err(match self.file_entry(name) {
                Some(_) => format!(
                    "{name} is named by the box's file: take its [[plugin]] out there, and start \
                     the daemon anew"
                ),
                None => format!("no plugin {name:?} is installed"),
            });
        };
        if let Some(entry) = self.file_entry(name)
            && place.live.is_some()
        {
            // Nothing changes when what would come back may not run.
            self.host.load(entry, self.floor(name)).map_err(|error| {
                format!("the version of the box's file would come back, and may not: {error}")
            })?;
        }
        self.shelf
            .change(|places| drop(places.remove(name)))
            .map_err(|error| format!("nothing is changed: {error}"))?;
        let what = place.live.clone().or(place.shadow.as_ref().map(|it| it.what.clone()));
        self.tell_withdrawn(name, what.as_ref(), "an operator's word", Some(by), stage);
        if place.shadow.is_some() {
            self.end_shadow(name, stage);
        }
        if place.live.is_some() {
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

    /// Ends what may not run any more. A file that merely does not read now, or is
    /// the next version already, is no word against what runs.
    pub(super) fn end_the_revoked(&mut self, stage: &mut dyn Stage) {
        for name in self.names() {
            if let Some((config, _)) = self.shadow_config(&name)
                && let Some(why) = self.is_disowned(&config)
                && let Some(run) = self.run_of(&name, true)
            {
                self.drop_shadow(&name, run, &why.to_string(), stage);
            }
            let Some(config) = self.live_config(&name) else { continue };
            let Some(error) = self.is_disowned(&config) else { continue };
            self.end(&name, false, stage);
            let role = self.live_role(&name);
            let _ = self.start(config, role, Err(error), stage);
        }
    }

    fn is_disowned(&self, config: &PluginConfig) -> Option<PluginError> {
        if let Some(error) = self.host.revoked(config) {
            return Some(error);
        }
        let error = self.host.admits(config, self.floor(&config.name)).err()?;
        match &error.cause {
            Cause::Package(
                PackageError::Revoked { .. }
                | PackageError::Publisher { .. }
                | PackageError::Trust(_),
            ) => Some(error),
            _ => {
                tracing::warn!(plugin = config.name, %error, "it goes on, and would not start now");
                None
            }
        }
    }

    fn end_shadow(&mut self, name: &str, stage: &mut dyn Stage) {
        self.end(name, true, stage);
        stage.gone(name, true);
        self.drop_shadow_checkpoint(name);
    }

    pub(super) fn tell_withdrawn(
        &self,
        name: &str,
        what: Option<&Installed>,
        why: &str,
        by: Option<Origin>,
        stage: &mut dyn Stage,
    ) {
        stage.write(Event::PluginWithdrawn {
            plugin: name.to_owned(),
            digest: what.map(|it| it.digest.clone()).unwrap_or_default(),
            back_to: self.live_config(name).map(|it| it.digest),
            why: why.to_owned(),
            by,
        });
    }
}

/// A pipe or a device would keep whoever reads it for as long as it likes.
pub(super) fn check_is_file(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(()),
        Ok(_) => Err(format!("{}: wanted a file, found something else", path.display())),
        Err(why) => Err(format!("{}: {why}", path.display())),
    }
}
