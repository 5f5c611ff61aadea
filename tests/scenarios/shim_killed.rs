//! The shim is killed with -9 at every named point of its life. Its workload is
//! adopted or replaced through a permit, and never runs twice.

use homeostat::failpoint::Failpoint;
use homeostat::model::{Command, Event};
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{PATIENCE, Plan, TestBox, journal, process};
use model_server::fault::Fault;

/// Processes of the server that live now, by its own record.
fn alive(house: &TestBox) -> Vec<u32> {
    let starts = house.server("digits").starts();
    starts.iter().map(|start| start.pid).filter(|pid| process::alive(*pid)).collect()
}

/// One process serves, the daemon knows which, and nothing is open.
#[track_caller]
fn ends_well(house: &TestBox) {
    house.until_serving("digits");
    house.until_quiet();
    assert_eq!(alive(house), [house.until_serving("digits")], "one process, the one that is known");
    house.check();
}

#[test]
fn a_shim_that_is_killed_is_noticed_and_its_workload_never_runs_twice() {
    let house = Plan::usual().raise();
    house.until_serving("digits");
    let shim = house.workload("digits").shim_pid.expect("a running workload has a shim");
    let before = house.now();
    process::kill(shim);
    house.until_event(before, "its loss to be noticed", |event| {
        matches!(event, Event::WorkloadAdopted { .. } | Event::WorkloadExited { .. }).then_some(())
    });
    ends_well(&house);

    let replaced = house.server("digits").starts().len() > 1;
    let permits = house.journal().iter().filter(|record| journal::permit(record).is_some()).count();
    assert_eq!(permits, if replaced { 2 } else { 1 }, "no start without a permit");
}

#[test]
fn a_workload_that_lost_its_shim_is_still_stopped_whole_on_request() {
    let house = Plan::usual().raise();
    let pid = house.until_serving("digits");
    let before = house.now();
    process::kill(house.workload("digits").shim_pid.expect("a running workload has a shim"));
    house.until_event(before, "its loss to be noticed", |event| {
        matches!(event, Event::WorkloadAdopted { .. } | Event::WorkloadExited { .. }).then_some(())
    });
    house.command(&Command::WorkloadStop { name: "digits".into() });
    wait_until(PATIENCE, "the whole workload to be gone", || {
        let left = alive(&house);
        Seen::when(left.is_empty(), || format!("{left:?} live, the first was {pid}"))
    });
    house.check();
}

#[test]
fn shim_and_daemon_killed_together_leave_a_workload_that_is_found_again() {
    let mut house = Plan::usual().raise();
    house.until_serving("digits");
    let shim = house.workload("digits").shim_pid.expect("a running workload has a shim");
    house.kill_daemon();
    process::kill(shim);
    house.start(&[]);
    ends_well(&house);
}

/// A point on the way up: the first start dies there.
fn killed_on_the_way_up(point: Failpoint) {
    let mut house = Plan::usual().raise_with(&[("HOMEOSTAT_FAILPOINT", point.name())]);
    house.until_event(0, "a start to fail", |event| match event {
        Event::AttemptEnded { .. } | Event::WorkloadExited { .. } | Event::FindingRaised { .. } => {
            Some(())
        }
        _ => None,
    });
    house.kill_daemon();
    house.start(&[]);
    ends_well(&house);
}

/// A point on the way down: the server runs, then is ended by `fault`.
fn killed_on_the_way_down(point: Failpoint, fault: Fault) {
    let mut house = Plan::usual().raise_with(&[("HOMEOSTAT_FAILPOINT", point.name())]);
    house.until_serving("digits");
    let shim = house.workload("digits").shim_pid.expect("a running workload has a shim");
    house.server("digits").breaks(fault);
    wait_until(PATIENCE, "the shim to die there", || {
        Seen::when(!process::alive(shim), || format!("shim {shim} lives"))
    });
    house.kill_daemon();
    house.start(&[]);
    ends_well(&house);
}

macro_rules! stories {
    ($($name:ident: $point:ident $way:ident($($fault:expr)?),)*) => {
        $(#[test]
        fn $name() {
            $way(Failpoint::$point $(, $fault)?);
        })*

        #[test]
        fn every_point_of_the_shim_has_its_story() {
            assert_eq!(Failpoint::SHIM, [$(Failpoint::$point),*]);
        }
    };
}

stories! {
    killed_when_it_has_its_lock: ShimLocked killed_on_the_way_up(),
    killed_before_it_spawns: ShimBeforeSpawn killed_on_the_way_up(),
    killed_after_it_spawned: ShimAfterSpawn killed_on_the_way_up(),
    killed_when_it_has_written_the_attempt_down: ShimRecorded killed_on_the_way_up(),
    killed_when_it_is_told_to_stop: ShimStopping killed_on_the_way_down(Fault::Hang),
    killed_when_it_has_seen_the_exit: ShimExitSeen killed_on_the_way_down(Fault::Crash),
    killed_when_it_has_written_the_exit_down: ShimExitWritten killed_on_the_way_down(Fault::Crash),
}
