//! What must hold of any journal, whatever was killed and when.
//!
//! Pure: a list of records in, everything that is wrong with it out.

use std::collections::{BTreeMap, BTreeSet};

use homeostat::model::{AttemptId, Event, IncidentId, Outcome, Record, TargetId};

/// Where an incident stands, as far as order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Ill,
    Recovered,
    Proven,
    Closed,
}

#[derive(Default)]
struct Reading {
    wrong: Vec<String>,
    /// Sequence of the last gap; whatever began before it is taken as it is.
    gap: u64,
    birth: u64,
    incidents: BTreeMap<IncidentId, Life>,
    /// Permits without an end: what, and on which target.
    open: BTreeMap<AttemptId, TargetId>,
    ended: BTreeSet<AttemptId>,
}

/// Everything that is wrong; nothing, one hopes. What lies before a gap was
/// salvaged, so it may have holes; from the last gap on there are none.
pub fn wrong(records: &[Record]) -> Vec<String> {
    let gap = records.iter().rfind(|record| matches!(record.event, Event::JournalGap { .. }));
    let gap = gap.map_or(0, |record| record.seq);
    let mut reading = Reading { gap, ..Reading::default() };
    for pair in records.windows(2) {
        let (one, next) = (&pair[0], &pair[1]);
        let follows = if next.seq > gap { next.seq == one.seq + 1 } else { next.seq > one.seq };
        if !follows {
            reading.wrong.push(format!("record {} follows {}", next.seq, one.seq));
        }
        if next.at.age_ms < one.at.age_ms {
            reading.wrong.push(format!(
                "record {} is of age {} ms, {} before it of {} ms",
                next.seq, next.at.age_ms, one.seq, one.at.age_ms
            ));
        }
    }
    for record in records.iter().filter(|record| record.seq > gap) {
        reading.read(record);
    }
    reading.wrong
}

/// Fails the test with all that is wrong.
#[track_caller]
pub fn check(records: &[Record]) {
    let wrong = wrong(records);
    assert!(
        wrong.is_empty(),
        "the journal is broken:\n  {}\n{}",
        wrong.join("\n  "),
        show(records)
    );
}

/// Ids of all permits.
pub fn permits(records: &[Record]) -> BTreeSet<AttemptId> {
    records.iter().filter_map(|record| permit(record).map(|(id, _)| id)).collect()
}

/// The permit a record is, and its target.
pub fn permit(record: &Record) -> Option<(AttemptId, &TargetId)> {
    match &record.event {
        Event::Permitted { birth, proposal, .. } => {
            Some((AttemptId { birth: *birth, seq: record.seq }, &proposal.target))
        }
        _ => None,
    }
}

/// The event's name, as it is written down: `incident-opened`.
pub fn name(event: &Event) -> String {
    let value = serde_json::to_value(event).unwrap_or_default();
    value.get("type").and_then(|name| name.as_str()).unwrap_or_default().to_owned()
}

/// Fails the test unless the incident's records have these names in this
/// order, others between them allowed.
#[track_caller]
pub fn assert_order(records: &[Record], incident: IncidentId, wanted: &[&str]) {
    let names: Vec<_> = records
        .iter()
        .filter(|record| record.event.incident(record.seq) == Some(incident))
        .map(|record| name(&record.event))
        .collect();
    let mut left = names.iter();
    for step in wanted {
        assert!(left.any(|name| name == step), "{step} is missing in its place: {names:#?}");
    }
}

/// The last records, a line each.
pub fn show(records: &[Record]) -> String {
    const SHOWN: usize = 60;
    let skipped = records.len().saturating_sub(SHOWN);
    let mut text =
        if skipped > 0 { format!("… {skipped} records before\n") } else { String::new() };
    for record in &records[skipped..] {
        let event = serde_json::to_string(&record.event).unwrap_or_else(|error| error.to_string());
        text.push_str(&format!("{:>6} {:>9} ms  {event}\n", record.seq, record.at.age_ms));
    }
    text
}

impl Reading {
    fn read(&mut self, record: &Record) {
        let seq = record.seq;
        match &record.event {
            Event::DaemonStarted { birth, .. } => {
                if *birth <= self.birth {
                    self.complain(seq, format!("birth {birth} after birth {}", self.birth));
                }
                self.birth = *birth;
            }
            Event::Permitted { birth, proposal, .. } => {
                let id = AttemptId { birth: *birth, seq };
                if *birth != self.birth {
                    self.complain(seq, format!("permit of birth {birth} in birth {}", self.birth));
                }
                if let Some((other, _)) =
                    self.open.iter().find(|(_, target)| **target == proposal.target)
                {
                    let text = format!("permit for {} while {other} is open", proposal.target);
                    self.complain(seq, text);
                }
                self.open.insert(id, proposal.target.clone());
            }
            Event::AttemptEnded { attempt, .. } | Event::EffectObserved { attempt, .. } => {
                self.end(seq, *attempt, &record.event);
            }
            _ => {}
        }
        self.incident(record);
    }

    fn end(&mut self, seq: u64, attempt: AttemptId, event: &Event) {
        if self.open.remove(&attempt).is_none() && attempt.seq > self.gap {
            let why =
                if self.ended.contains(&attempt) { "a second time" } else { "without a permit" };
            self.complain(seq, format!("attempt {attempt} ended {why}"));
        }
        let lapsed = matches!(event, Event::AttemptEnded { outcome: Outcome::Lapsed { .. }, .. });
        if !lapsed {
            self.ended.insert(attempt);
        }
    }

    /// Each step of an incident's life follows one that allows it.
    fn incident(&mut self, record: &Record) {
        let seq = record.seq;
        let Some(id) = record.event.incident(seq) else { return };
        if matches!(record.event, Event::IncidentOpened { .. }) {
            self.incidents.insert(id, Life::Ill);
            return;
        }
        let Some(life) = self.incidents.get(&id).copied() else {
            if id.0 < self.gap {
                return;
            }
            return self.complain(seq, format!("{id} was never opened"));
        };
        if life == Life::Closed {
            self.complain(seq, format!("{id} goes on after it was closed"));
        }
        let (needs, becomes) = match &record.event {
            Event::IncidentRecovered { .. } => (Some(Life::Ill), Life::Recovered),
            Event::IncidentRelapsed { .. } => (Some(Life::Recovered), Life::Ill),
            Event::IncidentProven { .. } => (Some(Life::Recovered), Life::Proven),
            Event::IncidentStuck { .. } | Event::IncidentReopened { .. } => (None, Life::Ill),
            Event::IncidentClosed { .. } => (None, Life::Closed),
            _ => (None, life),
        };
        if needs.is_some_and(|needs| needs != life) {
            self.complain(seq, format!("{id} becomes {becomes:?} while it is {life:?}"));
        }
        self.incidents.insert(id, becomes);
    }

    fn complain(&mut self, seq: u64, what: String) {
        self.wrong.push(format!("record {seq}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use homeostat::model::catalogue::Terms;
    use homeostat::model::{Instant, Mode, Origin, Proposal};

    use super::*;

    fn record(seq: u64, event: Event) -> Record {
        Record { seq, at: Instant { age_ms: seq * 10, boot: 1, unix_ms: None }, event }
    }

    fn started(seq: u64, birth: u64) -> Record {
        record(
            seq,
            Event::DaemonStarted {
                birth,
                version: "0".into(),
                mode: Mode::Enforce,
                configuration: String::new(),
            },
        )
    }

    fn permitted(seq: u64, birth: u64) -> Record {
        let proposal = Proposal {
            action: "workload.restart".into(),
            target: TargetId::workload("a"),
            params: Vec::new(),
            reason: String::new(),
            also_prove: Vec::new(),
        };
        let origin = Origin::Desired;
        record(
            seq,
            Event::Permitted {
                incident: None,
                birth,
                origin,
                proposal,
                terms: Terms::RESTART,
                expires_age_ms: 0,
            },
        )
    }

    fn ended(seq: u64, attempt: AttemptId) -> Record {
        let outcome = Outcome::Done { detail: String::new() };
        record(seq, Event::AttemptEnded { incident: None, attempt, outcome })
    }

    #[test]
    fn a_journal_as_it_should_be_has_nothing_wrong() {
        let attempt = AttemptId { birth: 1, seq: 2 };
        assert_eq!(
            wrong(&[started(1, 1), permitted(2, 1), ended(3, attempt), permitted(4, 1)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_hole_a_second_end_and_two_open_permits_are_named() {
        let attempt = AttemptId { birth: 1, seq: 2 };
        for (records, word) in [
            (vec![started(1, 1), permitted(3, 1)], "record 3 follows 1"),
            (
                vec![started(1, 1), permitted(2, 1), ended(3, attempt), ended(4, attempt)],
                "a second time",
            ),
            (vec![started(1, 1), permitted(2, 1), permitted(3, 1)], "while 1-2 is open"),
            (vec![started(1, 1), ended(2, attempt)], "without a permit"),
            (vec![started(1, 2), started(2, 2)], "birth 2 after birth 2"),
        ] {
            let found = wrong(&records);
            assert!(found.iter().any(|text| text.contains(word)), "{word}: {found:?}");
        }
    }

    #[test]
    fn what_was_salvaged_before_a_gap_may_have_holes_and_what_follows_may_not() {
        let event = Event::JournalGap {
            why: String::new(),
            salvaged: 2,
            first_lost: None,
            aside: String::new(),
        };
        let gap = record(20, event);
        let before = ended(4, AttemptId { birth: 1, seq: 2 });
        let salvaged = [started(1, 1), before, gap];
        let and = |next: Record| salvaged.iter().cloned().chain([next]).collect::<Vec<_>>();
        assert_eq!(wrong(&and(started(21, 2))), Vec::<String>::new());
        assert_eq!(wrong(&and(started(22, 2))), ["record 22 follows 20"]);
    }

    #[test]
    fn an_incident_is_proven_only_after_it_recovered() {
        let opened = record(
            1,
            Event::IncidentOpened {
                root: TargetId::workload("a"),
                kind: "process.gone".into(),
                signature: String::new(),
                findings: Vec::new(),
            },
        );
        let proven =
            |seq| record(seq, Event::IncidentProven { incident: IncidentId(1), attempt: None });
        let recovered =
            record(2, Event::IncidentRecovered { incident: IncidentId(1), attempt: None });
        assert_eq!(wrong(&[opened.clone(), recovered, proven(3)]), Vec::<String>::new());
        assert!(wrong(&[opened, proven(2)])[0].contains("becomes Proven while it is Ill"));
    }
}
