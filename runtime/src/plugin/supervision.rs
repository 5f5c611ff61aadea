//! What follows a fault: pure policy, `now` passed in.
//!
//! Invariant: a plugin that keeps failing is tried ever more rarely and in the
//! end not at all; a state that made it fail twice is not given to it again.
//!
//! ```text
//! fault ─▶ 1st: at once, from its checkpoint
//!          2nd, right after a restore: at once, without; the checkpoint is cleared
//!          from then on: backoff, doubling up to a minute
//!          `quarantine_faults` within the window: quarantined
//! settled (so many good answers) starts over; the window does not forget
//! ```

use std::collections::VecDeque;

use crate::config::PluginConfig;

/// Good answers in a row after which a fault counts as a new story.
const SETTLED_AFTER: u32 = 8;
const BACKOFF_MS_MAX: u64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub backoff_ms: u64,
    pub quarantine_faults: u32,
    pub quarantine_window_ms: u64,
}

impl Policy {
    pub(super) fn of(config: &PluginConfig) -> Self {
        Self {
            backoff_ms: config.backoff_ms.clamp(1, BACKOFF_MS_MAX),
            quarantine_faults: config.quarantine_faults.max(1),
            quarantine_window_ms: config.quarantine_window_ms,
        }
    }
}

/// What the instance began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Began {
    Empty,
    Restored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Restart,
    Backoff { ms: u64 },
    Quarantine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checkpoint {
    Keep,
    /// It is poison, or as good as.
    Clear,
}

#[derive(Debug)]
pub(super) struct Supervision {
    policy: Policy,
    began: Began,
    good: u32,
    /// Faults since it was last settled.
    streak: u32,
    /// When the latest faults were, oldest first; never more than end it.
    faults: VecDeque<u64>,
}

impl Supervision {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, began: Began::Empty, good: 0, streak: 0, faults: VecDeque::new() }
    }

    /// A fresh instance.
    pub(super) fn began(&mut self, began: Began) {
        self.began = began;
        self.good = 0;
    }

    pub(super) fn answered(&mut self) {
        self.good = self.good.saturating_add(1);
        if self.good >= SETTLED_AFTER {
            self.streak = 0;
        }
    }

    pub(super) fn faulted(&mut self, now_ms: u64) -> (Then, Checkpoint) {
        self.streak = self.streak.saturating_add(1);
        let right_after_restore = self.began == Began::Restored && self.good < SETTLED_AFTER;
        let checkpoint = match self.streak >= 2 && right_after_restore {
            true => Checkpoint::Clear,
            false => Checkpoint::Keep,
        };
        if self.ends(now_ms) {
            return (Then::Quarantine, checkpoint);
        }
        let then = match (self.streak, checkpoint) {
            (1, _) | (2, Checkpoint::Clear) => Then::Restart,
            (streak, _) => Then::Backoff { ms: self.backoff(streak - 2) },
        };
        (then, checkpoint)
    }

    fn ends(&mut self, now_ms: u64) -> bool {
        let since = now_ms.saturating_sub(self.policy.quarantine_window_ms);
        self.faults.push_back(now_ms);
        self.faults.retain(|at| *at >= since);
        self.faults.len() >= self.policy.quarantine_faults as usize
    }

    fn backoff(&self, doublings: u32) -> u64 {
        let factor = 1u64.checked_shl(doublings).unwrap_or(u64::MAX);
        self.policy.backoff_ms.saturating_mul(factor).min(BACKOFF_MS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy =
        Policy { backoff_ms: 1_000, quarantine_faults: 100, quarantine_window_ms: 600_000 };

    /// Faults at these times, each on an instance that began so and answered
    /// so often.
    fn story(policy: Policy, steps: &[(u64, Began, u32)]) -> Vec<(Then, Checkpoint)> {
        let mut supervision = Supervision::new(policy);
        let mut fault = |&(now_ms, began, good): &(u64, Began, u32)| {
            supervision.began(began);
            (0..good).for_each(|_| supervision.answered());
            supervision.faulted(now_ms)
        };
        steps.iter().map(&mut fault).collect()
    }

    #[test]
    fn one_fault_is_met_with_a_restart_that_keeps_the_checkpoint() {
        for began in [Began::Empty, Began::Restored] {
            for good in [0, 3, 1_000] {
                assert_eq!(story(POLICY, &[(0, began, good)]), [(Then::Restart, Checkpoint::Keep)]);
            }
        }
    }

    #[test]
    fn a_second_fault_right_after_a_restore_starts_it_without() {
        assert_eq!(
            story(
                POLICY,
                &[(0, Began::Empty, 50), (10, Began::Restored, 1), (20, Began::Empty, 0)]
            ),
            [
                (Then::Restart, Checkpoint::Keep),
                (Then::Restart, Checkpoint::Clear),
                (Then::Backoff { ms: 2_000 }, Checkpoint::Keep),
            ]
        );
    }

    #[test]
    fn without_a_checkpoint_the_second_fault_backs_off() {
        let steps: Vec<_> = (0..9).map(|n| (n, Began::Empty, 0)).collect();
        let waits: Vec<_> = story(POLICY, &steps)
            .into_iter()
            .skip(1)
            .map(|(then, _)| match then {
                Then::Backoff { ms } => ms,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn a_settled_plugin_starts_over() {
        assert_eq!(
            story(
                POLICY,
                &[
                    (0, Began::Empty, 0),
                    (10, Began::Empty, 0),
                    (20, Began::Restored, SETTLED_AFTER)
                ]
            )[2],
            (Then::Restart, Checkpoint::Keep)
        );
        assert_eq!(
            story(
                POLICY,
                &[
                    (0, Began::Empty, 0),
                    (10, Began::Empty, 0),
                    (20, Began::Restored, SETTLED_AFTER - 1)
                ]
            )[2],
            (Then::Backoff { ms: 2_000 }, Checkpoint::Clear)
        );
    }

    #[test]
    fn so_many_faults_in_the_window_end_it_and_old_ones_do_not_count() {
        let policy = Policy { quarantine_faults: 3, quarantine_window_ms: 1_000, ..POLICY };
        let ends = |times: &[u64]| {
            let steps: Vec<_> = times.iter().map(|at| (*at, Began::Empty, 100)).collect();
            story(policy, &steps).iter().position(|(then, _)| *then == Then::Quarantine)
        };
        assert_eq!(ends(&[0, 500, 1_000]), Some(2));
        assert_eq!(ends(&[0, 500, 1_001]), None);
        assert_eq!(ends(&[0, 500, 1_001, 1_002]), Some(3));
        assert_eq!(ends(&[0, 5_000, 10_000, 15_000]), None);
    }

    #[test]
    fn absurd_settings_are_bounded() {
        let policy = Policy { backoff_ms: u64::MAX, ..POLICY };
        let steps: Vec<_> = (0..80).map(|n| (n * 1_000_000, Began::Empty, 0)).collect();
        for (then, _) in &story(policy, &steps)[1..] {
            assert_eq!(*then, Then::Backoff { ms: BACKOFF_MS_MAX });
        }
    }
}
