//! A shim killed with -9, at any moment and at each of its named ones. The
//! ledger, which the workload itself writes, says what was executed.

use homeostat::model::ExitStatus;
use homeostat::model::view::WorkloadState;
use homeostat::workload::Observed;
#[cfg(feature = "failpoints")]
use homeostat::workload::WorkloadError;
use rustix::process::Signal;

use crate::rig::{Rig, alive, attempt, eventually, kill};

const LEDGER: &str = "echo $HOMEOSTAT_ATTEMPT >>$D/ledger; echo up; exec sleep 1000";

#[tokio::test]
async fn a_dead_shims_workload_is_adopted_and_its_end_is_seen() {
    let mut rig = Rig::new(LEDGER).await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let shim = rig.status().shim_pid.expect("a shim");
    kill(shim, Signal::KILL);
    assert_eq!(rig.adopted().await, pid);
    let status = rig
        .until("has another shim", |status| status.shim_pid.is_some_and(|pid| pid != shim))
        .await;
    assert_eq!((status.state, status.pid), (WorkloadState::Running, Some(pid)));
    assert!(status.detail.contains("adopted"), "{}", status.detail);

    kill(pid, Signal::TERM);
    assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, false), "never guessed");
    assert_eq!(rig.ledger(), ["1-1"]);
}

#[tokio::test]
async fn an_adopted_workload_is_stopped_with_its_tree() {
    for cgroup in [true, false] {
        let text = "trap '' TERM; (sleep 1000; :) & setsid sh -c '(sleep 1000; :) & exit'; echo up; while :; do sleep 1; done";
        let mut rig = Rig::with(text, |config, options| {
            config.stop_deadline_ms = 100;
            if !cgroup {
                options.cgroup_home = Err("a test wants none".into());
            }
        })
        .await;
        rig.start(1).await;
        rig.line("up").await;
        kill(rig.status().shim_pid.expect("a shim"), Signal::KILL);
        rig.adopted().await;
        rig.workloads().stop("a").await.expect("stopped");
        assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, true));
        assert_eq!(rig.members(), Vec::<u32>::new());
    }
}

#[tokio::test]
async fn a_shim_and_its_workload_that_die_together_are_told() {
    let mut rig = Rig::new("(sleep 1000; :) & echo up; wait").await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let shim = rig.status().shim_pid.expect("a shim");
    kill(shim, Signal::STOP);
    kill(pid, Signal::KILL);
    kill(shim, Signal::KILL);
    assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, false));
    assert_eq!(rig.members(), Vec::<u32>::new(), "the rest went too");
    let observed = Observed::Exited { status: ExitStatus::Unknown };
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, observed);
}

#[tokio::test]
async fn shim_and_daemon_dead_together_lose_no_workload() {
    let mut rig = Rig::new(LEDGER).await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let shim = rig.status().shim_pid.expect("a shim");
    rig.workloads = None;
    kill(shim, Signal::KILL);
    eventually("it is gone", || !alive(shim));
    rig.open().await;
    let status = rig.status();
    assert_eq!((status.state, status.pid), (WorkloadState::Running, Some(pid)));
    assert_eq!(rig.adopted().await, pid);
    assert_eq!(rig.ledger(), ["1-1"]);
}

#[tokio::test]
async fn without_any_shim_it_lives_on_and_can_be_stopped() {
    let mut rig =
        Rig::with(&format!("trap '' TERM; {LEDGER}"), |config, _| config.stop_deadline_ms = 100)
            .await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let shim = rig.status().shim_pid.expect("a shim");
    rig.workloads = None;
    kill(shim, Signal::KILL);
    eventually("it is gone", || !alive(shim));
    rig.paths.programs = "/no/such/folder".into();
    rig.open().await;
    let status = rig.status();
    assert_eq!((status.state, status.pid), (WorkloadState::Running, Some(pid)));
    assert_eq!(status.shim_pid, None);
    rig.workloads().stop("a").await.expect("stopped by hand");
    assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, true));
    assert!(!alive(pid));
}

#[tokio::test]
async fn without_any_shim_its_end_is_seen_all_the_same() {
    let mut rig = Rig::new(LEDGER).await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let shim = rig.status().shim_pid.expect("a shim");
    rig.workloads = None;
    kill(shim, Signal::KILL);
    eventually("it is gone", || !alive(shim));
    rig.paths.programs = "/no/such/folder".into();
    rig.open().await;
    kill(pid, Signal::KILL);
    assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, false));
}

#[tokio::test]
async fn a_shim_killed_at_any_moment_doubles_nothing() {
    let rig = Rig::new(LEDGER).await;
    let mut seq = 0;
    for round in 0..40u64 {
        if rig.status().pid.is_none() {
            seq += 1;
            let workloads = rig.workloads().clone();
            let starting = tokio::spawn(async move { workloads.start("a", attempt(seq)).await });
            // Somewhere between its fork and well after its start.
            tokio::time::sleep(std::time::Duration::from_micros(round * 150)).await;
            for shim in rig.shims() {
                kill(shim, Signal::KILL);
            }
            let _ = starting.await.expect("answered");
        } else {
            for shim in rig.shims() {
                kill(shim, Signal::KILL);
            }
        }
        assert!(rig.members().len() <= 1, "doubled: {:?}", rig.members());
        if round % 4 == 3 {
            rig.workloads().stop("a").await.expect("stopped");
            assert_eq!(rig.members(), Vec::<u32>::new());
        }
    }
    let mut ledger = rig.ledger();
    let executed = ledger.len();
    ledger.sort();
    ledger.dedup();
    assert_eq!(ledger.len(), executed, "no attempt was executed twice");
}

#[test]
fn a_daemon_gone_at_any_moment_of_a_start_doubles_nothing() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rig = runtime().block_on(Rig::new(LEDGER));
    for round in 0..30u64 {
        // Everything of this daemon goes with its runtime, wherever it was.
        runtime().block_on(async {
            rig.open().await;
            if round % 3 == 2 {
                rig.workloads().stop("a").await.expect("stopped");
                assert_eq!(rig.members(), Vec::<u32>::new());
            }
            let workloads = rig.workloads().clone();
            let start = workloads.start("a", attempt(round));
            let moment = std::time::Duration::from_micros(round * 300);
            let _ = tokio::time::timeout(moment, start).await;
        });
        assert!(rig.members().len() <= 1, "doubled: {:?}", rig.members());
    }
    let mut ledger = rig.ledger();
    let executed = ledger.len();
    ledger.sort();
    ledger.dedup();
    assert_eq!(ledger.len(), executed, "no attempt was executed twice");
    runtime().block_on(async { rig.workloads = None });
}

/// Starts attempt 1 under shims that die at `point`, whatever comes of it.
#[cfg(feature = "failpoints")]
async fn start_at(point: &str) -> (Rig, Result<u32, WorkloadError>) {
    let point = point.to_owned();
    let rig = Rig::with(LEDGER, |config, options| {
        config.stop_deadline_ms = 1_000;
        options.shim_failpoint = Some(point);
    })
    .await;
    let started = rig.workloads().start("a", attempt(1)).await;
    (rig, started)
}

/// A daemon whose shims live: it has to cope with what the others left.
#[cfg(feature = "failpoints")]
async fn recover(rig: &mut Rig) {
    rig.options.shim_failpoint = None;
    rig.open().await;
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_shim_killed_before_its_spawn_has_executed_nothing() {
    for point in ["shim.locked", "shim.before-spawn"] {
        let (mut rig, started) = start_at(point).await;
        assert!(matches!(started, Err(WorkloadError::Shim { .. })), "{point}: {started:?}");
        assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::NeverStarted);
        assert_eq!(rig.members(), Vec::<u32>::new(), "{point}");
        recover(&mut rig).await;
        assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::NeverStarted);
        // What never was may be made.
        rig.start(1).await;
        rig.line("up").await;
        assert_eq!(rig.ledger(), ["1-1"], "{point}");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_shim_killed_behind_its_spawn_leaves_one_process_that_goes_on() {
    for point in ["shim.after-spawn", "shim.recorded"] {
        let (mut rig, started) = start_at(point).await;
        let pid = started.unwrap_or_else(|err| panic!("{point}: {err}"));
        eventually("it wrote", || rig.ledger().len() == 1);
        recover(&mut rig).await;
        assert_eq!(rig.members(), [pid], "{point}");
        assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::Running { pid });
        let again = rig.workloads().start("a", attempt(1)).await;
        assert!(matches!(again, Err(WorkloadError::AlreadyRunning { .. })), "{point}: {again:?}");
        rig.workloads().stop("a").await.expect("stopped");
        let again = rig.workloads().start("a", attempt(1)).await;
        assert!(matches!(again, Err(WorkloadError::AttemptUsed { .. })), "{point}: {again:?}");
        rig.start(2).await;
        eventually("it wrote", || rig.ledger().len() == 2);
        assert_eq!(rig.ledger(), ["1-1", "1-2"], "{point}");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_shim_killed_over_a_stop_does_not_keep_the_workload_from_ending() {
    let (mut rig, started) = start_at("shim.stopping").await;
    let pid = started.expect("started");
    rig.workloads().stop("a").await.expect("stopped");
    assert!(!alive(pid));
    let (_, wanted) = rig.exited(1).await;
    assert!(wanted);
    recover(&mut rig).await;
    assert_eq!(rig.status().state, WorkloadState::Stopped);
    assert_eq!(rig.ledger(), ["1-1"]);
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_shim_killed_over_an_exit_leaves_it_to_be_told() {
    let expected = [
        ("shim.exit-seen", ExitStatus::Unknown),
        ("shim.exit-written", ExitStatus::Signal { signal: 9 }),
    ];
    for (point, status) in expected {
        let (mut rig, started) = start_at(point).await;
        let pid = started.expect("started");
        rig.line("up").await;
        kill(pid, Signal::KILL);
        assert_eq!(rig.exited(1).await, (status, false), "{point}");
        recover(&mut rig).await;
        let observed = Observed::Exited { status };
        assert_eq!(rig.workloads().observe("a", attempt(1)).await, observed, "{point}");
        rig.start(2).await;
        eventually("it wrote", || rig.ledger().len() == 2);
        assert_eq!(rig.ledger(), ["1-1", "1-2"], "{point}");
    }
}

#[cfg(feature = "failpoints")]
#[tokio::test]
async fn at_each_point_with_the_daemon_dead_too_the_next_one_knows() {
    use homeostat::failpoint::Failpoint;

    for point in Failpoint::SHIM {
        let point = point.name();
        let (mut rig, started) = start_at(point).await;
        let executed = started.is_ok();
        if executed {
            // On a busy machine the kill below could come before its first line.
            eventually("the first wrote", || rig.ledger().len() == 1);
        }
        rig.workloads = None;
        match started {
            Ok(pid) if point.contains("exit") => kill(pid, Signal::KILL),
            Ok(_) => rig.shims().into_iter().for_each(|shim| kill(shim, Signal::TERM)),
            Err(_) => {}
        }
        eventually("no shim lives, or it holds", || {
            rig.shims().is_empty() || !point.contains("exit")
        });
        recover(&mut rig).await;
        rig.workloads().stop("a").await.unwrap_or_else(|err| panic!("{point}: {err}"));
        assert_eq!(rig.members(), Vec::<u32>::new(), "{point}");
        let again = rig.workloads().start("a", attempt(1)).await;
        assert_eq!(again.is_err(), executed, "{point}: {again:?}");
        if again.is_err() {
            rig.start(2).await;
        }
        eventually("it wrote", || rig.ledger().len() == if executed { 2 } else { 1 });
    }
}
