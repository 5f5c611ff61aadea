//! What the journal gives back, whole or thinned.

use super::*;

#[test]
fn questions_and_waits_may_go_from_the_journal_and_the_rest_means_the_same() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    for _ in 0..100 {
        world.decide(Decision::Wait { ms: 1_000, why: "not now".into() }).after(1_000);
    }
    world.act(done());
    world.proofs(2);
    let (last, mut fold) = (world.log.len() as u64, Incidents::default());
    let kept = world.log.iter().filter(|record| match &record.event {
        Event::FindingRaised { .. } => true,
        event => event.class(record.seq) != Class::Telemetry,
    });
    let kept: Vec<_> = kept.inspect(|record| fold.apply(record)).collect();
    assert!(kept.len() < 10 && last > 200, "{} of {last}", kept.len());
    assert_eq!(fold, world.incidents);
}

#[test]
fn a_restarted_daemon_asks_again_and_knows_what_it_does_not_know() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    world.write(Event::DaemonStarted {
        birth: 8,
        version: String::new(),
        mode: Mode::Enforce,
        configuration: String::new(),
    });
    world.settle();
    assert_eq!((world.phase(), world.asked.len()), ("deciding", 2));
    let id = world.permit();
    world.write(Event::DaemonStarted {
        birth: 9,
        version: String::new(),
        mode: Mode::Enforce,
        configuration: String::new(),
    });
    assert_eq!(world.outcome(id), AttemptOutcome::Unknown);
    assert_eq!(world.incidents.unknown_attempts().len(), 1);
    let incident = Some(world.asked[0].0);
    world.write(Event::EffectObserved { incident, attempt: id, outcome: done() });
    assert!(world.incidents.unknown_attempts().is_empty());
    assert_eq!(world.outcome(id), AttemptOutcome::Proving);
}

#[test]
fn replaying_the_journal_gives_the_same_state() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    world.act(Outcome::Failed { detail: "no such program".into() });
    world.act(done());
    world.clear("process.gone", &a()).proofs(3).after(10_000);
    let mut again = Incidents::default();
    world.log.iter().for_each(|record| again.apply(record));
    assert_eq!(again, world.incidents);
}
