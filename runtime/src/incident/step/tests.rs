//! The life of an incident, told with a clock of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::config::Route;
use crate::incident::Undo;
use crate::model::action::Rule;
use crate::model::catalogue::{Terms, WORKLOAD_RESTART};
use crate::model::event::Class;
use crate::model::{
    AttemptOutcome, Attrs, Decision, Finding, Instant, Origin, Outcome, Proposal, Record, Refusal,
    Target, TargetKind,
};

/// A pretend driver: it writes down what `next` says, and answers by script.
struct World {
    incidents: Incidents,
    log: Vec<Record>,
    now: u64,
    graph: Graph,
    config: IncidentConfig,
    mode: Mode,
    unwanted: BTreeSet<TargetId>,
    down: BTreeSet<TargetId>,
    exits: BTreeMap<AttemptId, ExitStatus>,
    gone: BTreeSet<String>,
    blind: bool,
    /// What the guard goes on to say no by.
    stands: Option<Rule>,
    asked: Vec<(IncidentId, String)>,
}

impl World {
    fn new() -> Self {
        let mut graph = Graph::default();
        let mut add =
            |id: TargetId, kind, needs: Vec<TargetId>| graph.insert(Target { id, kind, needs });
        let plc = TargetId::new(TargetKind::External, "plc");
        add(TargetId::the_box(), TargetKind::Box, vec![]);
        add(plc.clone(), TargetKind::External, vec![]);
        add(TargetId::workload("a"), TargetKind::Workload, vec![TargetId::the_box()]);
        add(TargetId::workload("b"), TargetKind::Workload, vec![TargetId::the_box(), plc]);
        let config = IncidentConfig {
            hold_ms: 10_000,
            proofs_wanted: 3,
            decide_timeout_ms: 1_000,
            stuck_retry_ms: 60_000,
            routes: vec![Route {
                kind: "*".into(),
                target: "*".into(),
                healers: vec!["first".into(), "second".into()],
            }],
            explains: BTreeMap::from([
                ("external.*".into(), vec!["probe.*".into()]),
                ("host.*".into(), vec!["probe.*".into()]),
            ]),
        };
        Self {
            incidents: Incidents::default(),
            log: Vec::new(),
            now: 1_000,
            graph,
            config,
            mode: Mode::Enforce,
            unwanted: BTreeSet::new(),
            down: BTreeSet::new(),
            exits: BTreeMap::new(),
            gone: BTreeSet::new(),
            blind: false,
            stands: None,
            asked: Vec::new(),
        }
    }

    fn write(&mut self, event: Event) -> u64 {
        let seq = self.log.len() as u64 + 1;
        let at = Instant { age_ms: self.now, boot: 1, unix_ms: None };
        let record = Record { seq, at, event };
        self.incidents.apply(&record);
        self.log.push(record);
        seq
    }

    /// Takes every step there is.
    fn settle(&mut self) -> &mut Self {
        for _ in 0..100 {
            let Some(step) = self.next() else { return self };
            match step {
                Step::Write(event) => {
                    self.write(event);
                }
                Step::Ask { incident, healer } => {
                    self.write(Event::HealerAsked { incident, healer: healer.clone() });
                    self.asked.push((incident, healer));
                }
                Step::Undo { incident } => {
                    let undo = self.incidents.get(incident).and_then(|it| it.undo.clone());
                    let Undo { origin, proposal, .. } = undo.expect("there is one");
                    let terms = Terms { proof: Proof::Nothing, ..Terms::RESTART };
                    self.permitted(incident, origin, proposal, terms);
                }
            }
        }
        panic!("no end of steps: {:#?}", &self.log[self.log.len() - 4..]);
    }

    fn next(&self) -> Option<Step> {
        next(
            &self.incidents,
            &Scene {
                now_age_ms: self.now,
                mode: self.mode,
                paused: false,
                graph: &self.graph,
                config: &self.config,
                explains: &self.config.explains,
                unwanted: &|target| self.unwanted.contains(target),
                runs: &|target| !self.down.contains(target),
                exit: &|attempt| self.exits.get(&attempt).copied(),
                proof_ms_max: &|_| 5_000,
                healer: &|name| match self.gone.contains(name) {
                    true => HealerState::Gone { why: "quarantined".into() },
                    false => HealerState::Idle,
                },
                blind: &|_| self.blind,
                refuses: &|held| self.stands == Some(held.rule),
            },
        )
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += ms;
        self.settle()
    }

    fn raise(&mut self, kind: &str, target: &TargetId) -> &mut Self {
        self.write(Event::FindingRaised { detector: "d".into(), finding: finding(kind, target) });
        self.settle()
    }

    fn clear(&mut self, kind: &str, target: &TargetId) -> &mut Self {
        let key = finding(kind, target).key;
        let (target, kind) = (target.clone(), kind.to_owned());
        self.write(Event::FindingCleared { detector: "d".into(), key, target, kind });
        self.settle()
    }

    fn decide(&mut self, decision: Decision) -> &mut Self {
        let (incident, healer) = self.asked.last().cloned().expect("someone was asked");
        self.write(Event::Decided { incident, healer, decision });
        self.settle()
    }

    /// The last healer asked proposes a restart, the guard permits it, and the
    /// hands end it so.
    fn act(&mut self, outcome: Outcome) -> AttemptId {
        let id = self.permit();
        let incident = self.asked.last().map(|(incident, _)| *incident);
        self.write(Event::AttemptEnded { incident, attempt: id, outcome });
        self.settle();
        id
    }

    fn permit(&mut self) -> AttemptId {
        let (incident, healer) = self.asked.last().cloned().expect("someone was asked");
        let target = self.incidents.get(incident).expect("open").root.clone();
        let proposal = restart(&target);
        self.write(Event::Decided {
            incident,
            healer: healer.clone(),
            decision: Decision::Act(proposal.clone()),
        });
        let origin = Origin::Healer { plugin: healer, incident };
        let id = self.permitted(incident, origin, proposal, Terms::RESTART);
        self.settle();
        id
    }

    fn permitted(
        &mut self,
        incident: IncidentId,
        origin: Origin,
        proposal: Proposal,
        terms: Terms,
    ) -> AttemptId {
        let incident = Some(incident);
        let expires_age_ms = self.now + 1_000;
        let event =
            Event::Permitted { incident, birth: 7, origin, proposal, terms, expires_age_ms };
        AttemptId { birth: 7, seq: self.write(event) }
    }

    fn proofs(&mut self, count: u32) -> &mut Self {
        let incident = self.asked.last().expect("someone was asked").0;
        for _ in 0..count {
            self.write(Event::ProofSeen { incident, good: true, detail: String::new() });
        }
        self.settle()
    }

    fn phase(&self) -> &str {
        let open: Vec<_> = self.incidents.open().collect();
        match open.as_slice() {
            [] => self.incidents.closed().next().map_or("none", |it| it.phase.word()),
            [only] => only.phase.word(),
            more => panic!("{} incidents are open", more.len()),
        }
    }

    fn outcome(&self, id: AttemptId) -> AttemptOutcome {
        let all = self.incidents.open().chain(self.incidents.closed());
        all.into_iter().find_map(|it| it.attempt(id)).expect("known attempt").outcome
    }
}

fn finding(kind: &str, target: &TargetId) -> Finding {
    Finding {
        key: format!("{kind}@{target}"),
        kind: kind.into(),
        target: target.clone(),
        severity: 3,
        series: vec![],
        message: kind.into(),
        evidence: Attrs::new(),
    }
}

fn restart(target: &TargetId) -> Proposal {
    Proposal {
        action: WORKLOAD_RESTART.into(),
        target: target.clone(),
        params: vec![],
        reason: "it is gone".into(),
        also_prove: vec![],
    }
}

fn done() -> Outcome {
    Outcome::Done { detail: String::new() }
}

fn a() -> TargetId {
    TargetId::workload("a")
}

#[test]
fn a_fault_is_opened_asked_about_acted_upon_recovered_proven_and_closed() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    assert_eq!(world.phase(), "deciding");
    let id = world.act(done());
    assert_eq!((world.phase(), world.outcome(id)), ("proving", AttemptOutcome::Proving));
    world.clear("process.gone", &a());
    assert_eq!(world.phase(), "proving", "the detector's silence alone is no proof");
    world.proofs(3);
    assert_eq!((world.phase(), world.outcome(id)), ("recovered", AttemptOutcome::Recovered));
    world.after(9_999);
    assert_eq!(world.phase(), "recovered");
    world.after(1);
    assert_eq!((world.phase(), world.outcome(id)), ("closed", AttemptOutcome::Proven));
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
fn what_clears_by_itself_is_held_and_closed_without_an_attempt() {
    let mut world = World::new();
    world.raise("probe.failing", &a());
    world.decide(Decision::Wait { ms: 60_000, why: "it may pass".into() });
    assert_eq!(world.phase(), "waiting");
    world.clear("probe.failing", &a());
    assert_eq!(world.phase(), "recovered");
    world.after(10_000);
    assert_eq!(world.phase(), "closed");
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
fn an_operators_stop_ends_the_incident_but_not_an_action_half_way() {
    let mut world = World::new();
    world.raise("process.gone", &a());
    let id = world.permit();
    world.unwanted.insert(a());
    world.settle();
    assert_eq!(world.phase(), "acting");
    let incident = world.asked[0].0;
    world.write(Event::AttemptEnded { incident: Some(incident), attempt: id, outcome: done() });
    world.settle();
    assert_eq!(world.phase(), "closed");
    world.after(100_000);
    assert_eq!(world.incidents.open().count(), 0, "the finding still stands and opens nothing");
}

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
fn what_recovered_by_itself_waits_for_no_persons_word() {
    let mut world = World::new();
    world.raise("probe.failing", &a());
    let (incident, healer) = world.asked[0].clone();
    let refusal = Refusal { rule: Rule::Mode, detail: "suggest".into(), retry_age_ms: None };
    let origin = Origin::Healer { plugin: healer, incident };
    let (of, proposal) = (Some(incident), restart(&a()));
    world.write(Event::Refused { incident: of, origin, proposal, refusal });
    assert!(world.incidents.get(incident).unwrap().pending.is_some());
    world.clear("probe.failing", &a());
    assert_eq!(world.phase(), "recovered");
    assert!(
        world.incidents.get(incident).unwrap().pending.is_none(),
        "a late yes acts on what is well"
    );
}

#[test]
fn an_incident_that_a_person_closed_stays_closed_until_it_clears_or_gets_worse() {
    let mut world = World::new();
    world.raise("probe.failing", &a());
    let incident = world.asked[0].0;
    world.write(Event::IncidentDismissed { incident, by: Origin::Operator { uid: 0 } });
    world.write(Event::IncidentClosed { incident, why: "user 0 closed it".into() });
    world.after(100_000);
    assert_eq!(world.incidents.open().count(), 0, "it still stands, and a person knows");

    let mut worse = finding("probe.failing", &a());
    worse.severity += 1;
    world.write(Event::FindingRaised { detector: "d".into(), finding: worse });
    world.settle();
    assert_eq!(world.incidents.open().count(), 1, "worse is news");

    let incident = world.asked[1].0;
    world.write(Event::IncidentDismissed { incident, by: Origin::Operator { uid: 0 } });
    world.write(Event::IncidentClosed { incident, why: "user 0 closed it".into() });
    world.clear("probe.failing", &a()).after(1_000);
    assert_eq!(world.incidents.open().count(), 0);
    world.raise("probe.failing", &a());
    assert_eq!(world.incidents.open().count(), 1, "it came again");
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
    assert_eq!(incident.undo, None, "it is taken back once");
}

#[test]
fn an_undo_that_will_never_pass_keeps_nobody_from_being_asked() {
    let mut world = World::new();
    world.raise("probe.slow", &a());
    let terms = Terms { proof: Proof::Cleared, settle_ms: 0, undo: true, ..Terms::RESTART };
    acts(&mut world, terms);
    let (incident, asked) = (world.asked[0].0, world.asked.len());
    world.now += 1;
    let Some(Step::Write(failed)) = world.next() else { panic!("its proof has failed") };
    world.write(failed);
    assert_eq!(world.next(), Some(Step::Undo { incident }));
    let undo = world.incidents.get(incident).and_then(|it| it.undo.clone()).expect("it is due");
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
