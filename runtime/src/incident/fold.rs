//! Events become state, and nothing else does.

use super::{CLOSED_KEPT, Errand, Incident, Incidents, Phase, Undo, signature};
use crate::model::catalogue::Terms;
use crate::model::{
    AttemptId, AttemptOutcome, Event, FindingRef, IncidentId, Instant, Origin, Proposal, Record,
    Sighting, TargetId,
};

/// Findings of one incident that are kept after they have cleared.
const FINDINGS_KEPT: usize = 64;

impl Incidents {
    /// Takes in one record. Records that are not about incidents change nothing.
    pub fn apply(&mut self, record: &Record) {
        match &record.event {
            Event::DaemonStarted { .. } => self.forget_what_was_in_flight(record.at),
            Event::FindingRaised { detector, finding } => {
                let reference = FindingRef { detector: detector.clone(), key: finding.key.clone() };
                self.open.values_mut().for_each(|it| it.told(&reference, finding));
                let known = self.standing.insert(reference.clone(), finding.clone());
                if known.is_none_or(|known| known.severity < finding.severity) {
                    self.dismissed.remove(&reference);
                }
            }
            Event::FindingCleared { detector, key, .. } => {
                let reference = FindingRef { detector: detector.clone(), key: key.clone() };
                self.dismissed.remove(&reference);
                self.standing.remove(&reference);
                for incident in self.open.values_mut() {
                    if incident.findings.len() > FINDINGS_KEPT {
                        incident.findings.remove(&reference);
                    }
                }
            }
            Event::IncidentDismissed { incident, .. } => {
                let findings =
                    self.open.get(incident).into_iter().flat_map(|it| it.findings.keys());
                let standing = findings.filter(|it| self.standing.contains_key(*it)).cloned();
                self.dismissed.extend(standing.collect::<Vec<_>>());
            }
            Event::IncidentOpened { root, kind, findings, .. } => {
                self.begin(record, root, kind, findings);
            }
            Event::Permitted { incident, birth, origin, proposal, terms, .. } => {
                let id = AttemptId { birth: *birth, seq: record.seq };
                self.permitted(*incident, (id, *terms), origin, proposal, record.at);
            }
            Event::AttemptEnded { incident, attempt, outcome }
            | Event::EffectObserved { incident, attempt, outcome } => {
                self.errands.remove(attempt);
                if let Some(incident) = incident {
                    self.change(*incident, record.at, |it| it.ended(*attempt, outcome, record.at));
                }
            }
            Event::Refused { incident: Some(incident), origin, proposal, refusal } => {
                self.change(*incident, record.at, |it| {
                    it.refused(origin, proposal, refusal, record.at);
                });
            }
            Event::IncidentClosed { incident, why } => self.close(*incident, why, record.at),
            event => self.lived(event, record),
        }
    }

    /// The plain steps of one incident's life.
    fn lived(&mut self, event: &Event, record: &Record) {
        let Some(id) = event.incident(record.seq) else { return };
        if let Event::IncidentJoined { sighting, .. } = event {
            self.see(sighting);
        }
        let now = record.at;
        self.change(id, now, |it| match event {
            Event::IncidentJoined { sighting, .. } => it.joined(sighting),
            Event::HealerAsked { healer, .. } => {
                (it.pending, it.held) = (None, None);
                it.phase = Phase::Deciding { healer: healer.clone(), since_age_ms: now.age_ms };
            }
            Event::Decided { healer, decision, .. } => it.decided(healer, decision, now),
            Event::DecisionFailed { healer, why, for_good, .. } => {
                it.unanswered(healer, why, *for_good, now);
            }
            Event::Denied { .. } => it.denied(),
            Event::ProofSeen { good, .. } => it.proof_seen(*good),
            Event::ProofFailed { attempt, why, .. } => {
                it.judge(*attempt, AttemptOutcome::Failed, why);
                it.undo.iter_mut().for_each(|undo| undo.due = true);
                it.look_anew();
            }
            Event::IncidentRecovered { attempt, .. } => {
                // A late yes would act on what is well.
                it.pending = None;
                it.judge(*attempt, AttemptOutcome::Recovered, "");
                it.phase = Phase::Recovered { attempt: *attempt, since_age_ms: now.age_ms };
            }
            Event::IncidentRelapsed { attempt, why, .. } => {
                it.judge(*attempt, AttemptOutcome::Relapsed, why);
                it.look_anew();
            }
            Event::IncidentProven { attempt, .. } => {
                it.judge(*attempt, AttemptOutcome::Proven, "");
            }
            Event::IncidentStuck { why, .. } => {
                it.phase = Phase::Stuck { why: why.clone(), since_age_ms: now.age_ms };
            }
            Event::IncidentReopened { .. } => it.look_anew(),
            _ => {}
        });
    }

    /// What an incident speaks of stood at that time, whether or not the record
    /// that first told of it is still there.
    fn see(&mut self, sighting: &Sighting) {
        self.standing.entry(sighting.reference()).or_insert_with(|| sighting.finding.clone());
    }

    fn change(&mut self, id: IncidentId, now: Instant, with: impl FnOnce(&mut Incident)) {
        if let Some(incident) = self.open.get_mut(&id) {
            with(incident);
            incident.changed = now;
        }
    }

    fn begin(&mut self, record: &Record, root: &TargetId, kind: &str, findings: &[Sighting]) {
        let id = IncidentId(record.seq);
        findings.iter().for_each(|it| self.see(it));
        let findings = findings.iter().map(|it| (it.reference(), it.finding.clone())).collect();
        let incident = Incident {
            id,
            root: root.clone(),
            kind: kind.to_owned(),
            signature: signature(kind, root),
            opened: record.at,
            changed: record.at,
            phase: Phase::Open,
            findings,
            attempts: Vec::new(),
            also_prove: Vec::new(),
            undo: None,
            refusals: 0,
            held: None,
            declined: Default::default(),
            unanswered: Default::default(),
            pending: None,
            denied: Default::default(),
        };
        self.open.insert(id, incident);
    }

    fn permitted(
        &mut self,
        incident: Option<IncidentId>,
        permit: (AttemptId, Terms),
        origin: &Origin,
        proposal: &Proposal,
        now: Instant,
    ) {
        let (id, terms) = permit;
        let Some(incident) = incident else {
            self.errands.insert(
                id,
                Errand {
                    origin: origin.clone(),
                    action: proposal.action.clone(),
                    target: proposal.target.clone(),
                    terms,
                    unknown: false,
                },
            );
            return;
        };
        self.change(incident, now, |it| {
            let acting = AttemptOutcome::Acting;
            it.record(Some(permit), origin, proposal, acting, &proposal.reason, now);
            it.also_prove.clone_from(&proposal.also_prove);
            // What is due stays until it was done.
            if !it.undo.as_ref().is_some_and(|undo| undo.due) {
                it.undo = terms.undo.then(|| Undo::of(origin, proposal));
            }
            (it.pending, it.held) = (None, None);
            it.phase = Phase::Acting { attempt: id };
        });
    }

    fn close(&mut self, id: IncidentId, why: &str, now: Instant) {
        let Some(mut incident) = self.open.remove(&id) else { return };
        incident.phase = Phase::Closed { why: why.to_owned() };
        incident.changed = now;
        self.closed.push_back(incident);
        while self.closed.len() > CLOSED_KEPT {
            self.closed.pop_front();
        }
    }

    /// A daemon that starts has asked nobody yet, and what was permitted and
    /// has no outcome may or may not have happened. A proof and a hold window
    /// start over, with all their time: nobody watched.
    fn forget_what_was_in_flight(&mut self, now: Instant) {
        for incident in self.open.values_mut() {
            match incident.phase {
                Phase::Deciding { .. } => incident.phase = Phase::Open,
                Phase::Acting { attempt } => {
                    incident.judge(
                        Some(attempt),
                        AttemptOutcome::Unknown,
                        "the daemon ended under it",
                    );
                }
                Phase::Proving { ref mut good, ref mut since_age_ms, .. } => {
                    *good = 0;
                    *since_age_ms = now.age_ms;
                }
                Phase::Recovered { ref mut since_age_ms, .. } => *since_age_ms = now.age_ms,
                _ => {}
            }
        }
        for errand in self.errands.values_mut() {
            errand.unknown = true;
        }
    }
}
