//! A server that ends at once after every start: try again, more and more
//! slowly, then stop loudly.

use std::time::Duration;

use homeostat::model::{Command, Event, Record};
use homeostat_tests::{Plan, journal, wait};
use model_server::fault::Fault;

#[test]
fn a_server_that_never_comes_up_is_retried_with_growing_pauses_and_then_called_stuck() {
    let house = Plan::usual().raise();
    house.until_serving("digits");
    let before = house.now();
    house.server("digits").fails_to_start();
    house.server("digits").breaks(Fault::Crash);
    let (stuck, why) = house.until_event(before, "the healer to give up", |event| match event {
        Event::IncidentStuck { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert!(!why.is_empty(), "stuck says why");

    let records = house.check();
    let pauses = pauses_ms(&records, before);
    assert!(pauses.len() >= 2, "several tries before giving up: {pauses:?}");
    for (pause, least) in pauses.iter().zip([300, 600, 1_200]) {
        assert!(*pause >= least, "the pauses double: {pauses:?}");
    }

    let tried = house.server("digits").starts().len();
    wait::stays(Duration::from_secs(3), "a stuck incident rests", || {
        let starts = house.server("digits").starts().len();
        if starts == tried { Ok(()) } else { Err(format!("{starts} starts, there were {tried}")) }
    });
    let phase = house.view().incidents.first().map(|incident| incident.phase.clone());
    assert_eq!(phase.as_deref(), Some("stuck"));

    // A person repairs what no restart could, and says so.
    house.server("digits").starts_well();
    house.command(&Command::WorkloadStart { name: "digits".into() });
    house.until_serving("digits");
    house.until_event(stuck, "the incident to be closed", |event| {
        matches!(event, Event::IncidentClosed { .. }).then_some(())
    });
    house.check();
}

/// From each permit to the next, in milliseconds.
fn pauses_ms(records: &[Record], after: u64) -> Vec<u64> {
    let permits: Vec<_> = records
        .iter()
        .filter(|record| record.seq > after && journal::permit(record).is_some())
        .map(|record| record.at.age_ms)
        .collect();
    permits.windows(2).map(|pair| pair[1] - pair[0]).collect()
}
