//! What the hands look at again right before they touch: a permit may have
//! waited for the disk, and the world has not.

use super::Driver;
use crate::action::Leave;
use crate::model::{Event, TargetId};

impl Driver {
    pub(super) fn look_at_leave(&mut self) {
        let now = Leave {
            mode: self.config.mode,
            paused: self.memory.paused.is_some(),
            unwanted: self
                .config
                .workloads
                .iter()
                .filter(|it| !self.wants_running(&it.name))
                .map(|it| TargetId::workload(&it.name))
                .collect(),
            interlock: self.interlocks.objection(self.clock.age_ms()),
        };
        self.out.leave.send_if_modified(|leave| {
            let changed = *leave != now;
            *leave = now;
            changed
        });
    }

    /// A person's word counts from the moment it is written down.
    pub(super) fn is_a_persons_word(event: &Event) -> bool {
        matches!(
            event,
            Event::Paused { .. } | Event::Resumed { .. } | Event::WorkloadDesired { .. }
        )
    }
}
