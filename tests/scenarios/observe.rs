//! Modes below `enforce` see everything and touch nothing.

use std::time::Duration;

use homeostat::model::action::Rule;
use homeostat::model::{Event, Origin, TargetId};
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;

/// A server that was started in `enforce`, under a daemon that now is in `mode`.
fn running_under(mode: &str) -> TestBox {
    let mut house = Plan::usual().raise();
    house.until_serving("digits");
    house.stop_daemon();
    house.configure(|settings| {
        settings.set("box.mode", mode);
    });
    house.start(&[]);
    house.until_serving("digits");
    house
}

fn breaks_and_stays_broken(house: &TestBox) -> u64 {
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let root = TargetId::workload("digits");
    house.until_event(before, "the incident", |event| {
        matches!(event, Event::IncidentOpened { root: found, .. } if *found == root).then_some(())
    });
    wait::stays(Duration::from_secs(3), "nothing is touched", || {
        match house.server("digits").starts().len() {
            1 => Ok(()),
            starts => Err(format!("{starts} starts")),
        }
    });
    let healed = house.events().into_iter().find(|record| {
        record.seq > before
            && matches!(record.event, Event::Permitted { origin: Origin::Healer { .. }, .. })
    });
    assert_eq!(healed, None);
    before
}

#[test]
fn observe_mode_sees_the_crash_asks_nobody_and_touches_nothing() {
    let house = running_under("observe");
    let before = breaks_and_stays_broken(&house);
    let asked = house
        .events()
        .into_iter()
        .find(|record| record.seq > before && matches!(record.event, Event::HealerAsked { .. }));
    assert_eq!(asked, None);
    house.check();
}

#[test]
fn suggest_mode_shows_what_would_be_done_and_touches_nothing() {
    let house = running_under("suggest");
    let before = breaks_and_stays_broken(&house);
    house.until_event(before, "the proposal, refused by the mode", |event| match event {
        Event::Refused { refusal, .. } if refusal.rule == Rule::Mode => Some(()),
        _ => None,
    });
    house.check();
}
