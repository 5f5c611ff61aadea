//! The store as a whole, on real directories.

mod commit;
mod crash;
mod damage;
mod disk;
mod room;

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::{Durable, Journal, Opened, Reader, Store};
use crate::config::StoreConfig;
use crate::model::catalogue::Terms;
use crate::model::{Event, IncidentId, Instant, Origin, Proposal, Record, Seq, TargetId};

const DEADLINE: Duration = Duration::from_secs(30);

fn config() -> StoreConfig {
    StoreConfig { max_bytes: 64 << 20, cache_bytes: 1 << 20, commit_window_ms: 0 }
}

fn open(dir: &Path) -> Opened {
    Store::open(dir, &config(), 1).unwrap()
}

fn at(age_ms: u64) -> Instant {
    Instant { age_ms, boot: 1, unix_ms: None }
}

fn telemetry(text: &str) -> Event {
    Event::PluginStarted { plugin: "liveness".into(), version: "1".into(), digest: text.into() }
}

fn audit() -> Event {
    Event::Paused { by: Origin::Operator { uid: 0 }, until_age_ms: None }
}

fn opened_incident() -> Event {
    Event::IncidentOpened {
        root: TargetId::workload("digits"),
        kind: "process.gone".into(),
        signature: "process.gone/workload".into(),
        findings: vec![],
    }
}

fn permitted() -> Event {
    let proposal = Proposal {
        action: "workload.restart".into(),
        target: TargetId::workload("digits"),
        params: vec![],
        reason: String::new(),
        also_prove: vec![],
    };
    let origin = Origin::Desired;
    Event::Permitted {
        incident: None,
        birth: 1,
        origin,
        proposal,
        terms: Terms::RESTART,
        expires_age_ms: 0,
    }
}

fn closed_incident(incident: IncidentId) -> Event {
    Event::IncidentClosed { incident, why: "proven".into() }
}

/// Appends `count` records of every class and waits until they are durable.
fn fill(journal: &mut Journal, count: u64) -> Vec<Record> {
    let mut incident = None;
    let records = (0..count)
        .map(|n| {
            let event = match (n % 5, incident) {
                (0, _) => opened_incident(),
                (1, Some(incident)) => Event::HealerAsked { incident, healer: format!("h{n}") },
                (2, Some(incident)) => closed_incident(incident),
                (3, _) => audit(),
                _ => telemetry(&format!("{n:0>64}")),
            };
            let record = journal.append(at(n), event);
            if n % 5 == 0 {
                incident = Some(IncidentId(record.seq));
            }
            if n % 1000 == 999 {
                wait_durable(&journal.durable(), record.seq);
            }
            record
        })
        .collect::<Vec<_>>();
    if let Some(last) = records.last() {
        wait_durable(&journal.durable(), last.seq);
    }
    records
}

fn wait(receiver: &watch::Receiver<Durable>, until: impl Fn(&Durable) -> bool) -> Durable {
    let mut receiver = receiver.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        match tokio::time::timeout(DEADLINE, receiver.wait_for(|durable| until(durable))).await {
            Ok(durable) => durable.unwrap().clone(),
            Err(_) => panic!("waited in vain"),
        }
    })
}

fn wait_durable(receiver: &watch::Receiver<Durable>, seq: Seq) -> Durable {
    wait(receiver, |durable| durable.seq >= seq)
}

fn replay(reader: &Reader) -> Vec<Record> {
    reader.replay(0).collect::<Result<_, _>>().unwrap()
}

fn gaps(records: &[Record]) -> Vec<&Event> {
    let events = records.iter().map(|record| &record.event);
    events.filter(|event| matches!(event, Event::JournalGap { .. })).collect()
}
