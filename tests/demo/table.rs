//! The closing table: what each fault cost, and who ended it.
//!
//! `recovered after` and `requests lost` are the client's, `seen` and `acted`
//! the journal's, and all of them count from the injector's own record.

use std::fmt::Write as _;

use homeostat::model::{Event, IncidentId, Record, TargetId};
use model_server::record::{Injection, Outcome, Sent};
use model_server::timeline::Outage;

pub struct Row {
    fault: String,
    seen_s: Option<f64>,
    acted_s: Option<f64>,
    by: String,
    asked: usize,
    outage: Outage,
    recovered_s: Option<f64>,
}

pub fn rows(
    injections: &[Injection],
    sent: &[Sent],
    records: &[Record],
    sustain: usize,
) -> Vec<Row> {
    injections
        .iter()
        .map(|injection| {
            let outage = Outage::after(injection, injections, sent, sustain);
            let asked_ns = injection.asked.mono_ns;
            let told = Told::of(injection, records);
            Row {
                fault: format!("{} {}", injection.server, injection.fault),
                seen_s: told.seen_s,
                acted_s: told.acted_s,
                by: told.by,
                asked: sent
                    .iter()
                    .filter(|sent| sent.server == injection.server && sent.due.mono_ns >= asked_ns)
                    .count(),
                recovered_s: outage
                    .good_again_ns
                    .map(|good_ns| good_ns.saturating_sub(asked_ns) as f64 / 1e9),
                outage,
            }
        })
        .collect()
}

/// Whether the client's record shows every fault felt, ended, and not come back.
pub fn verdict(rows: &[Row]) -> bool {
    rows.len() == 2 && rows.iter().all(|row| row.outage.healed())
}

pub fn show(rows: &[Row]) -> String {
    let seconds = |s: Option<f64>| s.map_or("never".into(), |s| format!("{s:.2} s"));
    let mut lines = vec![
        ["fault", "seen after", "acted after", "recovered after", "by", "requests lost"]
            .map(String::from),
    ];
    for row in rows {
        lines.push([
            row.fault.clone(),
            seconds(row.seen_s),
            seconds(row.acted_s),
            seconds(row.recovered_s),
            row.by.clone(),
            lost(row),
        ]);
    }
    let widths: Vec<usize> = (0..6)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let good = verdict(rows);
    text.push_str(match good {
        true => "\nHealed, both: the client's own record says so.\n",
        false => "\nNOT healed: the client's own record does not show it.\n",
    });
    text
}

fn lost(row: &Row) -> String {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Good => "good",
        Outcome::Wrong => "wrong",
        Outcome::Timeout => "timed out",
        Outcome::Refused => "refused",
        Outcome::Status => "not 200",
        Outcome::Broken => "broken off",
        Outcome::Unsent => "unsent",
    };
    let kinds: Vec<_> =
        row.outage.lost.iter().map(|(kind, count)| format!("{count} {}", word(kind))).collect();
    match kinds.as_slice() {
        [] => format!("0 of {}", row.asked),
        kinds => format!("{} of {} ({})", row.outage.lost_total(), row.asked, kinds.join(", ")),
    }
}

/// What the journal tells of one fault.
#[derive(Default)]
struct Told {
    seen_s: Option<f64>,
    acted_s: Option<f64>,
    by: String,
}

impl Told {
    fn of(injection: &Injection, records: &[Record]) -> Self {
        let target = TargetId::workload(&injection.server);
        let asked_ms = injection.asked.unix_ns / 1_000_000;
        let later = |record: &&Record| {
            record.at.unix_ms.and_then(|ms| u64::try_from(ms).ok()).is_some_and(|ms| ms >= asked_ms)
        };
        let after_s = |record: &Record| {
            let ms = u64::try_from(record.at.unix_ms?).ok()?;
            Some(ms.saturating_sub(asked_ms) as f64 / 1000.0)
        };
        let mut told = Self::default();
        let (mut detector, mut healer, mut incident) = (None, None, None::<IncidentId>);
        for record in records.iter().filter(later) {
            match &record.event {
                Event::FindingRaised { detector: found, finding } if finding.target == target => {
                    detector.get_or_insert_with(|| found.clone());
                    told.seen_s = told.seen_s.or_else(|| after_s(record));
                }
                Event::IncidentOpened { root, .. } if *root == target && incident.is_none() => {
                    incident = Some(IncidentId(record.seq));
                }
                Event::Decided { incident: of, healer: found, .. } if Some(*of) == incident => {
                    healer = Some(found.clone());
                }
                Event::Permitted { incident: Some(of), .. } if Some(*of) == incident => {
                    told.acted_s = told.acted_s.or_else(|| after_s(record));
                }
                _ => {}
            }
        }
        told.by = [detector, healer].into_iter().flatten().collect::<Vec<_>>().join(", ");
        told
    }
}
