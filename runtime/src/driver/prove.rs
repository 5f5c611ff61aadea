//! Watching for the proof that an action helped: its target's probes, or its
//! process where it has none.

use super::Driver;
use super::proof::Seen;
use crate::failpoint::{Failpoint, hit};
use crate::incident::Phase;
use crate::model::{AttemptId, Event, IncidentId, TargetId};
use crate::source::ProbeResult;

impl Driver {
    pub(super) fn watch_proof(&mut self, target: &TargetId, attempt: AttemptId) {
        let now_age_ms = self.clock.age_ms();
        let also = self.also_prove(attempt);
        let others: Vec<_> = also.iter().map(|(other, _)| other.clone()).collect();
        self.proofs.begin(target, now_age_ms, also);
        let until_age_ms = now_age_ms + self.proofs.ms_max(target);
        for other in others.iter().chain([target]) {
            self.out.sources.hasten(other, until_age_ms);
        }
    }

    pub(super) fn take_probe(&mut self, result: &ProbeResult) {
        for (target, seen) in self.proofs.take(result) {
            let detail = format!("{}/{}: {}", result.target, result.probe, result.detail);
            self.proof_seen(&target, seen, detail);
        }
        // A detector counts readings: hastened longer than it takes, two within
        // one blink would be a fault.
        if self.proofs.is_complete(&result.target) {
            self.out.sources.calm(&result.target);
        }
    }

    pub(super) fn prove_what_has_no_probe(&mut self) {
        for target in self.proofs.due_without_probe(self.clock.age_ms()) {
            let seen = if self.runs(&target) { Seen::Good } else { Seen::Bad };
            self.proof_seen(&target, seen, "the process runs".into());
        }
    }

    fn proof_seen(&mut self, target: &TargetId, seen: Seen, detail: String) {
        let wanted = self.config.incident.proofs_wanted;
        let open: Vec<IncidentId> = self
            .memory
            .incidents
            .open()
            .filter(|incident| {
                let Phase::Proving { attempt, good, .. } = incident.phase else { return false };
                let on_target = incident.attempt(attempt).is_some_and(|it| it.target == *target);
                // What adds nothing is not written down: good beyond what is
                // wanted, bad while it is still loading.
                on_target && if seen == Seen::Good { good < wanted } else { good > 0 }
            })
            .map(|incident| incident.id)
            .collect();
        for incident in open {
            self.write(Event::ProofSeen {
                incident,
                good: seen == Seen::Good,
                detail: detail.clone(),
            });
            hit(Failpoint::DriverProof);
        }
    }
}
