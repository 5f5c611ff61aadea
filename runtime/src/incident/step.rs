//! What is to be done next about the incidents: pure, from state and `now`.
//!
//! A step is a proposal to the driver, which writes it down, applies it and
//! asks again until nothing is left to do.

use std::collections::BTreeMap;

use super::{Held, Incident, Incidents, Phase, UNANSWERED_MAX, signature};
use crate::config::IncidentConfig;
use crate::model::catalogue::Proof;
use crate::model::finding::SEVERITY_OPENS;
use crate::model::{
    AttemptId, Event, ExitStatus, Graph, IncidentId, Mode, Sighting, TargetId, TargetKind, selects,
};

/// A healer whose proposal is held is asked anew so long after its time, whatever
/// the guard says: it may know another way by then.
const HELD_MS_MAX: u64 = 600_000;

/// What the driver knows besides the incidents.
pub struct Scene<'a> {
    pub now_age_ms: u64,
    pub mode: Mode,
    pub paused: bool,
    pub graph: &'a Graph,
    pub config: &'a IncidentConfig,
    /// Which kinds of trouble account for which others.
    pub explains: &'a BTreeMap<String, Vec<String>>,
    /// Workloads an operator stopped, or that are declared stopped.
    pub unwanted: &'a dyn Fn(&TargetId) -> bool,
    pub runs: &'a dyn Fn(&TargetId) -> bool,
    /// How the attempt's process ended, if it did.
    pub exit: &'a dyn Fn(AttemptId) -> Option<ExitStatus>,
    /// How long a proof on this target may take, in milliseconds.
    pub proof_ms_max: &'a dyn Fn(&TargetId) -> u64,
    pub healer: &'a dyn Fn(&str) -> HealerState,
    /// Detectors that will not report any more: quarantined, or refused.
    pub blind: &'a dyn Fn(&str) -> bool,
    /// Whether the guard would refuse it by the same rule again, for a while.
    pub refuses: &'a dyn Fn(&Held) -> bool,
    /// Whether a healer of its may do something that disrupts nothing.
    pub harmless: &'a dyn Fn(&Incident) -> bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealerState {
    Idle,
    /// Asked something else, or still starting.
    Busy,
    /// Refused, quarantined or never configured.
    Gone {
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Write(Event),
    Ask {
        incident: IncidentId,
        healer: String,
    },
    /// What did not help is taken back before anything else is tried.
    Undo {
        incident: IncidentId,
    },
}

impl Scene<'_> {
    /// Whether `incident` accounts for trouble of `kind` on `target`: its kind
    /// says so, the target needs its root, and it is still being worked on. An
    /// exhausted root falls through to the next, but for one that is not ours
    /// to repair: however long it is away, restarting what needs it heals nothing,
    /// and what needs it has the hold window to come back after it.
    pub fn explains(&self, incident: &Incident, kind: &str, target: &TargetId) -> bool {
        let declared = || {
            self.explains
                .iter()
                .filter(|(by, _)| selects(by, &incident.kind))
                .any(|(_, kinds)| kinds.iter().any(|selector| selects(selector, kind)))
        };
        let external =
            self.graph.get(&incident.root).is_some_and(|it| it.kind == TargetKind::External);
        let over = matches!(incident.phase, Phase::Stuck { .. } | Phase::Recovered { .. });
        (external || !over) && declared() && self.graph.depends_on(target, &incident.root)
    }

    fn healers(&self, incident: &Incident) -> &[String] {
        self.config.healers(&incident.kind, &incident.root)
    }
}

/// The first thing to be done, or nothing.
pub fn next(incidents: &Incidents, scene: &Scene<'_>) -> Option<Step> {
    house_a_finding(incidents, scene)
        .or_else(|| incidents.open().find_map(|incident| live(incidents, incident, scene)))
}

/// A finding that stands and belongs to no incident opens one, or joins one.
fn house_a_finding(incidents: &Incidents, scene: &Scene<'_>) -> Option<Step> {
    incidents.standing().iter().find_map(|(reference, finding)| {
        if finding.severity < SEVERITY_OPENS
            || incidents.is_dismissed(reference)
            || (scene.unwanted)(&finding.target)
        {
            return None;
        }
        let sighting =
            || Sighting { detector: reference.detector.clone(), finding: finding.clone() };
        match incidents.home(finding, scene) {
            Some(home) if home.findings.contains_key(reference) => None,
            Some(home) => {
                Some(Step::Write(Event::IncidentJoined { incident: home.id, sighting: sighting() }))
            }
            None => Some(Step::Write(Event::IncidentOpened {
                root: finding.target.clone(),
                kind: finding.kind.clone(),
                signature: signature(&finding.kind, &finding.target),
                findings: vec![sighting()],
            })),
        }
    })
}

fn live(incidents: &Incidents, incident: &Incident, scene: &Scene<'_>) -> Option<Step> {
    let id = incident.id;
    let ill = incidents.is_ill(incident);
    // An operator's word ends the matter, but not an action half-way through.
    if (scene.unwanted)(&incident.root) && !matches!(incident.phase, Phase::Acting { .. }) {
        let why = format!("{} is meant to be stopped", incident.root);
        return Some(Step::Write(Event::IncidentClosed { incident: id, why }));
    }
    match &incident.phase {
        // A process that is down has not recovered because nobody has said so yet.
        Phase::Open | Phase::Waiting { .. } | Phase::Stuck { .. }
            if !ill && (scene.runs)(&incident.root) =>
        {
            Some(recovered_by_itself(incident))
        }
        Phase::Open => ask(incidents, incident, scene),
        Phase::Waiting { until_age_ms, .. } if *until_age_ms <= scene.now_age_ms => {
            let late_ms = scene.now_age_ms - until_age_ms;
            match incident.held.as_ref().filter(|held| (scene.refuses)(held)) {
                Some(_) if late_ms < HELD_MS_MAX => None,
                // An undo that has to wait keeps nobody from being asked.
                Some(_) => ask_a_healer(incidents, incident, scene),
                None => ask(incidents, incident, scene),
            }
        }
        Phase::Deciding { healer, since_age_ms } => {
            let waited_ms = scene.now_age_ms.saturating_sub(*since_age_ms);
            (waited_ms > scene.config.decide_timeout_ms).then(|| {
                Step::Write(Event::DecisionFailed {
                    incident: id,
                    healer: healer.clone(),
                    why: format!("no answer within {waited_ms} ms"),
                    for_good: false,
                })
            })
        }
        Phase::Proving { attempt, since_age_ms, good } => {
            prove(incidents, incident, *attempt, *since_age_ms, *good, scene)
        }
        Phase::Recovered { attempt, .. } if ill => {
            let why = standing_messages(incidents, incident);
            Some(Step::Write(Event::IncidentRelapsed { incident: id, attempt: *attempt, why }))
        }
        Phase::Recovered { attempt, since_age_ms } => {
            let quiet_ms = scene.now_age_ms.saturating_sub(*since_age_ms);
            if quiet_ms < scene.config.hold_ms {
                return None;
            }
            let proven = incident_is_proven(incident, *attempt);
            Some(Step::Write(if proven {
                Event::IncidentClosed { incident: id, why: format!("quiet for {quiet_ms} ms") }
            } else {
                Event::IncidentProven { incident: id, attempt: *attempt }
            }))
        }
        Phase::Stuck { since_age_ms, .. } => {
            let waited_ms = scene.now_age_ms.saturating_sub(*since_age_ms);
            // Trying again what is down already disrupts nothing, nor does what
            // takes nothing from anybody.
            let due = waited_ms >= scene.config.stuck_retry_ms
                && (!(scene.runs)(&incident.root) || (scene.harmless)(incident));
            due.then(|| {
                let why = format!("stuck for {waited_ms} ms, and a retry disrupts nothing");
                Step::Write(Event::IncidentReopened { incident: id, why })
            })
        }
        Phase::Waiting { .. } | Phase::Acting { .. } | Phase::Closed { .. } => None,
    }
}

fn recovered_by_itself(incident: &Incident) -> Step {
    Step::Write(Event::IncidentRecovered { incident: incident.id, attempt: None })
}

/// Proven is written once; what follows it is the end.
fn incident_is_proven(incident: &Incident, attempt: Option<AttemptId>) -> bool {
    use crate::model::AttemptOutcome::Proven;
    attempt.is_none_or(|id| incident.attempt(id).is_none_or(|it| it.outcome == Proven))
}

fn standing_messages(incidents: &Incidents, incident: &Incident) -> String {
    let mut messages: Vec<_> = incidents
        .standing()
        .values()
        .filter(|finding| incident.is_about(finding))
        .map(|finding| finding.message.as_str())
        .collect();
    messages.truncate(4);
    messages.join("; ")
}

/// What is to be tried now: first what did not help is taken back.
fn ask(incidents: &Incidents, incident: &Incident, scene: &Scene<'_>) -> Option<Step> {
    if incident.undo.as_ref().is_some_and(|undo| undo.due) {
        let undo = Step::Undo { incident: incident.id };
        return may_be_healed(incidents, incident, scene).then_some(undo);
    }
    ask_a_healer(incidents, incident, scene)
}

fn may_be_healed(incidents: &Incidents, incident: &Incident, scene: &Scene<'_>) -> bool {
    let explained =
        |it: &Incident| it.id != incident.id && scene.explains(it, &incident.kind, &incident.root);
    scene.mode != Mode::Observe && !scene.paused && !incidents.open().any(explained)
}

/// Which healer is to be asked now, if any may.
fn ask_a_healer(incidents: &Incidents, incident: &Incident, scene: &Scene<'_>) -> Option<Step> {
    if !may_be_healed(incidents, incident, scene) {
        return None;
    }
    let healers = scene.healers(incident);
    // Who answered best comes first; the route's order decides between equals.
    let failures = |healer: &&String| incident.unanswered.get(*healer).copied().unwrap_or(0);
    let left = healers
        .iter()
        .filter(|it| !incident.declined.contains(*it) && failures(it) < UNANSWERED_MAX)
        .min_by_key(failures);
    match left {
        Some(healer) => match (scene.healer)(healer) {
            HealerState::Idle => Some(Step::Ask { incident: incident.id, healer: healer.clone() }),
            HealerState::Busy => None,
            HealerState::Gone { why } => Some(Step::Write(Event::DecisionFailed {
                incident: incident.id,
                healer: healer.clone(),
                why,
                for_good: true,
            })),
        },
        None => {
            let why = if healers.is_empty() {
                format!("no route names a healer for {} on {}", incident.kind, incident.root)
            } else {
                format!("no healer of its route is left: {}", healers.join(", "))
            };
            Some(Step::Write(Event::IncidentStuck { incident: incident.id, why }))
        }
    }
}

fn prove(
    incidents: &Incidents,
    incident: &Incident,
    attempt: AttemptId,
    since_age_ms: u64,
    good: u32,
    scene: &Scene<'_>,
) -> Option<Step> {
    let id = incident.id;
    let ill = incidents.is_ill(incident);
    let acted = incident.attempt(attempt);
    let target = acted.map_or(&incident.root, |it| &it.target);
    let terms = acted.and_then(|it| it.terms);
    let proof = terms.map_or(Proof::Nothing, |it| it.proof);
    let recovered = Step::Write(Event::IncidentRecovered { incident: id, attempt: Some(attempt) });
    if proof == Proof::Stopped || (proof == Proof::Cleared && !ill) {
        return Some(recovered);
    }
    let failed =
        |why| Some(Step::Write(Event::ProofFailed { incident: id, attempt: Some(attempt), why }));
    if let Some(status) = (scene.exit)(attempt) {
        return failed(format!("the process ended again: {status}"));
    }
    if good >= scene.config.proofs_wanted {
        if !ill {
            return Some(recovered);
        }
        if let Some(released) = evidence_of_the_blind(incidents, incident, scene) {
            return Some(released);
        }
    }
    let waited_ms = scene.now_age_ms.saturating_sub(since_age_ms);
    let settle_ms = terms.map_or(0, |it| it.settle_ms);
    if proof == Proof::Cleared {
        let why = || format!("its findings stand after {waited_ms} ms");
        return (waited_ms > settle_ms).then(why).and_then(failed);
    }
    if waited_ms > settle_ms + (scene.proof_ms_max)(target) {
        let still = if ill { ", and its findings stand" } else { "" };
        let wanted = scene.config.proofs_wanted;
        return failed(format!("{good} of {wanted} good proofs within {waited_ms} ms{still}"));
    }
    None
}

/// A detector that will never report again cannot take back what it said; a
/// proof releases it, or a healthy service would be bounced for dead evidence.
fn evidence_of_the_blind(
    incidents: &Incidents,
    incident: &Incident,
    scene: &Scene<'_>,
) -> Option<Step> {
    let (reference, finding) = incidents
        .standing()
        .iter()
        .find(|(it, finding)| incident.is_about(finding) && (scene.blind)(&it.detector))?;
    Some(Step::Write(Event::FindingCleared {
        detector: reference.detector.clone(),
        key: reference.key.clone(),
        target: finding.target.clone(),
        kind: finding.kind.clone(),
    }))
}

#[cfg(test)]
mod tests;
