//! An operator's word is desired state, not a fault.

use std::time::Duration;

use homeostat::model::view::WorkloadState;
use homeostat::model::{Command, Event, Origin};
use homeostat_tests::{Plan, TestBox, process, wait};
use model_server::fault::Fault;

fn stop(house: &TestBox) -> u32 {
    let pid = house.until_serving("digits");
    house.command(&Command::WorkloadStop { name: "digits".into() });
    house.until_view("digits to be stopped", |view| {
        (view.workloads[0].state == WorkloadState::Stopped).then_some(())
    });
    assert!(!process::alive(pid));
    pid
}

fn nobody_heals(house: &TestBox, before: u64) {
    wait::stays(Duration::from_secs(3), "a wanted stop is no illness", || {
        let healed = house.events().into_iter().find(|record| {
            record.seq > before
                && matches!(
                    record.event,
                    Event::IncidentOpened { .. }
                        | Event::Permitted { origin: Origin::Healer { .. } | Origin::Desired, .. }
                )
        });
        healed.map_or(Ok(()), |record| Err(format!("{record:?}")))
    });
    assert_eq!(house.server("digits").starts().len(), 1);
}

#[test]
fn a_workload_that_an_operator_stopped_is_not_healed() {
    let house = Plan::usual().raise();
    house.until_serving("digits");
    let before = house.now();
    stop(&house);
    nobody_heals(&house, before);

    house.command(&Command::WorkloadStart { name: "digits".into() });
    house.until_serving("digits");
    assert_eq!(house.server("digits").starts().len(), 2);
    house.check();
}

#[test]
fn the_operators_word_outlives_the_daemon() {
    let mut house = Plan::usual().raise();
    stop(&house);
    house.kill_daemon();
    house.start(&[]);
    let before = house.now();
    let desired = house.workload("digits").desired_running;
    assert!(!desired, "the stop is remembered");
    nobody_heals(&house, before);
    house.check();
}

#[test]
fn while_paused_nothing_is_healed_and_after_resume_it_is() {
    let house = Plan::usual().raise();
    house.until_serving("digits");
    house.command(&Command::Pause { for_ms: None });
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_event(before, "the incident", |event| {
        matches!(event, Event::IncidentOpened { .. }).then_some(())
    });
    wait::stays(Duration::from_secs(2), "a paused box touches nothing", || {
        match house.server("digits").starts().len() {
            1 => Ok(()),
            starts => Err(format!("{starts} starts")),
        }
    });
    house.command(&Command::Resume {});
    house.until_healed("digits", before);
    house.check();
}
