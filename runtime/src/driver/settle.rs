//! Doing what is to be done about the incidents, until nothing is left.

use std::sync::Arc;

use super::Driver;
use crate::failpoint::{Failpoint, hit};
use crate::incident::step::{self, Step};
use crate::incident::{Held, Incident, Phase};
use crate::model::{AttemptId, Event, IncidentId, TargetId, Value};
use crate::recording::Opened;

/// Steps taken on one input; more means that two rules undo each other.
const STEPS_MAX: u32 = 10_000;

impl Driver {
    pub(super) fn settle(&mut self) {
        self.settle_incidents();
        self.reconcile_desired();
        self.send_frames();
    }

    /// Does what is to be done about the incidents until nothing is left.
    pub(super) fn settle_incidents(&mut self) {
        for _ in 0..STEPS_MAX {
            let Some(step) = self.next_step() else { return };
            match step {
                Step::Write(event) => self.take_step(event),
                Step::Ask { incident, healer } => self.ask(incident, &healer),
                Step::Undo { incident } => self.undo(incident),
            }
        }
        tracing::error!(
            "{STEPS_MAX} steps on one input: two rules undo each other; going on at the next"
        );
    }

    pub(super) fn take_step(&mut self, event: Event) {
        let point = match &event {
            Event::IncidentOpened { .. } => Some(Failpoint::DriverIncidentOpened),
            Event::IncidentRecovered { .. } => Some(Failpoint::DriverRecovered),
            Event::IncidentProven { .. } => Some(Failpoint::DriverProven),
            _ => None,
        };
        let closed = match &event {
            Event::IncidentClosed { incident, .. } => self.memory.incidents.get(*incident).cloned(),
            _ => None,
        };
        tell(&event);
        let opened = match &event {
            Event::IncidentOpened { root, kind, .. } => Some((root.clone(), kind.clone())),
            _ => None,
        };
        let record = self.write(event);
        if let Some((root, kind)) = opened {
            let incident = IncidentId(record.seq);
            self.note_drill(incident, &root);
            self.out.tape.keep(Opened { incident, root, kind, now: record.at });
        }
        if let Some(point) = point {
            hit(point);
        }
        if let Some(incident) = closed {
            let attrs = vec![("incident".into(), Value::text(incident.id.to_string()))];
            self.mark(incident.root.clone(), "incident.closed", attrs);
            let why = format!("{} closed", incident.id);
            let config = Arc::clone(&self.config);
            self.reopen_stuck(|it| config.graph.depends_on(&it.root, &incident.root), &why);
        }
    }

    fn next_step(&self) -> Option<Step> {
        let unwanted = |target: &TargetId| self.is_unwanted(target);
        let runs = |target: &TargetId| self.runs(target);
        let exit = |attempt: AttemptId| self.exits.get(&attempt).copied();
        let proof_ms_max = |target: &TargetId| self.proofs.ms_max(target);
        let healer = |name: &str| self.healer_state(name);
        let blind = |detector: &str| self.is_blind(detector);
        let refuses = |held: &Held| self.refuses(held);
        let harmless = |incident: &Incident| self.may_do_no_harm(incident);
        let scene = step::Scene {
            now_age_ms: self.clock.age_ms(),
            mode: self.config.mode,
            // What could not be permitted is not asked for.
            paused: self.memory.paused.is_some() || self.journal_failing.is_some(),
            graph: &self.config.graph,
            config: &self.config.incident,
            explains: &self.explains,
            unwanted: &unwanted,
            runs: &runs,
            exit: &exit,
            proof_ms_max: &proof_ms_max,
            healer: &healer,
            blind: &blind,
            refuses: &refuses,
            harmless: &harmless,
        };
        step::next(&self.memory.incidents, &scene)
    }

    pub(super) fn reopen_stuck(&mut self, which: impl Fn(&Incident) -> bool, why: &str) {
        self.reopen(|it| matches!(it.phase, Phase::Stuck { .. }) && which(it), why);
    }

    fn reopen(&mut self, which: impl Fn(&Incident) -> bool, why: &str) {
        let them = self.memory.incidents.open().filter(|it| which(it));
        for incident in them.map(|it| it.id).collect::<Vec<_>>() {
            self.write(Event::IncidentReopened { incident, why: why.to_owned() });
        }
    }

    /// What was stuck, refused or waited for under another configuration, or another
    /// version, may be another matter under this one.
    pub(super) fn reopen_what_rests(&mut self) {
        let rests = |it: &Incident| matches!(it.phase, Phase::Stuck { .. } | Phase::Waiting { .. });
        self.reopen(rests, "the configuration, or the version, is another one");
    }
}

/// Says aloud what an operator would want in the log.
fn tell(event: &Event) {
    match event {
        Event::IncidentOpened { root, kind, .. } => tracing::warn!(%root, kind, "incident opened"),
        Event::IncidentRecovered { incident, .. } => tracing::info!(%incident, "recovered"),
        Event::IncidentRelapsed { incident, why, .. } => tracing::warn!(%incident, why, "relapsed"),
        Event::IncidentStuck { incident, why } => {
            tracing::error!(%incident, why, "STUCK: out of ideas, a person is needed");
        }
        Event::ProofFailed { incident, why, .. } => tracing::warn!(%incident, why, "proof failed"),
        Event::IncidentClosed { incident, why } => tracing::info!(%incident, why, "closed"),
        _ => {}
    }
}
