//! What the guard holds back, on a box that would act: typed, written down, and
//! told by `explain`.

use std::time::Duration;

use homeostat::model::action::Rule;
use homeostat::model::{Command, Event, IncidentId, Origin};
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;
use serde_json::json;

/// Waits until `rule` holds something back, and sees that it is told.
#[track_caller]
fn refused(house: &TestBox, before: u64, rule: Rule) -> IncidentId {
    let incident = house.until_held_back(before, rule);
    let told = house.cli(&["explain", &incident.to_string()]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains(&format!("{rule}: ")), "{told}");
    incident
}

#[track_caller]
fn untouched(house: &TestBox, starts: usize) {
    wait::stays(Duration::from_secs(2), "nothing is touched", || {
        match house.server("digits").starts().len() {
            found if found == starts => Ok(()),
            found => Err(format!("{found} starts")),
        }
    });
}

fn wants_a_word() -> TestBox {
    let house = Plan::usual()
        .with(|settings| {
            settings.set("guard.approval", json!(["workload.restart"]));
        })
        .raise();
    house.until_watched("digits");
    house
}

#[test]
fn a_restart_that_wants_a_persons_word_is_done_when_it_has_it() {
    let house = wants_a_word();
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let incident = refused(&house, before, Rule::Approval);
    untouched(&house, 1);

    let said = house.cli(&["approve", &incident.to_string()]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(house.until_healed("digits", before), incident);
    assert_eq!(house.server("digits").starts().len(), 2);
    let records = house.check();
    let approved = records.iter().any(|record| {
        matches!(&record.event, Event::Permitted { origin: Origin::Approved { incident: of, .. }, .. } if *of == incident)
    });
    assert!(approved, "the permit names the person");
}

#[test]
fn what_waits_for_a_persons_word_outlives_the_daemon() {
    let mut house = wants_a_word();
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let incident = refused(&house, before, Rule::Approval);
    house.kill_daemon();
    house.start(&[]);
    house.command(&Command::Approve { incident });
    house.until_healed("digits", before);
    house.check();
}

#[test]
fn an_action_that_a_person_denied_is_not_done_and_not_asked_for_again() {
    let house = wants_a_word();
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let incident = refused(&house, before, Rule::Approval);
    house.command(&Command::Deny { incident });
    untouched(&house, 1);
    let again = house.cli(&["approve", &incident.to_string()]);
    assert!(!again.status.success(), "nothing waits for a word any more");

    // The person does it by other means.
    house.command(&Command::WorkloadStart { name: "digits".into() });
    house.until_serving("digits");
    house.check();
}

#[test]
fn what_is_suggested_can_be_approved() {
    let mut house = Plan::usual().raise();
    house.until_watched("digits");
    house.stop_daemon();
    house.configure(|settings| {
        settings.set("box.mode", "suggest");
    });
    house.start(&[]);
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let incident = refused(&house, before, Rule::Mode);
    house.command(&Command::Approve { incident });
    house.until_serving("digits");
    assert_eq!(house.server("digits").starts().len(), 2);
    house.check();
}

#[test]
fn outside_its_maintenance_window_nothing_disrupting_is_done() {
    let house = Plan::usual()
        .with(|settings| {
            // The day after tomorrow, at the earliest.
            let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
            let day = days[(weekday() + 2) % 7];
            settings.push(
                "maintenance",
                json!({ "name": "far", "days": [day], "from": "00:00", "to": "24:00" }),
            );
        })
        .raise();
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    refused(&house, before, Rule::Maintenance);
    untouched(&house, 1);
    house.check();
}

/// Of today in UTC, Monday is 0.
fn weekday() -> usize {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let days = now.expect("it is after 1970").as_secs() / 86_400;
    // 1970-01-01 was a Thursday.
    usize::try_from((days + 3) % 7).expect("less than seven")
}

#[test]
fn a_storm_of_incidents_stops_the_healers_until_a_person_has_looked() {
    let house = Plan::usual()
        .server("second")
        .server("third")
        .with(|settings| {
            settings.set("guard.storm_max", 2).set("guard.storm_window_s", 3600);
        })
        .raise();
    for name in ["digits", "second", "third"] {
        house.until_watched(name);
    }
    let before = house.now();
    for name in ["digits", "second", "third"] {
        house.server(name).breaks(Fault::Crash);
    }
    refused(&house, before, Rule::Storm);
    let condition = house.until_view("the storm to be said", |view| {
        view.conditions.iter().find(|it| it.name == "guard.storm").cloned()
    });
    assert!(condition.detail.contains("resume"), "{}", condition.detail);

    house.command(&Command::Resume {});
    let open = house.view().incidents;
    for incident in open.iter().filter(|incident| incident.phase != "closed") {
        // Those that wait for the window need not.
        let _ = house.client.command(&Command::IncidentRetry { incident: incident.id });
    }
    for name in ["digits", "second", "third"] {
        house.until_serving(name);
    }
    house.check();
}

#[test]
fn an_incident_that_a_person_closed_opens_no_other_while_it_stands() {
    let house = wants_a_word();
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    let incident = refused(&house, before, Rule::Approval);
    let said = house.cli(&["incident", "close", &incident.to_string()]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let closed = house.now();
    wait::stays(Duration::from_secs(2), "the person knows", || {
        let opened = house.events().into_iter().find(|record| {
            record.seq > closed && matches!(record.event, Event::IncidentOpened { .. })
        });
        opened.map_or(Ok(()), |record| Err(format!("{record:?}")))
    });
    house.check();
}

#[test]
fn while_the_line_says_not_now_nothing_disrupting_is_done() {
    let plan = Plan::usual();
    let idle = plan.path().join("idle");
    let house = plan
        .with(|settings| {
            settings.push(
                "interlock",
                json!({ "name": "line", "kind": "file", "path": idle, "period_ms": 100 }),
            );
        })
        .raise();
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    refused(&house, before, Rule::Interlock);
    untouched(&house, 1);

    std::fs::write(&idle, "").expect("the story's folder can be written");
    house.until_healed("digits", before);
    assert_eq!(house.server("digits").starts().len(), 2);
    house.check();
}

#[test]
fn two_replicas_that_hang_at_once_are_repaired_one_after_the_other() {
    let replica = |plan: Plan, name: &str| {
        plan.with(|settings| {
            settings.named("workload", name).insert("replicas".into(), "cameras".into());
        })
    };
    let plan = replica(replica(Plan::usual().server("second"), "digits"), "second");
    let house = plan.raise();
    house.until_watched("digits");
    house.until_watched("second");
    let before = house.now();
    for name in ["digits", "second"] {
        house.server(name).breaks(Fault::Hang);
    }
    let first = house.until_healed("digits", before);
    let second = house.until_healed("second", before);
    let records = house.check();
    let span = |incident: IncidentId| {
        let seqs = records.iter().filter_map(|record| match &record.event {
            Event::Permitted { incident: Some(of), .. } if *of == incident => Some(record.seq),
            Event::IncidentRecovered { incident: of, .. } if *of == incident => Some(record.seq),
            _ => None,
        });
        let seqs: Vec<_> = seqs.collect();
        (seqs[0], seqs[seqs.len() - 1])
    };
    let (first, second) = (span(first), span(second));
    assert!(first.1 < second.0 || second.1 < first.0, "from permit to proof: {first:?} {second:?}");
}
