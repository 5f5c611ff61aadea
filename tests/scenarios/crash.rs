//! A server dies. The whole path, in order, once.

use homeostat::model::{Event, ExitStatus, Outcome, TargetId};
use homeostat_tests::{Plan, journal};
use model_server::fault::Fault;

#[test]
fn a_server_that_crashes_is_started_again_and_the_repair_is_proven() {
    let house = Plan::usual().raise();
    let first = house.until_serving("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let incident = house.until_healed("digits", before);
    let second = house.until_serving("digits");
    assert_ne!(first, second, "another process serves now");

    let records = house.check();
    journal::assert_order(
        &records,
        incident,
        &[
            "incident-opened",
            "healer-asked",
            "decided",
            "permitted",
            "attempt-ended",
            "proof-seen",
            "proof-seen",
            "proof-seen",
            "incident-recovered",
            "incident-proven",
            "incident-closed",
        ],
    );
    assert_eq!(house.server("digits").starts().len(), 2, "one start each, no more");
}

#[test]
fn a_crash_is_told_with_its_signal_and_its_repair_with_its_healer() {
    let house = Plan::usual().raise();
    house.until_serving("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);

    const SIGABRT: i32 = 6;
    house.until_event(before, "the exit with its signal", |event| match event {
        Event::WorkloadExited {
            status: ExitStatus::Signal { signal: SIGABRT },
            wanted: false,
            ..
        } => Some(()),
        _ => None,
    });
    let incident = house.until_healed("digits", before);
    let story = house.cli(&["explain", &incident.to_string()]);
    let text = String::from_utf8_lossy(&story.stdout);
    assert!(story.status.success(), "{story:?}");
    for word in ["workload:digits", "liveness", "ladder", "proven"] {
        assert!(text.contains(word), "no {word:?} in the story:\n{text}");
    }
}

#[test]
fn two_servers_that_crash_at_once_are_both_healed_and_a_third_notices_nothing() {
    let house = Plan::usual().server("letters").server("steady").raise();
    for name in ["digits", "letters"] {
        house.until_serving(name);
    }
    let steady = house.until_serving("steady");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.server("letters").breaks(Fault::Crash);
    house.until_healed("digits", before);
    house.until_healed("letters", before);

    let records = house.check();
    let touched = TargetId::workload("steady");
    let permits =
        records.iter().filter_map(journal::permit).filter(|(_, target)| **target == touched);
    assert_eq!(permits.count(), 1, "the start it was declared with");
    assert_eq!(house.until_serving("steady"), steady);
    let failed = records.iter().find(|record| {
        matches!(record.event, Event::AttemptEnded { outcome: Outcome::Failed { .. }, .. })
    });
    assert_eq!(failed, None);
}
