//! The life of a healer: a fresh instance for each decision.

use homeostat::model::{AfterFault, Brief, Decision, IncidentId, Instant, TargetId};
use homeostat::plugin::{Busy, Healer, Host, PluginEvent};

use crate::guest;
use crate::rig::Rig;

const TRAP: u64 = 1;
const LOOP: u64 = 2;
const ACT: u64 = 3;
const ERROR: u64 = 4;
const WAIT_A_YEAR: u64 = 5;

/// The host outlives the story's healer.
fn story(deadline_ms: u32, quarantine_faults: u32) -> (Rig, Host, Healer) {
    let mut rig = Rig::new();
    let host = rig.host();
    let mut config = rig.plugin(&guest::healer(), "healer");
    config.deadline_ms = deadline_ms;
    config.quarantine_faults = quarantine_faults;
    let loaded = host.load(&config, 0).unwrap();
    assert!(loaded.is_healer());
    let healer = host.start_healer(&loaded, rig.events.clone()).unwrap();
    rig.hear_ready();
    (rig, host, healer)
}

fn brief(seed: u64) -> Brief {
    let now = Instant { age_ms: 5_000, boot: 1, unix_ms: None };
    Brief {
        id: IncidentId(7),
        signature: "process.gone@workload:a".into(),
        now,
        seed,
        opened: now,
        root: TargetId::workload("a"),
        findings: vec![],
        graph: vec![],
        remedies: vec![],
        attempts: vec![],
        facts: vec![],
    }
}

#[test]
fn nothing_is_left_in_it_from_one_decision_to_the_next() {
    let (mut rig, _host, healer) = story(5_000, 100);
    for _ in 0..3 {
        healer.decide(brief(0)).unwrap();
        let decision = rig.hear_decision().unwrap();
        assert_eq!(decision, Decision::Wait { ms: 0, why: "because".into() });
    }
    assert_eq!(healer.stats().calls, 3);
}

#[test]
fn it_proposes_for_the_incident_that_it_was_shown() {
    let (mut rig, _host, healer) = story(5_000, 100);
    healer.decide(brief(ACT)).unwrap();
    match rig.hear() {
        PluginEvent::Decision { incident, result: Ok(Decision::Act(proposal)), .. } => {
            assert_eq!(incident, IncidentId(7));
            assert_eq!(proposal.action, "workload.restart");
            assert_eq!(proposal.target, TargetId::workload("a"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_error_of_its_own_is_an_answer_and_no_fault() {
    let (mut rig, _host, healer) = story(5_000, 1);
    healer.decide(brief(ERROR)).unwrap();
    assert_eq!(rig.hear_decision(), Err("refused to decide: no: idea".into()));
    healer.decide(brief(0)).unwrap();
    assert!(rig.hear_decision().is_ok());
    assert_eq!(healer.stats().faults, 0);
}

#[test]
fn a_fault_fails_the_decision_and_then_is_supervised() {
    let (mut rig, _host, healer) = story(300, 4);
    for (seed, then) in [
        (TRAP, AfterFault::Restarted { from_checkpoint: false }),
        (LOOP, AfterFault::Backoff { ms: 1 }),
        (WAIT_A_YEAR, AfterFault::Backoff { ms: 2 }),
        (TRAP, AfterFault::Quarantined),
    ] {
        healer.decide(brief(seed)).unwrap();
        let why = rig.hear_decision().unwrap_err();
        assert_eq!(rig.hear_fault(), (why, then.clone()));
        if then != AfterFault::Quarantined {
            rig.hear_ready();
        }
    }
    assert_eq!(healer.decide(brief(0)), Err(Busy::Quarantined));
    healer.stop();
    rig.hear_silence();
}
