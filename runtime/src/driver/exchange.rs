//! What is to be done about a plugin while the daemon runs: by an operator's
//! word, or because its time in shadow or on trial is over.
//!
//! Invariant: the driver only orders. Verifying, compiling and starting take
//! as long as they take, elsewhere; what came of it arrives like any plugin.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::Driver;
use crate::model::{CommandError, Event, Origin, PluginSettings, Report};

#[derive(Debug)]
pub enum PluginOrder {
    Install {
        file: PathBuf,
        settings: PluginSettings,
        shadow_ms: Option<u64>,
        trial_ms: u64,
        by: Origin,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    Remove {
        name: String,
        by: Origin,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    /// Its time in shadow is over.
    Promote {
        name: String,
    },
    /// It was quarantined, or refused, within its trial.
    GoBack {
        name: String,
        why: String,
    },
    /// It was quarantined, or refused, in shadow.
    DropShadow {
        name: String,
        why: String,
    },
    /// It stood its trial.
    Accept {
        name: String,
    },
}

impl Driver {
    /// Passes on what an operator wants; who asked hears from whoever does it.
    pub(super) fn order_of_operator(&mut self, order: PluginOrder) {
        let Err(error) = self.out.plugins.try_send(order) else { return };
        let (PluginOrder::Install { reply, .. } | PluginOrder::Remove { reply, .. }) =
            error.into_inner()
        else {
            return;
        };
        let detail = "plugins are still being loaded, and others wait; try again".into();
        let _ = reply.send(Err(CommandError::Failed { detail }));
    }

    fn pass_on(&self, order: PluginOrder) -> bool {
        self.out.plugins.try_send(order).is_ok()
    }

    /// Looked at with every tick; what could not be ordered is ordered later.
    pub(super) fn look_at_trials(&mut self) {
        let now_age_ms = self.clock.age_ms();
        let over = |until: Option<u64>| until.is_some_and(|until| until <= now_age_ms);
        let stood: Vec<String> = self
            .detectors
            .values()
            .filter(|it| over(it.view.trial_until_age_ms) && !it.is_quarantined())
            .map(|it| it.view.name.clone())
            .chain(self.healers_on_trial(now_age_ms))
            .collect();
        for name in stood {
            if self.pass_on(PluginOrder::Accept { name: name.clone() }) {
                self.trial_is_over(&name);
            }
        }
        let shown: Vec<String> = self
            .shadows
            .values()
            .filter(|it| over(it.view.shadow_until_age_ms) && !it.is_quarantined())
            .filter(|it| !self.promoted.contains(&it.run))
            .map(|it| it.view.name.clone())
            .collect();
        for name in shown {
            if self.pass_on(PluginOrder::Promote { name: name.clone() })
                && let Some(run) = self.shadows.get(&name).map(|it| it.run)
            {
                self.promoted.insert(run);
            }
        }
    }

    fn trial_is_over(&mut self, name: &str) {
        if let Some(detecting) = self.detectors.get_mut(name) {
            detecting.view.trial_until_age_ms = None;
        }
        if let Some(asking) = self.healers.get_mut(name) {
            asking.view.trial_until_age_ms = None;
        }
        self.dirty = true;
    }

    pub(super) fn order_back(&mut self, name: &str, why: &str) {
        let (name, why) = (name.to_owned(), format!("quarantined within its trial: {why}"));
        if !self.pass_on(PluginOrder::GoBack { name: name.clone(), why }) {
            tracing::error!(plugin = name, "it cannot be taken back now: remove it by hand");
        }
    }

    pub(super) fn order_shadow_dropped(&mut self, name: &str, why: &str) {
        let (name, why) = (name.to_owned(), format!("quarantined in shadow: {why}"));
        if !self.pass_on(PluginOrder::DropShadow { name: name.clone(), why }) {
            tracing::error!(plugin = name, "its shadow cannot be ended now: remove it by hand");
        }
    }

    /// It is shown and written down, and nothing follows.
    pub(super) fn take_shadow_report(&mut self, name: &str, report: Report) {
        let Some(detecting) = self.shadows.get_mut(name) else { return };
        detecting.is_idle();
        let before = std::mem::take(&mut detecting.view.shadow_findings);
        let plugin = name.to_owned();
        let mut events = Vec::new();
        for finding in &report.findings {
            if !before.iter().any(|it| it.key == finding.key) {
                let (plugin, finding) = (plugin.clone(), finding.clone());
                events.push(Event::ShadowRaised { plugin, finding });
            }
        }
        let mut findings = report.findings;
        for old in before {
            if findings.iter().any(|it| it.key == old.key) {
                continue;
            }
            if report.unjudged.contains(&old.target) {
                findings.push(old);
                continue;
            }
            let (key, target, kind) = (old.key, old.target, old.kind);
            events.push(Event::ShadowCleared { plugin: plugin.clone(), key, target, kind });
        }
        detecting.view.shadow_findings = findings;
        for event in events {
            self.write(event);
        }
    }
}
