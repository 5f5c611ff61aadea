//! What is to be done about a plugin while the daemon runs: by an operator's
//! word, or because its time in shadow or on trial is over.
//!
//! Invariant: the driver only orders. Verifying, compiling and starting take
//! as long as they take, elsewhere; what came of it arrives like any plugin.

use std::path::PathBuf;

use tokio::sync::oneshot;

use super::Driver;
use super::detect::Detecting;
use crate::model::view::{PluginState, PluginView};
use crate::model::{CommandError, Event, Origin, PluginSettings, Report};
use crate::plugin::Run;

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
    Revoke {
        keys: Vec<String>,
        digests: Vec<String>,
        by: Origin,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    UpdateRoot {
        file: PathBuf,
        by: Origin,
        reply: oneshot::Sender<Result<String, CommandError>>,
    },
    /// Its time in shadow is over.
    Promote {
        name: String,
        run: Run,
    },
    /// It was quarantined, or refused, within its trial.
    GoBack {
        name: String,
        run: Run,
        why: String,
    },
    /// It was quarantined, or refused, in shadow.
    DropShadow {
        name: String,
        run: Run,
        why: String,
    },
    /// It stood its trial.
    Accept {
        name: String,
        run: Run,
    },
}

impl Driver {
    /// Passes on what an operator wants; who asked hears from whoever does it.
    pub(super) fn order_of_operator(&mut self, order: PluginOrder) {
        let Err(error) = self.out.plugins.try_send(order) else { return };
        let reply = match error.into_inner() {
            PluginOrder::Install { reply, .. }
            | PluginOrder::Remove { reply, .. }
            | PluginOrder::Revoke { reply, .. }
            | PluginOrder::UpdateRoot { reply, .. } => reply,
            _ => return,
        };
        let detail = "plugins are still being loaded, and others wait; try again".into();
        let _ = reply.send(Err(CommandError::Failed { detail }));
    }

    fn pass_on(&self, order: PluginOrder) -> bool {
        self.out.plugins.try_send(order).is_ok()
    }

    /// Looked at with every tick: each start gets one such order, and what could
    /// not be ordered is ordered later.
    pub(super) fn look_at_trials(&mut self) {
        let now_age_ms = self.clock.age_ms();
        let due = |it: &Detecting| due(&it.view, it.start, it.has_reported(), now_age_ms);
        let live = self.detectors.values().filter_map(due);
        let shadows = self.shadows.values().filter_map(due);
        let healers = self.healers_due(now_age_ms);
        let orders: Vec<(Run, PluginOrder)> = live.chain(shadows).chain(healers).collect();
        for (run, order) in orders {
            if !self.ordered.contains(&run) && self.pass_on(order) {
                self.ordered.insert(run);
                self.dirty = true;
            }
        }
    }

    /// It is shown and written down, and nothing follows.
    pub(super) fn take_shadow_report(&mut self, name: &str, report: Report) {
        let Some(detecting) = self.shadows.get_mut(name) else { return };
        detecting.has_answered();
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

/// What time or trouble has come to ask for a start in shadow or on trial.
pub(super) fn due(
    view: &PluginView,
    run: Run,
    works: bool,
    now_age_ms: u64,
) -> Option<(Run, PluginOrder)> {
    let name = view.name.clone();
    let over = |until: Option<u64>| until.is_some_and(|until| until <= now_age_ms);
    let ended = matches!(view.state, PluginState::Quarantined | PluginState::Refused);
    // One that never worked stood no trial, however long it took.
    let works = works && view.state == PluginState::Running;
    let why = |place: &str| match view.state {
        PluginState::Refused => format!("refused {place}: {}", view.detail),
        _ => format!("quarantined {place}: {}", view.detail),
    };
    let order = match (view.shadow_until_age_ms, view.trial_until_age_ms) {
        (Some(_), _) if ended => PluginOrder::DropShadow { name, run, why: why("in shadow") },
        (until @ Some(_), _) if works && over(until) => PluginOrder::Promote { name, run },
        (None, Some(_)) if ended => PluginOrder::GoBack { name, run, why: why("within its trial") },
        (None, until) if works && over(until) => PluginOrder::Accept { name, run },
        _ => return None,
    };
    Some((run, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(view: &PluginView, works: bool, now_age_ms: u64) -> &'static str {
        match due(view, 7, works, now_age_ms) {
            None => "",
            Some((7, PluginOrder::Accept { .. })) => "accept",
            Some((7, PluginOrder::GoBack { why, .. })) => {
                assert!(why.ends_with("within its trial: trapped"), "{why}");
                "go back"
            }
            Some((7, PluginOrder::Promote { .. })) => "promote",
            Some((7, PluginOrder::DropShadow { .. })) => "drop",
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_trial_is_stood_by_what_works_and_by_nothing_else() {
        use PluginState::{Backoff, Quarantined, Refused, Running, Starting};
        for (state, works, now_age_ms, on_trial, in_shadow) in [
            (Running, true, 999, "", ""),
            (Running, true, 1_000, "accept", "promote"),
            // It runs, and has not said a word yet.
            (Running, false, 1_000, "", ""),
            (Starting, false, 1_000, "", ""),
            (Backoff, true, 1_000, "", ""),
            (Quarantined, true, 5, "go back", "drop"),
            (Quarantined, true, 1_000, "go back", "drop"),
            (Refused, false, 5, "go back", "drop"),
        ] {
            let view = PluginView { state, detail: "trapped".into(), ..PluginView::default() };
            assert_eq!(word(&view, works, now_age_ms), "", "nothing is asked of it");
            let trial = PluginView { trial_until_age_ms: Some(1_000), ..view.clone() };
            assert_eq!(word(&trial, works, now_age_ms), on_trial, "{state:?} {now_age_ms}");
            let shadow = PluginView { shadow_until_age_ms: Some(1_000), ..view };
            assert_eq!(word(&shadow, works, now_age_ms), in_shadow, "{state:?} {now_age_ms}");
        }
    }
}
