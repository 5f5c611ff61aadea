//! A detector goes wrong in every way there is. It costs the detector its
//! instance; it costs the daemon nothing, and it clears nothing.

use std::time::Duration;

use homeostat::model::view::PluginState;
use homeostat::model::{AfterFault, Event, TargetId};
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;
use serde_json::{Value, json};

/// The word that makes it go wrong, said by the workload.
const WORD: &str = "now go wrong";

/// A box where `misbehave` says that something is wrong with the box itself,
/// until a line of the workload's makes it go wrong.
fn with(how: &str) -> TestBox {
    judging(how, &["*"])
}

fn judging(how: &str, targets: &[&str]) -> TestBox {
    let config = json!({ "how": how, "word": WORD, "finding": "box" });
    let plugin = json!({ "config": config, "targets": targets });
    let house = Plan::usual().plugin("misbehave", plugin).raise();
    house.until_serving("digits");
    house.until_event(0, "its finding", |event| match event {
        Event::FindingRaised { detector, .. } if detector == "misbehave" => Some(()),
        _ => None,
    });
    house
}

/// Makes it go wrong and waits for the fault. Gives what was seen of it.
#[track_caller]
fn falls(house: &TestBox) -> (String, AfterFault) {
    let before = house.now();
    house.server("digits").breaks(Fault::ErrorLine { text: WORD.into() });
    let (_, seen) = house.until_event(before, "the fault", |event| match event {
        Event::PluginFaulted { plugin, why, then } if plugin == "misbehave" => {
            Some((why.clone(), then.clone()))
        }
        _ => None,
    });
    seen
}

/// It is back, its finding stood all the while, and a crash is healed as ever.
#[track_caller]
fn costs_the_box_nothing(house: &TestBox) {
    house.until_view("it to run again", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "misbehave")?;
        (found.state == PluginState::Running).then_some(())
    });
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", before);
    cleared_nothing(house);
    house.check();
}

#[track_caller]
fn cleared_nothing(house: &TestBox) {
    let cleared = house.events().into_iter().find(|record| {
        matches!(&record.event, Event::FindingCleared { detector, .. } if detector == "misbehave")
    });
    assert_eq!(cleared, None, "silence clears only what was judged");
}

#[test]
fn a_detector_that_traps_gets_a_fresh_instance_and_clears_nothing() {
    let house = with("trap");
    let (why, then) = falls(&house);
    assert!(why.contains("trap") || why.contains("panic") || why.contains("unreachable"), "{why}");
    assert!(matches!(then, AfterFault::Restarted { .. } | AfterFault::Backoff { .. }), "{then:?}");
    costs_the_box_nothing(&house);
}

#[test]
fn a_detector_that_loops_for_ever_is_stopped_at_its_deadline() {
    let house = with("loop");
    let (why, _) = falls(&house);
    assert!(why.contains("deadline"), "{why}");
    costs_the_box_nothing(&house);
}

#[test]
fn a_detector_that_eats_memory_is_stopped_at_its_limit() {
    let house = with("memory");
    let pid = house.view();
    let (_, _) = falls(&house);
    costs_the_box_nothing(&house);
    assert_eq!(house.view().birth, pid.birth, "the daemon is the one it was");
}

#[test]
fn a_detector_that_returns_a_million_findings_is_refused_its_report() {
    let house = with("flood");
    let (_, _) = falls(&house);
    costs_the_box_nothing(&house);
    let floods = house.events().into_iter().filter(|record| {
        matches!(&record.event, Event::FindingRaised { finding, .. } if finding.kind == "misbehave.flood")
    });
    assert_eq!(floods.count(), 0, "not one of them was taken");
}

#[test]
fn a_detector_that_speaks_of_a_target_it_is_not_bound_to_is_refused_its_report() {
    let house = judging("outlaw-target", &["box", "workload:digits"]);
    let (why, _) = falls(&house);
    assert!(why.contains("workload:nobodys"), "{why}");
    costs_the_box_nothing(&house);
}

#[test]
fn a_detector_that_judges_nothing_clears_nothing() {
    let house = with("silent");
    house.server("digits").breaks(Fault::ErrorLine { text: WORD.into() });
    let calls = |house: &TestBox| -> u64 {
        let view = house.view();
        view.plugins.iter().find(|plugin| plugin.name == "misbehave").map_or(0, |it| it.calls)
    };
    let before = calls(&house);
    house.until_view("ten more calls of it", |_| (calls(&house) > before + 10).then_some(()));
    cleared_nothing(&house);
    let standing = house.view().findings;
    assert!(standing.get("misbehave").is_some_and(|findings| !findings.is_empty()), "{standing:?}");
    house.check();
}

#[test]
fn a_detector_that_chatters_fills_no_log() {
    let house = with("chatter");
    house.server("digits").breaks(Fault::ErrorLine { text: WORD.into() });
    wait::stays(Duration::from_secs(3), "the log stays small", || match house.log_text().len() {
        len if len < 1 << 20 => Ok(()),
        len => Err(format!("{len} bytes")),
    });
    house.view();
}

#[test]
fn a_detector_that_keeps_falling_is_quarantined_and_its_targets_are_called_unprotected() {
    let config: Value = json!({ "how": "trap", "after": 1 });
    let house = Plan::bare()
        .server("digits")
        .plugin(
            "misbehave",
            json!({
                "config": config, "backoff_ms": 10, "quarantine": { "faults": 3, "window_s": 600 },
            }),
        )
        .raise();
    house.until_event(0, "its quarantine", |event| match event {
        Event::PluginFaulted { then: AfterFault::Quarantined, .. } => Some(()),
        _ => None,
    });
    let digits = TargetId::workload("digits");
    house.until_event(0, "the loss of protection", |event| match event {
        Event::ProtectionLost { target } if *target == digits => Some(()),
        _ => None,
    });
    let view = house.until_view("the quarantine to be shown", |view| {
        (view.plugins[0].state == PluginState::Quarantined).then(|| view.clone())
    });
    assert!(view.unprotected.contains(&digits));
    house.until_serving("digits");
    house.check();
}

#[test]
fn a_detector_that_refuses_its_configuration_says_why() {
    let house = Plan::usual().detector("misbehave", json!({ "how": "refuse" })).raise();
    house.until_view("its words", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "misbehave")?;
        found.detail.contains("told to refuse").then_some(())
    });
    let before = house.now();
    house.until_serving("digits");
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", before);
    house.check();
}
