//! The journal as a person would tell it, a line a step, as it comes.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use homeostat::model::{Decision, Event, IncidentId, Record};

pub struct Timeline {
    begun_unix_ms: i64,
    told: BTreeSet<(u64, String)>,
    /// Proofs are many; the first good one of each incident is news.
    proofs: BTreeSet<IncidentId>,
    proven: usize,
}

impl Timeline {
    pub fn new() -> Self {
        Self { begun_unix_ms: unix_ms(), told: BTreeSet::new(), proofs: BTreeSet::new(), proven: 0 }
    }

    /// Incidents that the daemon calls proven.
    pub fn proven(&self) -> usize {
        self.proven
    }

    /// Something that happened outside the daemon.
    pub fn note(&self, about: &str, text: &str) {
        self.line(unix_ms(), about, text);
    }

    /// Tells what is new in the journal.
    pub fn tell(&mut self, records: &[Record]) {
        for record in records {
            let Some((about, text)) = sentence(record) else { continue };
            // After a reconnect the journal is read again from its start.
            if !self.told.insert((record.seq, text.clone())) {
                continue;
            }
            match &record.event {
                Event::ProofSeen { incident, .. } if !self.proofs.insert(*incident) => continue,
                Event::IncidentProven { .. } => self.proven += 1,
                _ => {}
            }
            self.line(record.at.unix_ms.unwrap_or_else(unix_ms), &about, &text);
        }
    }

    fn line(&self, at_unix_ms: i64, about: &str, text: &str) {
        let since_s = (at_unix_ms - self.begun_unix_ms) as f64 / 1000.0;
        println!("{since_s:>7.2} s  {about:<10} {text}");
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Whom it is about, and what happened. None for what nobody would tell.
fn sentence(record: &Record) -> Option<(String, String)> {
    let of = |incident: &IncidentId, text: String| Some((incident.to_string(), text));
    match &record.event {
        Event::DaemonStarted { version, mode, .. } => {
            Some(("box".into(), format!("homeostat {version} is up, mode {mode}")))
        }
        Event::PluginStarted { plugin, version, .. } => {
            Some(("box".into(), format!("plugin {plugin} {version} runs")))
        }
        Event::PluginRefused { plugin, why } => {
            Some(("box".into(), format!("plugin {plugin} is refused: {why}")))
        }
        Event::PluginFaulted { plugin, why, .. } => {
            Some(("box".into(), format!("plugin {plugin} faulted: {why}")))
        }
        Event::WorkloadStarted { workload, attempt, pid } => {
            Some((workload.clone(), format!("started as process {pid}, attempt {attempt}")))
        }
        Event::WorkloadExited { workload, status, wanted, .. } => {
            let how = if *wanted { "stopped" } else { "died" };
            Some((workload.clone(), format!("{how}: {status}")))
        }
        Event::FindingRaised { detector, finding } => Some((
            finding.target.name().to_owned(),
            format!("{detector} finds {}: {}", finding.kind, finding.message),
        )),
        Event::IncidentOpened { root, kind, .. } => {
            of(&IncidentId(record.seq), format!("incident opened: {kind} of {root}"))
        }
        Event::Decided { incident, healer, decision } => {
            of(incident, format!("{healer} decides: {}", decided(decision)))
        }
        Event::DecisionFailed { incident, healer, why, .. } => {
            of(incident, format!("{healer} gave no answer: {why}"))
        }
        Event::Refused { incident: Some(incident), proposal, refusal, .. } => of(
            incident,
            format!("{} refused by {}: {}", proposal.action, refusal.rule, refusal.detail),
        ),
        Event::Permitted { incident: Some(incident), birth, proposal, .. } => {
            let id = format!("{birth}-{}", record.seq);
            of(incident, format!("{} of {} permitted as {id}", proposal.action, proposal.target))
        }
        Event::ProofSeen { incident, good: true, detail } => {
            of(incident, format!("first good proof: {detail}"))
        }
        Event::ProofFailed { incident, why, .. } => of(incident, format!("not proven: {why}")),
        Event::IncidentRecovered { incident, .. } => of(incident, "recovered".into()),
        Event::IncidentRelapsed { incident, why, .. } => of(incident, format!("relapsed: {why}")),
        Event::IncidentProven { incident, .. } => {
            of(incident, "proven: recovered, and quiet since".into())
        }
        Event::IncidentStuck { incident, why } => of(incident, format!("STUCK: {why}")),
        _ => None,
    }
}

fn decided(decision: &Decision) -> String {
    match decision {
        Decision::Act(proposal) => format!("{}, since {}", proposal.action, proposal.reason),
        Decision::Wait { ms, why } => format!("wait {ms} ms, since {why}"),
        Decision::Decline { why } => format!("not mine: {why}"),
        Decision::GiveUp { why } => format!("give up: {why}"),
    }
}
