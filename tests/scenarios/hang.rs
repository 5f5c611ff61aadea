//! A server hangs while its health endpoint says 200: what most watchdogs miss.

use homeostat::model::{Event, ExitStatus};
use homeostat_tests::Plan;
use model_server::fault::Fault;

#[test]
fn a_server_that_hangs_behind_a_200_is_restarted() {
    let house = Plan::usual().raise();
    let first = house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    assert_eq!(house.server("digits").health(), Some(200), "its health endpoint lies");
    assert!(house.server("digits").answers().is_err());

    house.until_healed("digits", before);
    assert_ne!(house.until_serving("digits"), first);
    house.check();
}

#[test]
fn a_hung_server_that_ignores_sigterm_is_killed_after_its_deadline() {
    let house = Plan::usual().raise();
    let first = house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::HangIgnoringSigterm);

    const SIGKILL: i32 = 9;
    house.until_event(before, "its end by SIGKILL, on our order", |event| match event {
        Event::WorkloadExited {
            status: ExitStatus::Signal { signal: SIGKILL },
            wanted: true,
            ..
        } => Some(()),
        _ => None,
    });
    house.until_healed("digits", before);
    assert_ne!(house.until_serving("digits"), first);
    house.check();
}

#[test]
fn a_server_that_hangs_while_it_is_already_being_restarted_is_restarted_once() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    house.until_event(before, "the permit", |event| {
        matches!(event, Event::Permitted { .. }).then_some(())
    });
    // Findings go on coming in while it is stopped: they open nothing new.
    house.until_healed("digits", before);
    house.until_quiet();
    house.check();
    assert_eq!(house.server("digits").starts().len(), 2);
}
