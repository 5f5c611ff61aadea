//! What counts as proof, and what follows one that fails.

use super::*;

/// The last incident's healer acts, on other terms than a restart's.
fn acts(world: &mut World, terms: Terms) -> AttemptId {
    let (incident, healer) = world.asked.last().cloned().expect("someone was asked");
    let decision = Decision::Act(restart(&a()));
    world.write(Event::Decided { incident, healer: healer.clone(), decision });
    let origin = Origin::Healer { plugin: healer, incident };
    let id = world.permitted(incident, origin, restart(&a()), terms);
    world.write(Event::AttemptEnded { incident: Some(incident), attempt: id, outcome: done() });
    world.settle();
    id
}

#[test]
fn good_proofs_are_not_enough_while_the_finding_stands() {
    let mut world = World::new();
    world.raise("probe.failing", &a());
    let id = world.act(done());
    world.proofs(3);
    assert_eq!(world.phase(), "proving");
    world.after(5_001);
    assert_eq!(world.outcome(id), AttemptOutcome::Failed);
    assert_eq!(world.phase(), "deciding", "a failed proof is decided upon again");
}

#[test]
fn a_proof_releases_what_a_quarantined_detector_can_no_longer_take_back() {
    let mut world = World::new();
    world.raise("probe.failing", &a());
    world.act(done());
    world.blind = true;
    world.settle();
    assert_eq!(world.phase(), "proving", "being blind is no proof");
    world.proofs(3);
    assert_eq!(world.phase(), "recovered");
    world.after(10_000);
    assert_eq!((world.phase(), world.incidents.open().count()), ("closed", 0));
}

#[test]
fn a_bad_proof_starts_the_row_over() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    world.act(done());
    world.clear("process.gone", &a());
    world.proofs(2);
    let incident = world.asked[0].0;
    world.write(Event::ProofSeen { incident, good: false, detail: String::new() });
    world.proofs(2);
    assert_eq!(world.phase(), "proving");
    world.proofs(1);
    assert_eq!(world.phase(), "recovered");
}

#[test]
fn a_process_that_ends_again_fails_its_proof_at_once() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let id = world.act(done());
    world.exits.insert(id, ExitStatus::Code { code: 3 });
    world.settle();
    assert_eq!(world.outcome(id), AttemptOutcome::Failed);
    assert_eq!(world.phase(), "deciding");
}

#[test]
fn ill_again_inside_the_hold_window_is_a_relapse_of_the_same_incident() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let id = world.act(done());
    world.clear("process.gone", &a()).proofs(3).after(5_000);
    world.raise("probe.failing", &a());
    assert_eq!(world.outcome(id), AttemptOutcome::Relapsed);
    assert_eq!(world.phase(), "deciding");
    assert_eq!(world.incidents.open().count(), 1);
}

#[test]
fn what_is_proven_by_its_finding_alone_waits_for_it_as_long_as_it_takes_to_settle() {
    let terms = Terms { disruption: 0, proof: Proof::Cleared, settle_ms: 20_000, ..Terms::RESTART };
    let mut world = World::new();
    world.raise("host.disk-full", &a());
    let id = acts(&mut world, terms);
    world.now += 20_000;
    world.settle();
    assert_eq!(world.outcome(id), AttemptOutcome::Proving);
    world.clear("host.disk-full", &a());
    assert_eq!((world.phase(), world.outcome(id)), ("recovered", AttemptOutcome::Recovered));

    let mut world = World::new();
    world.raise("host.disk-full", &a());
    let id = acts(&mut world, terms);
    world.now += 20_001;
    world.settle();
    assert_eq!((world.phase(), world.outcome(id)), ("deciding", AttemptOutcome::Failed));
}

#[test]
fn what_did_not_help_is_taken_back_before_a_healer_is_asked_again() {
    let mut world = World::new();
    world.raise("probe.slow", &a());
    let terms = Terms { proof: Proof::Cleared, settle_ms: 1_000, undo: true, ..Terms::RESTART };
    let id = acts(&mut world, terms);
    let asked = world.asked.len();
    world.now += 1_001;
    world.settle();
    assert_eq!((world.phase(), world.asked.len()), ("acting", asked));
    let incident = world.incidents.open().next().expect("it is open").clone();
    let undo = incident.attempts.last().expect("two attempts");
    assert_eq!((undo.action.as_str(), undo.by.as_str()), ("workload.restart.undo", "first"));
    assert_eq!(world.outcome(id), AttemptOutcome::Failed);
    world.write(Event::AttemptEnded {
        incident: Some(incident.id),
        attempt: undo.id.expect("it was permitted"),
        outcome: done(),
    });
    world.settle();
    assert_eq!((world.phase(), world.asked.len()), ("deciding", asked + 1));
    let open = world.incidents.open().next().expect("it is open");
    assert_eq!(open.undo, None, "it is taken back once");
}

#[test]
fn an_undo_that_failed_or_lapsed_is_due_still_and_after_three_failures_a_persons() {
    let mut world = World::new();
    world.raise("probe.slow", &a());
    let terms = Terms { proof: Proof::Cleared, settle_ms: 0, undo: true, ..Terms::RESTART };
    // It broke off half-way: what it had done by then is to be taken back.
    let id = acts(&mut world, terms);
    let incident = world.asked[0].0;
    let ends = |world: &mut World, outcome: Outcome| {
        let open = world.incidents.get(incident).expect("open");
        let attempt = open.attempts.last().and_then(|it| it.id).expect("it was permitted");
        world.write(Event::AttemptEnded { incident: Some(incident), attempt, outcome });
        world.settle();
    };
    world.now += 1;
    world.settle();
    assert_eq!((world.outcome(id), world.phase()), (AttemptOutcome::Failed, "acting"));
    ends(&mut world, Outcome::Lapsed { detail: "the line runs".into() });
    assert_eq!(world.phase(), "waiting");
    while world.phase() == "waiting" {
        world.after(500);
    }
    let asked = world.asked.len();
    for _ in 0..3 {
        assert_eq!((world.phase(), world.asked.len()), ("acting", asked));
        ends(&mut world, Outcome::Failed { detail: "exit code 1".into() });
    }
    assert_eq!((world.phase(), world.asked.len()), ("deciding", asked + 1));
}

/// An action failed its proof, and nothing was done about that yet.
fn with_an_undo_due() -> (World, IncidentId, Undo) {
    let mut world = World::new();
    world.raise("probe.slow", &a());
    let terms = Terms { proof: Proof::Cleared, settle_ms: 0, undo: true, ..Terms::RESTART };
    acts(&mut world, terms);
    let incident = world.asked[0].0;
    world.now += 1;
    let Some(Step::Write(failed)) = world.next() else { panic!("its proof has failed") };
    world.write(failed);
    assert_eq!(world.next(), Some(Step::Undo { incident }));
    let undo = world.incidents.get(incident).and_then(|it| it.undo.clone()).expect("it is due");
    (world, incident, undo)
}

#[test]
fn an_undo_that_has_to_wait_lets_a_healer_be_asked_after_ten_minutes() {
    let (mut world, incident, undo) = with_an_undo_due();
    let asked = world.asked.len();
    world.stands = Some(Rule::Interlock);
    let detail = "the line runs".into();
    world.write(Event::Refused {
        incident: Some(incident),
        origin: undo.origin,
        proposal: undo.proposal,
        refusal: Refusal { rule: Rule::Interlock, detail, retry_age_ms: Some(world.now) },
    });
    assert_eq!(world.after(HELD_MS_MAX - 1).asked.len(), asked);
    assert_eq!(world.after(1).asked.len(), asked + 1, "a person may be told");
    // What it does meanwhile, and what comes of that, is another matter.
    let lapsed = world.act(Outcome::Lapsed { detail: "the line runs".into() });
    assert_eq!(world.outcome(lapsed), AttemptOutcome::Refused);
    world.stands = None;
    world.now += 1_000;
    assert_eq!(world.next(), Some(Step::Undo { incident }), "and first it is taken back");
}

#[test]
fn an_undo_that_will_never_pass_keeps_nobody_from_being_asked() {
    let (mut world, incident, undo) = with_an_undo_due();
    let asked = world.asked.len();
    let refusal =
        |retry_age_ms| Refusal { rule: Rule::Catalogue, detail: String::new(), retry_age_ms };
    for (retry_age_ms, next) in [(Some(world.now), Some(Step::Undo { incident })), (None, None)] {
        world.write(Event::Refused {
            incident: Some(incident),
            origin: undo.origin.clone(),
            proposal: undo.proposal.clone(),
            refusal: refusal(retry_age_ms),
        });
        assert_eq!(world.next(), next);
    }
    world.now += 600_000;
    world.settle();
    assert_eq!(world.asked.len(), asked + 1);
}
