//! Which trouble is one incident, and what accounts for what.

use super::*;

#[test]
fn two_findings_of_one_workload_are_one_incident_and_two_of_the_box_are_two() {
    let mut world = World::new();
    world.raise("process.gone", &a()).raise("probe.failing", &a());
    assert_eq!(world.incidents.open().count(), 1);
    world
        .raise("threshold.disk", &TargetId::the_box())
        .raise("threshold.memory", &TargetId::the_box());
    assert_eq!(world.incidents.open().count(), 3);
}

#[test]
fn a_failing_external_explains_the_probe_that_needs_it_but_not_a_crash() {
    let mut world = World::new();
    let plc = TargetId::new(TargetKind::External, "plc");
    let b = TargetId::workload("b");
    world.raise("external.failing", &plc);
    world.raise("probe.failing", &b);
    assert_eq!(world.incidents.open().count(), 1, "joined to the one it is explained by");
    world.raise("process.gone", &b);
    assert_eq!(world.incidents.open().count(), 2);
}

#[test]
fn an_exhausted_root_falls_through_to_what_it_had_explained() {
    let mut world = World::new();
    world.raise("host.disk", &TargetId::the_box()).raise("probe.failing", &a());
    assert_eq!(world.incidents.open().count(), 1);
    let incident = world.asked[0].0;
    world.write(Event::IncidentStuck { incident, why: "gave up".into() });
    world.settle();
    assert_eq!(world.incidents.open().count(), 2);
    assert_eq!(world.asked.len(), 2, "the healer is asked about what is left");
}

#[test]
fn an_outage_of_an_hour_upstream_burns_no_ladder_and_restarts_nothing() {
    let mut world = World::new();
    let plc = TargetId::new(TargetKind::External, "plc");
    let b = TargetId::workload("b");
    world.raise("external.failing", &plc).raise("probe.failing", &b);
    world.decide(Decision::GiveUp { why: "not ours to repair".into() });
    let incident = world.asked[0].0;
    world.write(Event::IncidentStuck { incident, why: "not ours to repair".into() });
    for _ in 0..3_600 {
        world.after(1_000);
    }
    assert_eq!(world.incidents.open().count(), 1, "what needs it opens none of its own");
    assert!(world.incidents.open().all(|it| it.attempts.is_empty()), "nothing was tried");
    // Asked about the outage alone, and seldom: nothing it could answer helps.
    assert!(world.asked.iter().all(|(asked, _)| *asked == incident), "{:?}", world.asked);

    // Upstream comes back before what needs it, as it must.
    world.clear("external.failing", &plc).after(1_000);
    assert_eq!(world.incidents.open().count(), 1, "it has the hold window to follow");
    world.clear("probe.failing", &b).after(10_000);
    assert_eq!((world.phase(), world.incidents.open().count()), ("closed", 0));
}
