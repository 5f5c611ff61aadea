//! Saying so when a target has no detector left.

use std::collections::BTreeSet;

use super::Driver;
use super::detect::Detecting;
use crate::model::{Event, TargetId, selects};

impl Driver {
    /// Says so when the last detector of a target is gone, and when one is back.
    pub(super) fn look_at_protection(&mut self) {
        // What is still on its way has lost nobody yet.
        let awaited = |target: &TargetId| {
            self.config.plugins.iter().any(|plugin| {
                !self.has_arrived(&plugin.name)
                    && plugin.targets.iter().any(|it| selects(it, target.as_str()))
            })
        };
        let protected = |target: &TargetId| {
            let judging = self.detectors.values().filter(|it| it.judges(target));
            awaited(target) || judging.into_iter().any(Detecting::protects)
        };
        let unprotected: BTreeSet<TargetId> = self
            .config
            .graph
            .iter()
            .map(|target| target.id.clone())
            .filter(|target| self.is_to_be_judged(target) && !protected(target))
            .collect();
        let lost: Vec<_> = unprotected.difference(&self.unprotected).cloned().collect();
        let regained: Vec<_> = self.unprotected.difference(&unprotected).cloned().collect();
        self.unprotected = unprotected;
        for target in lost {
            tracing::error!(%target, "protection.lost: no detector judges this target any more");
            self.write(Event::ProtectionLost { target });
        }
        for target in regained {
            self.write(Event::ProtectionRegained { target });
        }
    }

    /// Whether a detector will not report any more.
    pub(super) fn is_blind(&self, detector: &str) -> bool {
        self.detectors.get(detector).is_some_and(|it| !it.protects())
    }
}
