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

mod healer;
mod journal;
mod proof;
mod root;

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
    harmless: bool,
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
            harmless: false,
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
                harmless: &|_| self.harmless,
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
