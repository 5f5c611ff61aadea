//! Asking the healers, and what the guard and a person say to it.

use super::*;

#[test]
fn a_wait_ends_by_the_clock_and_the_healer_is_asked_again() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    world.decide(Decision::Wait { ms: 500, why: "backoff".into() });
    world.after(499);
    assert_eq!((world.phase(), world.asked.len()), ("waiting", 1));
    world.after(1);
    assert_eq!((world.phase(), world.asked.len()), ("deciding", 2));
}

#[test]
fn who_declines_passes_on_and_nobody_left_is_stuck_loudly() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    world.decide(Decision::Decline { why: "not mine".into() });
    assert_eq!(world.asked.last().unwrap().1, "second");
    world.decide(Decision::Decline { why: "nor mine".into() });
    assert_eq!(world.phase(), "stuck");
}

#[test]
fn a_healer_that_is_gone_is_passed_by_and_one_that_is_silent_is_asked_again() {
    let mut world = World::new();
    world.gone.insert("first".into());
    world.raise("process.gone", &a());
    world.after(1_000);
    assert_eq!(world.asked.last().unwrap().1, "second");
    for pause_ms in [1_000, 2_000, 4_000] {
        world.after(1_001);
        assert_eq!(world.phase(), "waiting", "no answer within the second it has");
        world.after(pause_ms);
    }
    assert_eq!((world.phase(), world.asked.len()), ("stuck", 3), "three times is enough");
}

#[test]
fn a_healer_that_failed_once_is_asked_again_behind_those_that_did_not() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let fail = |world: &mut World| {
        let (incident, healer) = world.asked.last().cloned().unwrap();
        let why = "trap: unreachable".into();
        world.write(Event::DecisionFailed { incident, healer, why, for_good: false });
        world.after(4_000);
    };
    fail(&mut world);
    assert_eq!(world.asked.last().unwrap().1, "second");
    world.decide(Decision::Decline { why: "not mine".into() });
    assert_eq!(world.asked.last().unwrap().1, "first", "it may have been a moment's trouble");
    world.act(done());
    assert_eq!(world.phase(), "proving");
}

#[test]
fn stuck_is_tried_again_slowly_only_when_that_disrupts_nothing() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let incident = world.asked[0].0;
    world.write(Event::IncidentStuck { incident, why: "gave up".into() });
    world.after(60_000);
    assert_eq!(world.phase(), "stuck", "it runs, so a retry would disrupt it");
    world.down.insert(a());
    world.settle();
    assert_eq!(world.phase(), "deciding");
}

#[test]
fn observe_asks_nobody() {
    let mut world = World::new();
    world.mode = Mode::Observe;
    world.raise("process.gone", &a()).after(100_000);
    assert_eq!((world.phase(), world.asked.len()), ("open", 0));
}

#[test]
fn a_refusal_waits_until_it_could_pass_and_is_not_repeated_in_the_attempts() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    for _ in 0..3 {
        let (incident, healer) = world.asked.last().cloned().unwrap();
        let retry_age_ms = Some(world.now + 700);
        world.write(Event::Refused {
            incident: Some(incident),
            origin: Origin::Healer { plugin: healer, incident },
            proposal: restart(&a()),
            refusal: Refusal { rule: Rule::Cooldown, detail: "too soon".into(), retry_age_ms },
        });
        assert_eq!(world.phase(), "waiting");
        world.after(700);
        assert_eq!(world.phase(), "deciding");
    }
    assert_eq!(world.incidents.open().next().unwrap().attempts.len(), 1);
}

#[test]
fn what_the_guard_goes_on_to_refuse_is_not_asked_for_again_until_it_would_pass() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let refuse = |world: &mut World| {
        let (incident, plugin) = world.asked.last().cloned().unwrap();
        let retry_age_ms = Some(world.now + 1_000);
        let detail = "the line runs".into();
        world.write(Event::Refused {
            incident: Some(incident),
            origin: Origin::Healer { plugin, incident },
            proposal: restart(&a()),
            refusal: Refusal { rule: Rule::Interlock, detail, retry_age_ms },
        });
    };
    refuse(&mut world);
    world.stands = Some(Rule::Interlock);
    let written = world.log.len();
    for _ in 0..500 {
        world.after(1_000);
    }
    assert_eq!((world.log.len(), world.phase()), (written, "waiting"));

    world.stands = Some(Rule::Cooldown);
    world.settle();
    assert_eq!((world.asked.len(), world.phase()), (2, "deciding"), "it is another matter now");

    // For ever is too long: the healer may know another way.
    refuse(&mut world);
    world.stands = Some(Rule::Interlock);
    world.after(HELD_MS_MAX + 999);
    assert_eq!(world.asked.len(), 2);
    world.after(1);
    assert_eq!(world.asked.len(), 3);
}

#[test]
fn a_persons_no_takes_the_action_out_and_the_healer_goes_on() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let (incident, healer) = world.asked[0].clone();
    let refusal = Refusal {
        rule: Rule::Approval,
        detail: "wants a person's word".into(),
        retry_age_ms: Some(world.now + 60_000),
    };
    let origin = Origin::Healer { plugin: healer, incident };
    let (incident_id, proposal) = (Some(incident), restart(&a()));
    world.write(Event::Refused { incident: incident_id, origin, proposal, refusal });
    world.settle();
    let open = world.incidents.get(incident).unwrap();
    assert_eq!(open.pending.as_ref().unwrap().proposal.action, "workload.restart");
    assert_eq!((world.phase(), world.asked.len()), ("waiting", 1));

    world.write(Event::Denied { incident, by: Origin::Operator { uid: 0 } });
    world.settle();
    let open = world.incidents.get(incident).unwrap();
    assert!(open.pending.is_none() && open.denied.contains("workload.restart"));
    assert_eq!(open.attempts[0].detail, "approval: a person said no");
    assert_eq!((world.phase(), world.asked.len()), ("deciding", 2));
}

#[test]
fn trouble_of_a_new_kind_is_news_to_who_waits_or_gave_up_and_only_once() {
    // As the driver takes a healer that gives up.
    let give_up = |world: &mut World| {
        let (incident, healer) = world.asked.last().cloned().expect("someone was asked");
        let why = String::from("a person was told");
        let decision = Decision::GiveUp { why: why.clone() };
        world.write(Event::Decided { incident, healer, decision });
        world.write(Event::IncidentStuck { incident, why });
        world.settle();
    };
    let mut world = World::new();
    world.raise("log.cuda-oom", &a());
    give_up(&mut world);
    assert_eq!(world.phase(), "stuck");
    world.raise("process.gone", &a());
    assert_eq!((world.phase(), world.asked.len()), ("deciding", 2));
    give_up(&mut world);
    world.clear("process.gone", &a()).raise("process.gone", &a());
    assert_eq!((world.phase(), world.asked.len()), ("stuck", 2), "it is known by now");
    assert_eq!(world.incidents.open().count(), 1);

    let mut world = World::new();
    world.raise("log.cuda-oom", &a());
    world.decide(Decision::Wait { ms: 60_000, why: "told".into() });
    world.raise("probe.failing", &a());
    assert_eq!((world.phase(), world.asked.len()), ("deciding", 2));
}

#[test]
fn a_healer_is_shown_what_stands_and_not_what_is_over() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let incident = world.asked[0].0;
    let shown = |world: &World| {
        let incident = world.incidents.get(incident).expect("open");
        let shown = world.incidents.findings_of(incident);
        shown.into_iter().map(|finding| finding.kind).collect::<Vec<_>>()
    };
    world.act(done());
    // A line that it wrote while it was loading, once it was there again.
    world.raise("log.oom", &a()).clear("process.gone", &a()).proofs(3).after(6_000);
    assert_eq!(world.phase(), "deciding");
    assert_eq!(shown(&world), ["log.oom"], "no remedy of an end that is over");

    // Between an exit and the detector's word of it, nothing stands at all.
    world.clear("log.oom", &a());
    assert_eq!(shown(&world), ["log.oom", "process.gone"]);
}

#[test]
fn trouble_that_gets_worse_wakes_who_gave_up_and_only_once() {
    let mut world = World::new();
    let the_box = TargetId::the_box();
    world.raise("host.filesystem-full", &the_box);
    world.decide(Decision::GiveUp { why: "nothing is old enough".into() });
    let incident = world.asked[0].0;
    world.write(Event::IncidentStuck { incident, why: "nothing is old enough".into() });
    for (severity, asked) in [(3, 1), (2, 1), (4, 2), (3, 2), (4, 2)] {
        let finding = Finding { severity, ..finding("host.filesystem-full", &the_box) };
        world.write(Event::FindingRaised { detector: "d".into(), finding });
        world.settle();
        assert_eq!(world.asked.len(), asked, "severity {severity}");
    }
}

#[test]
fn stuck_is_tried_again_slowly_where_something_harmless_may_be_done() {
    let mut world = World::new();
    world.raise("host.filesystem-full", &TargetId::the_box());
    let incident = world.asked[0].0;
    world.write(Event::IncidentStuck { incident, why: "nothing is old enough".into() });
    assert_eq!(world.after(600_000).phase(), "stuck");
    world.harmless = true;
    assert_eq!(world.settle().phase(), "deciding");
}

#[test]
fn what_lapsed_is_no_try_and_is_asked_for_less_and_less() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let mut waited = Vec::new();
    for _ in 0..3 {
        let before = world.now;
        let id = world.act(Outcome::Lapsed { detail: "a job is running".into() });
        assert_eq!((world.outcome(id), world.phase()), (AttemptOutcome::Refused, "waiting"));
        while world.phase() == "waiting" {
            world.after(500);
        }
        waited.push(world.now - before);
    }
    assert_eq!(waited, [1_000, 2_000, 4_000]);
}
