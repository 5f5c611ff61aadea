//! Record by record, into chapters.
//!
//! Invariant: what repeats is counted, not repeated, and never merged across
//! attempts: each permit is a chapter of its own.

use std::collections::BTreeMap;

use super::{Chapter, Opening, Passage};
use crate::model::{AttemptId, Decision, Event, Instant, Outcome, Record, Seq, Sighting};

#[derive(Default)]
pub(super) struct Teller {
    pub opening: Option<Opening>,
    pub phase: &'static str,
    pub chapters: Vec<Chapter>,
    begun: BTreeMap<AttemptId, Instant>,
}

impl Teller {
    pub fn tell(&mut self, record: &Record) {
        let sightings = match &record.event {
            Event::IncidentOpened { findings, .. } => findings.as_slice(),
            Event::IncidentJoined { sighting, .. } => std::slice::from_ref(sighting),
            _ => &[],
        };
        for Sighting { detector, finding } in sightings.iter().cloned() {
            self.push(record.seq, record.at, Passage::Seen { detector, finding });
        }
        if let Some((phase, passage)) = self.passage(record) {
            self.phase = phase;
            self.push(record.seq, record.at, passage);
        }
    }

    /// What a record says, and the phase it leads to.
    fn passage(&mut self, record: &Record) -> Option<(&'static str, Passage)> {
        let at = record.at;
        Some(match record.event.clone() {
            Event::IncidentOpened { root, kind, signature, .. } => {
                self.opening = Some(Opening { at, root, kind, signature });
                ("open", Passage::Opened {})
            }
            Event::IncidentDrilled { fault, by, drill, after_ms, .. } => {
                (self.phase, Passage::Drilled { fault, by, drill, after_ms })
            }
            Event::HealerAsked { healer, .. } => ("deciding", Passage::Asked { healer }),
            Event::Decided { healer, decision, .. } => {
                let phase = match decision {
                    Decision::Wait { .. } => "waiting",
                    _ => "deciding",
                };
                (phase, Passage::Decided { healer, decision })
            }
            Event::DecisionFailed { healer, why, .. } => {
                ("open", Passage::Unanswered { healer, why })
            }
            Event::Refused { origin, proposal, refusal, .. } => {
                ("waiting", Passage::Refused { origin, proposal, refusal })
            }
            Event::Permitted { birth, origin, proposal, expires_age_ms, .. } => {
                let attempt = AttemptId { birth, seq: record.seq };
                self.begun.insert(attempt, at);
                ("acting", Passage::Permitted { attempt, origin, proposal, expires_age_ms })
            }
            Event::AttemptEnded { attempt, outcome, .. } => {
                let took_ms = self.begun.get(&attempt).map(|begun| since(*begun, at));
                (after(&outcome), Passage::Ended { attempt, outcome, took_ms })
            }
            Event::EffectObserved { attempt, outcome, .. } => {
                (after(&outcome), Passage::Observed { attempt, outcome })
            }
            Event::Approved { by, .. } => ("deciding", Passage::Approved { by }),
            Event::Denied { by, .. } => ("open", Passage::Denied { by }),
            Event::IncidentDismissed { by, .. } => ("closed", Passage::Dismissed { by }),
            Event::ProofSeen { good, detail, .. } => {
                (self.phase_or("proving"), Passage::Proof { good, detail })
            }
            Event::ProofFailed { attempt, why, .. } => {
                ("open", Passage::ProofFailed { attempt, why })
            }
            Event::IncidentRecovered { attempt, .. } => {
                let after_ms = self.opening.as_ref().map(|opening| since(opening.at, at));
                ("recovered", Passage::Recovered { attempt, after_ms })
            }
            Event::IncidentRelapsed { attempt, why, .. } => {
                ("open", Passage::Relapsed { attempt, why })
            }
            Event::IncidentProven { attempt, .. } => ("proven", Passage::Proven { attempt }),
            Event::IncidentStuck { why, .. } => ("stuck", Passage::Stuck { why }),
            Event::IncidentReopened { why, .. } => ("open", Passage::Reopened { why }),
            Event::IncidentClosed { why, .. } => ("closed", Passage::Closed { why }),
            _ => return None,
        })
    }

    /// A proof may also be seen while an incident waits; it changes no phase but acting's.
    fn phase_or(&self, next: &'static str) -> &'static str {
        if self.phase == "acting" { next } else { self.phase }
    }

    fn push(&mut self, seq: Seq, at: Instant, passage: Passage) {
        self.drop_answered_question(&passage);
        if self.joins_last(&passage, at) || self.repeats_refusal(&passage, at) {
            return;
        }
        self.chapters.push(Chapter { seq, at, times: 1, last: at, passage });
    }

    /// An answer names its healer; the question before it says nothing more.
    fn drop_answered_question(&mut self, passage: &Passage) {
        let (Passage::Decided { healer, .. } | Passage::Unanswered { healer, .. }) = passage else {
            return;
        };
        if let Some(Chapter { passage: Passage::Asked { healer: asked }, .. }) =
            self.chapters.last()
            && asked == healer
        {
            self.chapters.pop();
        }
    }

    /// The same again, right after: one chapter, counted.
    fn joins_last(&mut self, passage: &Passage, at: Instant) -> bool {
        let Some(last) = self.chapters.last_mut() else { return false };
        let alike = match (&last.passage, passage) {
            (Passage::Proof { good: a, .. }, Passage::Proof { good: b, .. }) => a == b,
            (a, b) => alike(a, b),
        };
        if alike {
            last.count(passage.clone(), at);
        }
        alike
    }

    /// A healer that proposes the same until the guard lets it: the pair of
    /// decision and refusal is told once, and counted.
    fn repeats_refusal(&mut self, passage: &Passage, at: Instant) -> bool {
        let [.., decided, refused, again] = self.chapters.as_mut_slice() else { return false };
        let repeats = matches!(again.passage, Passage::Decided { .. })
            && alike(&decided.passage, &again.passage)
            && alike(&refused.passage, passage);
        if repeats {
            refused.count(passage.clone(), at);
            self.chapters.pop();
        }
        repeats
    }
}

impl Chapter {
    fn count(&mut self, newest: Passage, at: Instant) {
        self.times += 1;
        self.last = at;
        self.passage = newest;
    }
}

/// Whether two passages say the same but for the moment they name.
fn alike(a: &Passage, b: &Passage) -> bool {
    match (a, b) {
        (
            Passage::Refused { origin: by_a, proposal: a, refusal: why_a },
            Passage::Refused { origin: by_b, proposal: b, refusal: why_b },
        ) => (by_a, &a.action, &a.target, why_a.rule) == (by_b, &b.action, &b.target, why_b.rule),
        (
            Passage::Decided { healer: by_a, decision: Decision::Wait { why: a, .. } },
            Passage::Decided { healer: by_b, decision: Decision::Wait { why: b, .. } },
        ) => (by_a, a) == (by_b, b),
        // Two permits are never the same: each is an attempt of its own.
        (Passage::Decided { .. }, Passage::Decided { .. })
        | (Passage::Seen { .. }, Passage::Seen { .. })
        | (Passage::Unanswered { .. }, Passage::Unanswered { .. }) => a == b,
        _ => false,
    }
}

fn after(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done { .. } => "proving",
        Outcome::Failed { .. } | Outcome::Lapsed { .. } => "open",
    }
}

fn since(from: Instant, to: Instant) -> u64 {
    to.age_ms.saturating_sub(from.age_ms)
}
