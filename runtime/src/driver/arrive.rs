//! Plugins as they come and go: at the start, and while the daemon runs.
//!
//! Invariant: what an ended run still says is heard by nobody. A detector that
//! takes another's place takes over what waits for it, and what the other said
//! stands until the new one has judged.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;

use super::Driver;
use super::detect::Detecting;
use super::feed::Feed;
use crate::model::view::{PluginView, TrustView};
use crate::model::{Event, TargetId, selects};
use crate::plugin::{Detector, Healer, Run, Running, SHADOW};

/// Rows, lines and marks of a detector that was refused go nowhere.
const REFUSED_PERIOD_MS: u32 = 1_000;
/// A call in flight is let finish, within this.
const LEAVE_WITHIN_MS: u64 = 5_000;

/// A plugin that was verified, loaded and started, or that was not; and one
/// that is to make room. In shadow is what its view says is.
pub enum Arrival {
    Detector {
        view: PluginView,
        run: Run,
        period_ms: u32,
        targets: Vec<String>,
        /// Selectors of the series that its publisher signed it for.
        reads: Vec<String>,
        /// Kinds of its findings, and the kinds that each accounts for.
        explains: BTreeMap<String, Vec<String>>,
        handle: Detector,
    },
    Healer {
        view: PluginView,
        run: Run,
        handle: Healer,
    },
    Refused {
        view: PluginView,
        run: Run,
        targets: Vec<String>,
    },
    /// Whoever asks ends it, and has another take its place.
    Leave {
        name: String,
        shadow: bool,
        reply: oneshot::Sender<Option<Running>>,
    },
    /// Nothing of that name is to run any more.
    Gone {
        name: String,
        shadow: bool,
    },
    /// Whom the box believes from now on.
    Trust {
        view: TrustView,
    },
    /// What was done about a plugin, for the journal.
    Note {
        event: Event,
    },
}

/// One that is to make room.
pub(super) struct Leaving {
    name: String,
    shadow: bool,
    reply: oneshot::Sender<Option<Running>>,
    until_age_ms: u64,
}

impl Driver {
    pub(super) fn take_arrival(&mut self, arrival: Arrival) {
        self.admit(arrival);
        for said in std::mem::take(&mut self.early) {
            self.take_plugin(said);
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Detector { view, run, period_ms, targets, reads, explains, handle } => {
                self.arrived_run = self.arrived_run.max(run);
                let detecting =
                    Detecting::new(view, run, period_ms, targets, handle).signed_for(reads);
                self.detector_arrived(detecting, explains);
            }
            Arrival::Healer { view, run, handle } => {
                self.arrived_run = self.arrived_run.max(run);
                self.known.insert(view.name.clone());
                self.plugin_started(&view);
                self.healer_arrived(view, run, handle);
            }
            Arrival::Refused { view, run, targets } => {
                self.arrived_run = self.arrived_run.max(run);
                tracing::error!(plugin = view.name, why = view.detail, "plugin refused");
                self.write(Event::PluginRefused {
                    plugin: view.name.clone(),
                    why: view.detail.clone(),
                });
                self.plugin_refused(view, run, targets);
            }
            Arrival::Leave { name, shadow, reply } => {
                let until_age_ms = self.clock.age_ms() + LEAVE_WITHIN_MS;
                self.leaving.push(Leaving { name, shadow, reply, until_age_ms });
                self.let_go();
            }
            Arrival::Gone { name, shadow } => self.plugin_gone(&name, shadow),
            Arrival::Trust { view } => {
                self.trust = view;
                self.dirty = true;
            }
            Arrival::Note { event } => {
                if let Event::PluginAccepted { plugin, .. } = &event {
                    self.trial_is_over(plugin);
                }
                self.write(event);
            }
        }
        if !self.awaits_detectors() {
            self.early_lines = VecDeque::new();
        }
        self.look_at_protection();
    }

    fn detector_arrived(
        &mut self,
        mut detecting: Detecting,
        explains: BTreeMap<String, Vec<String>>,
    ) {
        let name = detecting.view.name.clone();
        self.plugin_started(&detecting.view);
        if detecting.is_shadow() {
            self.shadows.insert(name, detecting);
            return;
        }
        self.explains.extend(explains);
        if self.healers.remove(&name).is_some() {
            tracing::error!(
                plugin = name,
                "it is a detector, and a route or its grants take it for a healer: \
                 take it out of [[incident.route]], and its grants away"
            );
        }
        match self.detectors.remove(&name) {
            Some(before) => detecting.takes_over(before),
            None => {
                let early = self.early_lines.iter().filter(|it| detecting.judges(&it.target));
                let early: Vec<_> = early.cloned().collect();
                early.into_iter().for_each(|line| detecting.feed.line(line));
            }
        }
        self.known.insert(name.clone());
        self.detectors.insert(name, detecting);
    }

    fn plugin_started(&mut self, view: &PluginView) {
        let shadow = if view.shadow_until_age_ms.is_some() { SHADOW } else { "" };
        self.write(Event::PluginStarted {
            plugin: format!("{}{shadow}", view.name),
            version: view.version.clone(),
            digest: view.digest.clone(),
        });
    }

    fn plugin_refused(&mut self, view: PluginView, run: Run, targets: Vec<String>) {
        let name = view.name.clone();
        let shadow = view.shadow_until_age_ms.is_some();
        if !shadow && self.healers.contains_key(&name) {
            self.known.insert(name);
            self.healer_refused(view, run);
            return;
        }
        let detecting = Detecting::refused(view, run, targets, Feed::new(REFUSED_PERIOD_MS));
        if shadow {
            self.shadows.insert(name, detecting);
            return;
        }
        self.known.insert(name.clone());
        self.detectors.insert(name, detecting);
    }

    /// Those leave who have nothing in hand, or have had it for too long: what a
    /// frame held is judged by whoever took it.
    pub(super) fn let_go(&mut self) {
        let now_age_ms = self.clock.age_ms();
        for leaving in std::mem::take(&mut self.leaving) {
            let Leaving { name, shadow, reply, until_age_ms } = leaving;
            let detectors = if shadow { &mut self.shadows } else { &mut self.detectors };
            let busy = detectors.get_mut(&name).is_some_and(Detecting::is_to_leave);
            if busy && now_age_ms < until_age_ms {
                self.leaving.push(Leaving { name, shadow, reply, until_age_ms });
                continue;
            }
            // Who asked has gone only with the daemon.
            let _ = reply.send(self.take_leave(&name, shadow));
        }
    }

    fn trial_is_over(&mut self, plugin: &str) {
        if let Some(detecting) = self.detectors.get_mut(plugin) {
            detecting.view.trial_until_age_ms = None;
        }
        if let Some(asking) = self.healers.get_mut(plugin) {
            asking.view.trial_until_age_ms = None;
        }
    }

    fn take_leave(&mut self, name: &str, shadow: bool) -> Option<Running> {
        let detectors = if shadow { &mut self.shadows } else { &mut self.detectors };
        if let Some(detecting) = detectors.get_mut(name) {
            self.dirty = true;
            return detecting.leave().map(Running::Detector);
        }
        if shadow { None } else { self.healer_leaves(name).map(Running::Healer) }
    }

    fn plugin_gone(&mut self, name: &str, shadow: bool) {
        self.dirty = true;
        if shadow {
            self.shadows.remove(name);
            return;
        }
        self.detectors.remove(name);
        self.known.remove(name);
        if !self.config.plugins.iter().any(|it| it.name == name) {
            self.healers.remove(name);
        }
        self.clear_findings_of(name);
    }

    pub(super) fn awaits_detectors(&self) -> bool {
        !self.known.iter().all(|plugin| self.has_arrived(plugin))
    }

    /// A healer that a route names is expected from the start.
    pub(super) fn has_arrived(&self, plugin: &str) -> bool {
        self.detectors.contains_key(plugin) || self.healers.contains_key(plugin)
    }

    /// Whether the box names a detector for that target, here or on its way.
    pub(super) fn is_to_be_judged(&self, target: &TargetId) -> bool {
        let by_file = self.config.plugins.iter().any(|plugin| {
            !self.healers.contains_key(&plugin.name)
                && plugin.targets.iter().any(|it| selects(it, target.as_str()))
        });
        by_file || self.detectors.values().any(|it| it.judges(target))
    }
}

impl Detecting {
    /// From now on in the place of another of its name.
    fn takes_over(&mut self, before: Self) {
        let period_ms = self.feed.period_ms();
        let Self { feed, findings, .. } = before;
        self.feed = feed.with_period(period_ms);
        self.findings = findings;
    }

    pub(super) fn is_shadow(&self) -> bool {
        self.view.shadow_until_age_ms.is_some()
    }
}
