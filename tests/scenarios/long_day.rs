//! Twelve hours with a fault every ten minutes: each is healed and proven, and
//! what the box takes of its device stays what it was.
//!
//! The hours pass in the box's own time. After each repair its age is put ahead
//! by ten minutes, as if the box had slept: cooldown, rate and hold window have
//! their ordinary lengths, and everything else is real.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use homeostat::model::{Event, IncidentId, TargetId};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, journal, process};
use model_server::fault::Fault;
use serde_json::json;

/// `HOMEOSTAT_FAULTS` makes it another number of days.
const FAULTS: usize = 72;
const EVERY_S: u64 = 600;
const STORE_MAX: u64 = 8 << 20;

/// How much more the last third of the day may take than the second. Memory: the
/// store's cache of 2 MiB, which is full after some 6,000 records, and this day
/// has 1,300. Descriptors: a connection or two of ours.
const MORE_MEMORY: u64 = 2 << 20;
const MORE_DESCRIPTORS: usize = 2;

/// What the daemon takes of its device.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    memory: u64,
    descriptors: usize,
    disk: u64,
    records: u64,
}

impl Level {
    fn of(house: &mut TestBox) -> Self {
        let pid = house.daemon().pid();
        Self {
            memory: process::resident_bytes(pid),
            descriptors: process::descriptors(pid),
            disk: size(&house.folder().join("state")),
            records: house.now(),
        }
    }

    fn peak(levels: &[Self]) -> Self {
        levels.iter().fold(Self::default(), |peak, it| Self {
            memory: peak.memory.max(it.memory),
            descriptors: peak.descriptors.max(it.descriptors),
            disk: peak.disk.max(it.disk),
            records: peak.records.max(it.records),
        })
    }
}

/// Bytes of the files below `folder`.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            // A generation that was just put aside.
            Err(_) => 0,
        })
        .sum()
}

/// The box's own time, ahead of the machine's.
struct Age {
    file: PathBuf,
    ahead_s: u64,
}

impl Age {
    fn passes(&mut self, s: u64) {
        self.ahead_s += s;
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, self.ahead_s.to_string()).expect("the story's folder can be written");
        fs::rename(&fresh, &self.file).expect("it can be renamed");
    }
}

/// A calm box, but for how often it looks: the day has to pass in a minute.
fn plan() -> Plan {
    Plan::plain()
        .with(|settings| {
            settings.set("store.max", STORE_MAX).set("source.period_ms", 100);
        })
        .server_with("digits", |workload| {
            for probe in workload["probe"].as_array_mut().into_iter().flatten() {
                probe["period_ms"] = 50.into();
                probe["timeout_ms"] = 300.into();
            }
        })
        .plugin("liveness", json!({ "period_ms": 50 }))
        .healer("ladder", json!({}))
}

#[test]
fn twelve_hours_with_a_fault_every_ten_minutes_leave_nothing_behind() {
    let plan = plan();
    let mut age = Age { file: plan.path().join("slept"), ahead_s: 0 };
    // Boot grace is over.
    age.passes(EVERY_S);
    let mut house = plan.raise_with(&[("HOMEOSTAT_SLEPT", &path(&age.file))]);
    house.until_watched("digits");
    let faults = std::env::var("HOMEOSTAT_FAULTS").ok().and_then(|text| text.parse().ok());
    let (mut levels, mut healed) = (Vec::new(), Vec::new());
    for fault in 0..faults.unwrap_or(FAULTS) {
        let before = house.now();
        house.server("digits").breaks(if fault % 6 == 5 { Fault::Hang } else { Fault::Crash });
        house.until_event(before, "recovery", |event| {
            matches!(event, Event::IncidentRecovered { attempt: Some(_), .. }).then_some(())
        });
        age.passes(EVERY_S);
        healed.push(house.until_healed("digits", before));
        levels.push(Level::of(&mut house));
    }
    told(&levels);
    flat(&levels);
    match levels.len() {
        FAULTS => each_was_proven(&house, &healed),
        // Retention has let the stories of the first go; what was permitted, never.
        _ => each_was_permitted(&house, &healed),
    }
}

fn told(levels: &[Level]) {
    for (hour, of_it) in levels.chunks(6).enumerate() {
        let Level { memory, descriptors, disk, records } = Level::peak(of_it);
        println!(
            "hour {:>2}: {} KiB resident, {descriptors} descriptors, {} KiB on disk, {records} records",
            hour + 1,
            memory >> 10,
            disk >> 10,
        );
    }
}

/// The first third is for warming up.
#[track_caller]
fn flat(levels: &[Level]) {
    let third = levels.len() / 3;
    let [first, second, last] = [0, 1, 2].map(|n| Level::peak(&levels[n * third..(n + 1) * third]));
    assert!(last.memory <= second.memory + MORE_MEMORY, "{second:?}, then {last:?}");
    assert!(last.descriptors <= second.descriptors + MORE_DESCRIPTORS, "{second:?}, then {last:?}");
    assert!(last.disk <= STORE_MAX, "{last:?}");
    let [in_second, in_last] = [second.records - first.records, last.records - second.records];
    assert!(in_last <= in_second + in_second / 4, "{in_second} records, then {in_last}");
}

#[track_caller]
fn each_was_permitted(house: &TestBox, healed: &[IncidentId]) {
    let permitted: BTreeSet<_> = house
        .journal()
        .into_iter()
        .filter_map(|record| match record.event {
            Event::Permitted { incident, .. } => incident,
            _ => None,
        })
        .collect();
    let lost: Vec<_> = healed.iter().filter(|incident| !permitted.contains(incident)).collect();
    assert!(lost.is_empty(), "audit is kept for good, and these permits are gone: {lost:?}");
}

#[track_caller]
fn each_was_proven(house: &TestBox, healed: &[IncidentId]) {
    let records = house.check();
    let life = ["incident-opened", "permitted", "incident-recovered", "incident-proven"];
    for incident in healed {
        journal::assert_order(&records, *incident, &life);
    }
    let root = TargetId::workload("digits");
    let opened = records.iter().filter(|record| {
        matches!(&record.event, Event::IncidentOpened { root: found, .. } if *found == root)
    });
    assert_eq!(opened.count(), healed.len(), "a fault, an incident");
}
