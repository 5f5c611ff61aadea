//! What was permitted and what came of it: a fold over the journal.

use std::collections::{BTreeMap, VecDeque};

use crate::model::{AttemptId, Event, Origin, Outcome, Record, TargetId};

/// Permits remembered for cooldown and rate. More than any sane rate lets
/// through in any sane window; the oldest is forgotten first.
const REMEMBERED: usize = 1024;

#[derive(Clone, Debug, PartialEq)]
struct Past {
    age_ms: u64,
    id: AttemptId,
    action: String,
    target: TargetId,
    disruption: u8,
}

/// How one action did on one target.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    pub tried: f64,
    pub proven: f64,
    recovered: f64,
    recovery_s_total: f64,
}

impl Tally {
    /// Mean seconds from permit to recovery; 0 when it never recovered anything.
    pub fn cost_s(&self) -> f64 {
        if self.recovered > 0.0 { self.recovery_s_total / self.recovered } else { 0.0 }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    permits: VecDeque<Past>,
    /// Ages at which incidents opened, since the last `resume`.
    opened_age_ms: VecDeque<u64>,
    tallies: BTreeMap<(String, TargetId), Tally>,
}

impl History {
    pub fn apply(&mut self, record: &Record) {
        match &record.event {
            // An operator's word costs the healers nothing of their budget.
            Event::Permitted {
                birth,
                origin: Origin::Healer { .. } | Origin::Approved { .. },
                proposal,
                terms,
                ..
            } => {
                self.permits.push_back(Past {
                    age_ms: record.at.age_ms,
                    id: AttemptId { birth: *birth, seq: record.seq },
                    action: proposal.action.clone(),
                    target: proposal.target.clone(),
                    disruption: terms.disruption,
                });
                if self.permits.len() > REMEMBERED {
                    self.permits.pop_front();
                }
                self.tally_mut(&proposal.action, &proposal.target).tried += 1.0;
            }
            // What lapsed touched nothing, and costs nothing.
            Event::AttemptEnded { attempt, outcome: Outcome::Lapsed { .. }, .. }
            | Event::EffectObserved { attempt, outcome: Outcome::Lapsed { .. }, .. } => {
                self.with_past(*attempt, |tally, _| tally.tried -= 1.0);
                self.permits.retain(|past| past.id != *attempt);
            }
            Event::IncidentOpened { .. } => {
                self.opened_age_ms.push_back(record.at.age_ms);
                if self.opened_age_ms.len() > REMEMBERED {
                    self.opened_age_ms.pop_front();
                }
            }
            // A person has looked: what was before is no storm any more.
            Event::Resumed { by: Some(_) } => self.opened_age_ms.clear(),
            Event::IncidentRecovered { attempt: Some(attempt), .. } => {
                self.with_past(*attempt, |tally, past_age_ms| {
                    tally.recovered += 1.0;
                    tally.recovery_s_total +=
                        record.at.age_ms.saturating_sub(past_age_ms) as f64 / 1000.0;
                });
            }
            Event::IncidentProven { attempt: Some(attempt), .. } => {
                self.with_past(*attempt, |tally, _| tally.proven += 1.0);
            }
            _ => {}
        }
    }

    /// Age of the box when `action` was last permitted on `target`.
    pub fn last(&self, action: &str, target: &TargetId) -> Option<u64> {
        self.permits
            .iter()
            .rev()
            .find(|past| past.action == action && past.target == *target)
            .map(|past| past.age_ms)
    }

    /// How many disrupting actions there were from `since_age_ms` on, and the
    /// age of the first of them.
    pub fn disruptions_since(&self, since_age_ms: u64) -> (u32, u64) {
        let mut within = self
            .permits
            .iter()
            .filter(|past| past.disruption > 0 && past.age_ms >= since_age_ms)
            .map(|past| past.age_ms);
        match within.next() {
            Some(first) => (u32::try_from(within.count() + 1).unwrap_or(u32::MAX), first),
            None => (0, since_age_ms),
        }
    }

    /// How many incidents opened from `since_age_ms` on, and the age of the first.
    pub fn incidents_since(&self, since_age_ms: u64) -> (u32, u64) {
        let mut within = self.opened_age_ms.iter().copied().filter(|age| *age >= since_age_ms);
        match within.next() {
            Some(first) => (u32::try_from(within.count() + 1).unwrap_or(u32::MAX), first),
            None => (0, since_age_ms),
        }
    }

    pub fn tally(&self, action: &str, target: &TargetId) -> Tally {
        self.tallies.get(&(action.to_owned(), target.clone())).copied().unwrap_or_default()
    }

    fn tally_mut(&mut self, action: &str, target: &TargetId) -> &mut Tally {
        self.tallies.entry((action.to_owned(), target.clone())).or_default()
    }

    fn with_past(&mut self, attempt: AttemptId, change: impl FnOnce(&mut Tally, u64)) {
        let Some(past) = self.permits.iter().rev().find(|past| past.id == attempt).cloned() else {
            return;
        };
        change(self.tally_mut(&past.action, &past.target), past.age_ms);
    }
}
