//! Better for a moment is not healed.

use homeostat::model::{AttemptOutcome, Event};
use homeostat_tests::Plan;
use model_server::fault::Fault;

#[test]
fn a_relapse_inside_the_hold_window_counts_as_a_failure_of_the_same_incident() {
    let house = Plan::usual()
        .with(|settings| {
            settings.set("incident.hold_ms", 5_000);
        })
        .raise();
    house.until_serving("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    let (recovered, incident) = house.until_event(before, "recovery", |event| match event {
        Event::IncidentRecovered { incident, .. } => Some(*incident),
        _ => None,
    });
    house.server("digits").breaks(Fault::Crash);
    let (relapsed, ()) = house.until_event(recovered, "the relapse", |event| {
        matches!(event, Event::IncidentRelapsed { incident: found, .. } if *found == incident)
            .then_some(())
    });

    let outcomes = house.until_view("the second attempt", |view| {
        let found = view.incidents.iter().find(|found| found.id == incident)?;
        let tried: Vec<_> = found.attempts.iter().filter(|attempt| attempt.id.is_some()).collect();
        (tried.len() >= 2).then(|| tried.iter().map(|tried| tried.outcome).collect::<Vec<_>>())
    });
    assert_eq!(outcomes[0], AttemptOutcome::Relapsed);

    house.until_event(relapsed, "proof after the second repair", |event| {
        matches!(event, Event::IncidentProven { incident: found, .. } if *found == incident)
            .then_some(())
    });
    let records = house.check();
    let opened = records.iter().filter(|record| {
        record.seq > before && matches!(record.event, Event::IncidentOpened { .. })
    });
    assert_eq!(opened.count(), 1, "one illness, one incident");
}
