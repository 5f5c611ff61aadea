//! What was seen of a target since an action on it ended.
//!
//! Invariant: only probes that began after the action count, so a good answer
//! of the process that was replaced proves nothing.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::model::TargetId;
use crate::source::ProbeResult;

/// A target without a probe is proven by its process alone, looked at this often.
const RUNNING_LOOK_MS: u64 = 1_000;
/// What a proof may take besides the workload's own start and its probes.
const SLACK_MS: u64 = 2_000;

type ProbeKey = (TargetId, String);

#[derive(Debug, Default)]
struct Watch {
    since_age_ms: u64,
    /// Good results in a row, by probe.
    good: BTreeMap<ProbeKey, u32>,
    rounds: u32,
    looked_age_ms: u64,
}

#[derive(Debug, Default)]
pub struct Proofs {
    /// Probes of each target, with period and timeout in milliseconds.
    probes: BTreeMap<TargetId, Vec<(String, u64)>>,
    start_grace_ms: BTreeMap<TargetId, u64>,
    proofs_wanted: u64,
    watches: BTreeMap<TargetId, Watch>,
}

/// A round of proofs is complete, or a proof was bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Good,
    Bad,
}

impl Proofs {
    pub fn new(config: &Config) -> Self {
        let mut probes = BTreeMap::new();
        let mut start_grace_ms = BTreeMap::new();
        let terms = |list: &[crate::config::ProbeConfig]| {
            list.iter().map(|it| (it.name.clone(), it.period_ms + it.timeout_ms)).collect()
        };
        for workload in &config.workloads {
            let target = TargetId::workload(&workload.name);
            probes.insert(target.clone(), terms(&workload.probes));
            start_grace_ms.insert(target, workload.start_grace_ms);
        }
        for external in &config.externals {
            let target = TargetId::new(crate::model::TargetKind::External, &external.name);
            probes.insert(target, terms(&external.probes));
        }
        let proofs_wanted = config.incident.proofs_wanted.into();
        Self { probes, start_grace_ms, proofs_wanted, watches: BTreeMap::new() }
    }

    /// Watches `target` from now on; `also` names further probes as
    /// `TARGET/PROBE`.
    pub fn begin(&mut self, target: &TargetId, now_age_ms: u64, also: Vec<ProbeKey>) {
        let own = self.probes.get(target).into_iter().flatten();
        let good = own
            .map(|(probe, _)| (target.clone(), probe.clone()))
            .chain(also)
            .map(|key| (key, 0))
            .collect();
        let watch = Watch { since_age_ms: now_age_ms, good, rounds: 0, looked_age_ms: now_age_ms };
        self.watches.insert(target.clone(), watch);
    }

    /// Whether such a probe is configured.
    pub fn knows(&self, target: &TargetId, probe: &str) -> bool {
        self.probes.get(target).is_some_and(|list| list.iter().any(|(name, _)| name == probe))
    }

    /// How long a proof on `target` may take: its start, then the proofs, each
    /// at the period and timeout of the slowest probe that it wants.
    pub fn ms_max(&self, target: &TargetId) -> u64 {
        let own = self.probes.get(target).into_iter().flatten();
        let also = self.watches.get(target).into_iter().flat_map(|watch| watch.good.keys());
        let also = also.filter_map(|(asked, name)| {
            self.probes.get(asked)?.iter().find(|(probe, _)| probe == name)
        });
        let slowest_ms = own.chain(also).map(|(_, ms)| *ms).max().unwrap_or(RUNNING_LOOK_MS);
        self.start_grace_ms.get(target).copied().unwrap_or(0)
            + (self.proofs_wanted + 1) * slowest_ms
            + SLACK_MS
    }

    /// Takes in a probe's result; tells which targets it says something about.
    pub fn take(&mut self, result: &ProbeResult) -> Vec<(TargetId, Seen)> {
        let Some(good) = result.good else { return Vec::new() };
        let key = (result.target.clone(), result.probe.clone());
        let mut seen = Vec::new();
        for (target, watch) in &mut self.watches {
            if result.began_age_ms < watch.since_age_ms {
                continue;
            }
            let Some(row) = watch.good.get_mut(&key) else { continue };
            if !good {
                *row = 0;
                watch.rounds = 0;
                watch.good.values_mut().for_each(|row| *row = 0);
                seen.push((target.clone(), Seen::Bad));
                continue;
            }
            *row += 1;
            let rounds = watch.good.values().copied().min().unwrap_or(0);
            if rounds > watch.rounds {
                watch.rounds = rounds;
                seen.push((target.clone(), Seen::Good));
            }
        }
        seen
    }

    /// Whether no proof wants a further answer of `target`'s probes.
    pub fn is_complete(&self, target: &TargetId) -> bool {
        let asks = |watch: &Watch| watch.good.keys().any(|(asked, _)| asked == target);
        self.watches
            .values()
            .all(|watch| u64::from(watch.rounds) >= self.proofs_wanted || !asks(watch))
    }

    /// Targets whose process alone is their proof, and that are to be looked at now.
    pub fn due_without_probe(&mut self, now_age_ms: u64) -> Vec<TargetId> {
        let due = self.watches.iter_mut().filter(|(_, watch)| {
            watch.good.is_empty() && now_age_ms >= watch.looked_age_ms + RUNNING_LOOK_MS
        });
        due.map(|(target, watch)| {
            watch.looked_age_ms = now_age_ms;
            watch.rounds += 1;
            target.clone()
        })
        .collect()
    }

    /// Whether every probe of `target` was good since it was last acted upon;
    /// a target nobody acted upon is taken at its word.
    pub fn is_good(&self, target: &TargetId) -> bool {
        self.watches.get(target).is_none_or(|watch| watch.good.is_empty() || watch.rounds > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs(probes: &[&str]) -> Proofs {
        let target = TargetId::workload("w");
        let list = probes.iter().map(|name| ((*name).to_owned(), 100)).collect();
        let mut proofs = Proofs { proofs_wanted: 3, ..Proofs::default() };
        proofs.probes.insert(target.clone(), list);
        proofs.begin(&target, 1000, vec![]);
        proofs
    }

    fn result(probe: &str, began_age_ms: u64, good: Option<bool>) -> ProbeResult {
        ProbeResult {
            target: TargetId::workload("w"),
            probe: probe.into(),
            good,
            began_age_ms,
            age_ms: began_age_ms + 1,
            detail: String::new(),
        }
    }

    fn words(seen: Vec<(TargetId, Seen)>) -> Vec<Seen> {
        seen.into_iter().map(|(_, seen)| seen).collect()
    }

    #[test]
    fn a_probe_that_began_before_the_action_ended_proves_nothing() {
        let mut proofs = proofs(&["infer"]);
        assert!(proofs.take(&result("infer", 999, Some(true))).is_empty());
        assert_eq!(words(proofs.take(&result("infer", 1000, Some(true)))), [Seen::Good]);
    }

    #[test]
    fn a_round_is_complete_when_each_probe_was_good_and_one_bad_starts_over() {
        let mut proofs = proofs(&["live", "infer"]);
        assert!(proofs.take(&result("live", 1001, Some(true))).is_empty());
        assert!(proofs.take(&result("live", 1002, Some(true))).is_empty());
        assert_eq!(words(proofs.take(&result("infer", 1003, Some(true)))), [Seen::Good]);
        assert!(proofs.take(&result("infer", 1004, None)).is_empty());
        assert_eq!(words(proofs.take(&result("infer", 1005, Some(false)))), [Seen::Bad]);
        assert!(proofs.take(&result("infer", 1006, Some(true))).is_empty());
        assert_eq!(words(proofs.take(&result("live", 1007, Some(true)))), [Seen::Good]);
    }

    #[test]
    fn a_proof_is_complete_after_the_rounds_that_were_wanted_and_a_bad_one_undoes_it() {
        let (mut proofs, other) = (proofs(&["live"]), TargetId::workload("other"));
        proofs.begin(&other, 1000, vec![(TargetId::workload("w"), "live".into())]);
        let complete = |proofs: &Proofs| proofs.is_complete(&TargetId::workload("w"));
        for began_age_ms in 1000..1003 {
            assert!(!complete(&proofs));
            proofs.take(&result("live", began_age_ms, Some(true)));
        }
        assert!(complete(&proofs));
        proofs.take(&result("live", 1003, Some(false)));
        assert!(!complete(&proofs));
        assert!(proofs.is_complete(&other), "its own probes are none");
    }

    #[test]
    fn a_proof_has_the_time_that_the_slowest_of_its_probes_takes() {
        let (mut proofs, w) = (proofs(&["live"]), TargetId::workload("w"));
        let canary = (TargetId::workload("v"), "canary".to_owned());
        proofs.probes.insert(canary.0.clone(), vec![(canary.1.clone(), 40_000)]);
        assert_eq!(proofs.ms_max(&w), 4 * 100 + SLACK_MS);
        proofs.begin(&w, 1000, vec![canary]);
        assert_eq!(proofs.ms_max(&w), 4 * 40_000 + SLACK_MS);
    }

    #[test]
    fn a_target_without_a_probe_is_looked_at_once_a_second() {
        let mut proofs = proofs(&[]);
        assert!(proofs.due_without_probe(1999).is_empty());
        assert_eq!(proofs.due_without_probe(2000).len(), 1);
        assert!(proofs.due_without_probe(2001).is_empty());
    }
}
