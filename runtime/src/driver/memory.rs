//! What the journal says: every fold there is, in one place, so that a replay
//! and the running daemon cannot disagree.

use std::collections::BTreeMap;

use super::drill::Drill;
use crate::guard::History;
use crate::incident::Incidents;
use crate::model::catalogue::WORKLOAD_STOP;
use crate::model::view::Pause;
use crate::model::{AttemptId, Event, IncidentId, Outcome, Record, TargetId};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// The highest birth that the journal knows.
    pub birth: u64,
    pub incidents: Incidents,
    pub history: History,
    /// What a person said of a workload; the configuration speaks for the rest.
    pub desired_running: BTreeMap<String, bool>,
    pub paused: Option<Pause>,
    /// Age of the box when each workload was last started.
    pub started_age_ms: BTreeMap<String, u64>,
    /// The last run of each workload that was written down.
    pub runs: BTreeMap<String, AttemptId>,
    /// The last fault staged on each target.
    pub drills: BTreeMap<TargetId, Drill>,
    /// The configuration and the version that the last daemon ran.
    pub ran: Option<Ran>,
    /// Age of the newest record.
    pub last_age_ms: u64,
}

/// What decides what a daemon may do, and what its healers know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub version: String,
    pub configuration: String,
}

impl Memory {
    pub fn apply(&mut self, record: &Record) {
        self.last_age_ms = self.last_age_ms.max(record.at.age_ms);
        self.incidents.apply(record);
        self.history.apply(record);
        match &record.event {
            Event::DaemonStarted { birth, version, configuration, .. } => {
                self.birth = self.birth.max(*birth);
                let (version, configuration) = (version.clone(), configuration.clone());
                self.ran = Some(Ran { version, configuration });
            }
            Event::WorkloadDesired { workload, running, .. } => {
                self.desired_running.insert(workload.clone(), *running);
            }
            Event::AttemptEnded { incident: Some(incident), attempt, outcome }
            | Event::EffectObserved { incident: Some(incident), attempt, outcome } => {
                self.stopped_for_good(*incident, *attempt, outcome);
            }
            Event::WorkloadAdopted { workload, attempt, .. } => {
                self.runs.insert(workload.clone(), *attempt);
            }
            Event::WorkloadStarted { workload, attempt, .. } => {
                self.runs.insert(workload.clone(), *attempt);
                self.started_age_ms.insert(workload.clone(), record.at.age_ms);
            }
            Event::Paused { until_age_ms, .. } => {
                self.paused = Some(Pause { until_age_ms: *until_age_ms });
            }
            Event::Resumed { .. } => self.paused = None,
            Event::DrillBegan { target, fault, by } => {
                let (seq, began_age_ms) = (record.seq, record.at.age_ms);
                let drill = Drill { seq, fault: *fault, by: by.clone(), began_age_ms };
                self.drills.insert(target.clone(), drill);
            }
            _ => {}
        }
    }

    /// A healer's stop leaves the workload stopped, until a person says otherwise.
    fn stopped_for_good(&mut self, incident: IncidentId, attempt: AttemptId, outcome: &Outcome) {
        let attempt = self.incidents.get(incident).and_then(|it| it.attempt(attempt));
        let stop = attempt.filter(|it| it.action == WORKLOAD_STOP);
        if let (Outcome::Done { .. }, Some(stop)) = (outcome, stop) {
            self.desired_running.insert(stop.target.name().to_owned(), false);
        }
    }
}
