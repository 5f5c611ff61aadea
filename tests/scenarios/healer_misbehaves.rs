//! A healer goes wrong. It costs the incident a moment, and the box nothing;
//! what it stops stays stopped.

use std::time::Duration;

use homeostat::model::action::Rule;
use homeostat::model::view::WorkloadState;
use homeostat::model::{Command, Event, Outcome};
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;
use serde_json::{Value, json};

/// `misheal` is asked first, and `ladder` behind it where there is one.
fn raise(config: Value, ladder: bool) -> TestBox {
    let grants = ["workload.restart", "workload.stop"];
    let mut plan = Plan::bare()
        .server("digits")
        .detector("liveness", json!({}))
        .plugin("misheal", json!({ "config": config, "grants": grants, "deadline_ms": 300 }));
    let mut healers = vec!["misheal"];
    if ladder {
        plan = plan.plugin("ladder", json!({ "config": Plan::ladder(4, 0.3), "grants": grants }));
        healers.push("ladder");
    }
    let house = plan
        .with(|settings| {
            settings.push("incident.route", json!({ "kind": "*", "healers": healers }));
        })
        .raise();
    house.until_watched("digits");
    house
}

#[test]
fn a_healer_that_traps_or_never_returns_is_passed_by_and_the_next_one_heals() {
    for how in ["trap", "loop", "memory", "flood"] {
        let house = raise(json!({ "how": how }), true);
        let before = house.now();
        house.server("digits").breaks(Fault::Crash);
        house.until_event(before, "its failure", |event| match event {
            Event::DecisionFailed { healer, .. } if healer == "misheal" => Some(()),
            _ => None,
        });
        house.until_healed("digits", before);
        house.check();
    }
}

#[test]
fn a_healer_that_fails_is_asked_again_before_its_incident_is_called_stuck() {
    let house = raise(json!({ "how": "trap" }), false);
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let (stuck, why) = house.until_event(before, "the incident to be stuck", |event| match event {
        Event::IncidentStuck { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("misheal"), "{why}");
    let records = house.check();
    let failed = records.iter().filter(|record| {
        record.seq < stuck && matches!(record.event, Event::DecisionFailed { .. })
    });
    assert_eq!(failed.count(), 3, "a fault may be a moment's");
}

#[test]
fn an_action_that_no_catalogue_has_is_refused() {
    let house = raise(json!({ "how": "outlaw-action" }), false);
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_event(before, "the refusal", |event| match event {
        Event::Refused { refusal, .. } if refusal.rule == Rule::Catalogue => Some(()),
        _ => None,
    });
    assert_eq!(house.server("digits").starts().len(), 1);
    house.check();
}

#[test]
fn what_a_healer_stops_stays_stopped_until_a_person_starts_it() {
    let house = raise(json!({ "how": "insist", "action": "workload.stop" }), false);
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    house.until_event(before, "the stop", |event| match event {
        Event::AttemptEnded { incident: Some(_), outcome: Outcome::Done { .. }, .. } => Some(()),
        _ => None,
    });
    house.until_view("digits to be stopped", |view| {
        let digits = &view.workloads[0];
        (digits.state == WorkloadState::Stopped && !digits.desired_running).then_some(())
    });
    wait::stays(Duration::from_secs(2), "nobody starts it", || {
        match house.server("digits").starts().len() {
            1 => Ok(()),
            starts => Err(format!("{starts} starts")),
        }
    });
    house.command(&Command::WorkloadStart { name: "digits".into() });
    house.until_serving("digits");
    house.check();
}
