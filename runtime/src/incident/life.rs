//! What each event means to one incident.

use super::{ATTEMPTS_KEPT, Held, Incident, Pending, Phase, UNANSWERED_MAX, Undo};
use crate::model::action::Rule;
use crate::model::catalogue::{Proof, Terms, UNDO};
use crate::model::{
    Attempt, AttemptId, AttemptOutcome, Attrs, Decision, Finding, FindingRef, Instant, Origin,
    Outcome, Proposal, Refusal, Sighting,
};

/// A healer whose word was unusable is left alone this long, and twice as long
/// each time it happens again.
const UNUSABLE_ANSWER_PAUSE_MS: u64 = 1_000;
/// A healer is heard again after no less than this, however soon it wants to be.
const WAIT_MS_MIN: u64 = 500;
/// A refusal that only a person can lift is tried again this often, because
/// the person may have.
const REFUSED_FOR_GOOD_PAUSE_MS: u64 = 60_000;
/// ... and twice as late each time, up to about an hour.
const REFUSED_DOUBLINGS_MAX: u32 = 6;
/// How a lapse's detail begins, as a refusal's does with the rule.
const LAPSED: &str = "lapsed";
/// What lapsed untouched is tried again so soon, doubling likewise.
const LAPSED_PAUSE_MS: u64 = 1_000;
/// An undo that failed so often is a person's to do.
const UNDO_FAILURES_MAX: u32 = 3;

impl Undo {
    pub(super) fn of(origin: &Origin, proposal: &Proposal) -> Self {
        let proposal = Proposal {
            action: format!("{}{UNDO}", proposal.action),
            reason: format!("{} did not help", proposal.action),
            also_prove: Vec::new(),
            ..proposal.clone()
        };
        Self { origin: origin.clone(), proposal, due: false, failures: 0 }
    }
}

impl Incident {
    /// Trouble of a kind that this incident never had is news to whoever waits
    /// or gave up: words in a log were told to a person, and now the process is
    /// gone. What it had before is none, or a probe that flutters would undo
    /// every wait; and what waits for a person's word goes on waiting for it.
    pub(super) fn joined(&mut self, sighting: &Sighting) {
        let finding = &sighting.finding;
        let news =
            self.is_about(finding) && self.findings.values().all(|it| it.kind != finding.kind);
        self.findings.insert(sighting.reference(), finding.clone());
        if news {
            self.wake();
        }
    }

    /// What it knows was told again. Worse than it ever was is news, too.
    pub(super) fn told(&mut self, reference: &FindingRef, finding: &Finding) {
        let Some(known) = self.findings.get_mut(reference) else { return };
        let worst = known.severity.max(finding.severity);
        let is_worse = worst > known.severity;
        *known = Finding { severity: worst, ..finding.clone() };
        if is_worse && self.is_about(finding) {
            self.wake();
        }
    }

    pub(super) fn wake(&mut self) {
        let asleep = matches!(self.phase, Phase::Waiting { .. } | Phase::Stuck { .. });
        if asleep && self.pending.is_none() {
            self.look_anew();
        }
    }

    pub(super) fn look_anew(&mut self) {
        (self.pending, self.held) = (None, None);
        self.declined.clear();
        self.unanswered.clear();
        self.refusals = 0;
        self.phase = Phase::Open;
    }

    /// A trap or an overrun may be a moment's; what will never answer is passed by.
    pub(super) fn unanswered(&mut self, healer: &str, why: &str, for_good: bool, now: Instant) {
        let times = self.unanswered.entry(healer.to_owned()).or_insert(0);
        *times += 1;
        let pause_ms = UNUSABLE_ANSWER_PAUSE_MS << (*times - 1).min(UNANSWERED_MAX);
        if for_good {
            self.declined.insert(healer.to_owned());
        }
        self.phase = Phase::Waiting {
            why: format!("{healer} gave no usable answer: {why}"),
            until_age_ms: now.age_ms + pause_ms,
        };
    }

    pub(super) fn decided(&mut self, healer: &str, decision: &Decision, now: Instant) {
        // As asking did: the record that said so may have gone.
        (self.pending, self.held) = (None, None);
        self.unanswered.remove(healer);
        match decision {
            // The guard's word follows as the next record.
            Decision::Act(_) | Decision::GiveUp { .. } => {}
            Decision::Wait { ms, why } => {
                self.phase = Phase::Waiting {
                    why: why.clone(),
                    until_age_ms: now.age_ms.saturating_add((*ms).max(WAIT_MS_MIN)),
                };
            }
            Decision::Decline { .. } => {
                self.declined.insert(healer.to_owned());
                self.phase = Phase::Open;
            }
        }
    }

    pub(super) fn ended(&mut self, id: AttemptId, outcome: &Outcome, now: Instant) {
        let terms = self.attempt(id).and_then(|attempt| attempt.terms);
        let proof = terms.map_or(Proof::Nothing, |terms| terms.proof);
        let is_undo = self.attempt(id).is_some_and(|it| self.is_undo(&it.action));
        match (outcome, is_undo) {
            (Outcome::Done { .. }, true) => self.undo = None,
            (Outcome::Failed { .. }, _) => self.undo_is_due(is_undo),
            // Nothing was done that could be taken back; what is due is another's.
            (Outcome::Lapsed { .. }, false) => {
                self.undo = self.undo.take().filter(|undo| undo.due);
            }
            _ => {}
        }
        match (outcome, proof) {
            (Outcome::Done { detail }, Proof::Nothing) => {
                // It did what it is for; the incident is as ill as before.
                self.judge(Some(id), AttemptOutcome::Proven, detail);
                self.phase = Phase::Open;
            }
            (Outcome::Done { detail }, Proof::Probes | Proof::Stopped | Proof::Cleared) => {
                self.judge(Some(id), AttemptOutcome::Proving, detail);
                self.phase = Phase::Proving { attempt: id, since_age_ms: now.age_ms, good: 0 };
            }
            (Outcome::Failed { detail }, _) => {
                self.judge(Some(id), AttemptOutcome::Failed, detail);
                self.look_anew();
            }
            // Nothing was touched: no try, but a refusal, and asked for less and less.
            (Outcome::Lapsed { detail }, _) => {
                let pause_ms = LAPSED_PAUSE_MS << self.refusals.min(REFUSED_DOUBLINGS_MAX);
                let refusals = self.refusals.saturating_add(1);
                self.judge(Some(id), AttemptOutcome::Refused, &format!("{LAPSED}: {detail}"));
                self.look_anew();
                self.refusals = refusals;
                self.phase = Phase::Waiting {
                    why: format!("not now: {detail}"),
                    until_age_ms: now.age_ms + pause_ms,
                };
            }
        }
    }

    pub(super) fn is_undo(&self, action: &str) -> bool {
        self.undo.as_ref().is_some_and(|undo| undo.proposal.action == action)
    }

    /// What broke off half-way is taken back, too; what cannot be is given up.
    pub(super) fn undo_is_due(&mut self, failed_itself: bool) {
        if let Some(undo) = &mut self.undo {
            undo.due = true;
            undo.failures += u32::from(failed_itself);
        }
        self.undo = self.undo.take().filter(|undo| undo.failures < UNDO_FAILURES_MAX);
    }

    pub(super) fn refused(
        &mut self,
        origin: &Origin,
        proposal: &Proposal,
        refusal: &Refusal,
        now: Instant,
    ) {
        let detail = format!("{}: {}", refusal.rule, refusal.detail);
        let repeats = self.attempts.last().is_some_and(|last| {
            last.outcome == AttemptOutcome::Refused
                && last.action == proposal.action
                && last.target == proposal.target
                && last.detail.starts_with(&format!("{}:", refusal.rule))
        });
        // The same word again, and again: it is asked for less and less often.
        self.refusals = if repeats { self.refusals.saturating_add(1) } else { 0 };
        if !repeats {
            self.record(None, origin, proposal, AttemptOutcome::Refused, &detail, now);
        }
        self.pending = match (origin, refusal.rule) {
            (Origin::Healer { plugin, .. }, Rule::Approval | Rule::Mode)
                if !self.denied.contains(&proposal.action) =>
            {
                Some(Pending {
                    plugin: plugin.clone(),
                    proposal: proposal.clone(),
                    until_age_ms: refusal.retry_age_ms,
                })
            }
            _ => None,
        };
        // A person's word comes by itself, and its time runs out.
        let held = refusal.retry_age_ms.filter(|_| refusal.rule != Rule::Approval);
        self.held = held.map(|_| Held {
            origin: origin.clone(),
            proposal: proposal.clone(),
            rule: refusal.rule,
        });
        if refusal.retry_age_ms.is_none() {
            self.undo = self.undo.take().filter(|undo| undo.proposal != *proposal);
        }
        let pause_ms = REFUSED_FOR_GOOD_PAUSE_MS << self.refusals.min(REFUSED_DOUBLINGS_MAX);
        self.phase = Phase::Waiting {
            why: format!("the guard refused {}: {detail}", proposal.action),
            until_age_ms: refusal.retry_age_ms.unwrap_or(now.age_ms + pause_ms).max(now.age_ms),
        };
    }

    /// A person's no counts like a refusal of the guard's: the healer goes on
    /// with what else there is.
    pub(super) fn denied(&mut self) {
        let Some(pending) = self.pending.take() else { return };
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.detail = format!("{}: a person said no", Rule::Approval);
        }
        self.denied.insert(pending.proposal.action);
        self.look_anew();
    }

    pub(super) fn proof_seen(&mut self, seen_good: bool) {
        if let Phase::Proving { good, .. } = &mut self.phase {
            *good = if seen_good { *good + 1 } else { 0 };
        }
    }

    /// Says how an attempt stands. An empty detail leaves the one there was.
    pub(super) fn judge(&mut self, id: Option<AttemptId>, outcome: AttemptOutcome, detail: &str) {
        let Some(id) = id else { return };
        if let Some(attempt) = self.attempts.iter_mut().find(|attempt| attempt.id == Some(id)) {
            attempt.outcome = outcome;
            if !detail.is_empty() {
                attempt.detail = detail.to_owned();
            }
        }
    }

    pub(super) fn record(
        &mut self,
        permit: Option<(AttemptId, Terms)>,
        origin: &Origin,
        proposal: &Proposal,
        outcome: AttemptOutcome,
        detail: &str,
        now: Instant,
    ) {
        if self.attempts.len() == ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt {
            id: permit.map(|(id, _)| id),
            terms: permit.map(|(_, terms)| terms),
            action: proposal.action.clone(),
            target: proposal.target.clone(),
            params: Attrs::clone(&proposal.params),
            by: match origin {
                Origin::Healer { plugin, .. } => plugin.clone(),
                Origin::Approved { plugin, uid, .. } => format!("{plugin}, approved by {uid}"),
                Origin::Operator { uid } => format!("operator {uid}"),
                Origin::Desired => "desired state".into(),
                Origin::Others => "others".into(),
            },
            begun: now,
            outcome,
            detail: detail.to_owned(),
        });
    }
}
