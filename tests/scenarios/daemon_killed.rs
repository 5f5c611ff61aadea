//! The daemon is killed with -9 at every named point of the path, in the middle
//! of a repair. It comes back and finishes; no workload notices.

use homeostat::failpoint::Failpoint;
use homeostat::model::Event;
use homeostat_tests::{PATIENCE, Plan};
use model_server::fault::Fault;

#[test]
fn a_daemon_that_is_killed_finds_its_workloads_and_goes_on() {
    let mut house = Plan::usual().raise();
    let pid = house.until_serving("digits");
    for _ in 0..5 {
        house.kill_daemon();
        house.server("digits").answers_within(PATIENCE).expect("it serves without a daemon");
        house.start(&[]);
        assert_eq!(house.until_serving("digits"), pid);
    }
    assert_eq!(house.server("digits").starts().len(), 1);
    house.check();
}

#[test]
fn what_broke_while_the_daemon_was_dead_is_healed_when_it_is_back() {
    let mut house = Plan::usual().raise();
    let pid = house.until_serving("digits");
    house.kill_daemon();
    house.server("digits").breaks(Fault::Crash);
    house.start(&[]);
    house.until_another_serves("digits", pid);
    assert_eq!(house.server("digits").starts().len(), 2);
    house.check();
}

#[test]
fn an_orderly_stop_leaves_the_workloads_running() {
    let mut house = Plan::usual().raise();
    let pid = house.until_serving("digits");
    house.stop_daemon();
    house.server("digits").answers_within(PATIENCE).expect("it serves without a daemon");
    house.start(&[]);
    assert_eq!(house.until_serving("digits"), pid);
    let records = house.check();
    let stopped = |event: &Event| matches!(event, Event::DaemonStopped {});
    assert!(records.iter().any(|record| stopped(&record.event)), "its end is written down");
}

/// Killed at `point` while one server is being healed, then started without it.
fn killed_at(point: Failpoint) {
    let mut house = Plan::usual().server("steady").raise();
    house.until_serving("digits");
    let steady = house.until_serving("steady");
    house.kill_daemon();

    // Some points lie on the way up, some behind the first report of a fault.
    house.spawn(&[("HOMEOSTAT_FAILPOINT", point.name())]);
    house.server("digits").breaks(Fault::Crash);
    house.until_dead();
    house.start(&[]);

    house.until_serving("digits");
    house.until_quiet();
    assert_eq!(house.until_serving("steady"), steady, "the other workload noticed nothing");
    assert_eq!(house.server("steady").starts().len(), 1);
    let starts = house.server("digits").starts().len();
    assert!(starts >= 2, "it was started again");
    house.check();
}

macro_rules! stories {
    ($($name:ident: $point:ident,)*) => {
        $(#[test]
        fn $name() {
            killed_at(Failpoint::$point);
        })*

        #[test]
        fn every_point_of_the_path_has_its_story() {
            assert_eq!(Failpoint::DAEMON, [$(Failpoint::$point),*]);
        }
    };
}

stories! {
    killed_when_a_report_comes_in: DriverReport,
    killed_when_an_incident_is_opened: DriverIncidentOpened,
    killed_when_a_healer_is_asked: DriverAsk,
    killed_when_a_healer_has_decided: DriverDecided,
    killed_when_a_permit_is_given: DriverPermitted,
    killed_before_the_journal_commits: JournalBeforeCommit,
    killed_after_the_journal_committed: JournalAfterCommit,
    killed_before_the_trust_slot_is_written: SlotBeforeWrite,
    killed_between_the_copies_of_the_trust_slot: SlotBetweenCopies,
    killed_before_the_workload_is_touched: ActionBeforeTouch,
    killed_after_the_workload_was_stopped: ActionAfterStop,
    killed_after_the_workload_was_started: ActionAfterStart,
    killed_when_an_attempt_has_ended: DriverEnded,
    killed_when_a_proof_comes_in: DriverProof,
    killed_when_an_incident_has_recovered: DriverRecovered,
    killed_when_an_incident_is_proven: DriverProven,
}
