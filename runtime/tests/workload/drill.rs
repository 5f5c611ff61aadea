//! Faults that are staged: they look like real ones, and end by themselves.

use homeostat::model::{DrillFault, ExitStatus};
use homeostat::secret::Secret;
use homeostat::workload::WorkloadError;
use rustix::process::Signal;

use crate::rig::{Rig, eventually, kill};

/// Says a number ever so often, and has a child that lives as long.
const COUNTING: &str = "sleep 1000 & i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";
const LONG: DrillFault = DrillFault::Hang { ms: 3_600_000 };

fn stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

fn all_stand_still(rig: &Rig) -> bool {
    let members = rig.members();
    !members.is_empty() && members.into_iter().all(stopped)
}

#[tokio::test]
async fn a_staged_crash_ends_the_whole_tree_and_was_not_wanted() {
    let mut rig = Rig::new(COUNTING).await;
    let pid = rig.start(1).await;
    rig.line("3").await;
    assert_eq!(rig.workloads().drill("a", DrillFault::Crash {}).await, Ok(pid));
    assert_eq!(rig.exited(1).await, (ExitStatus::Signal { signal: 9 }, false));
    eventually("the tree is empty", || rig.members().is_empty());
    let error = rig.workloads().drill("a", DrillFault::Crash {}).await;
    assert_eq!(error, Err(WorkloadError::NotRunning { workload: "a".into() }));
}

#[tokio::test]
async fn a_staged_hang_holds_the_whole_tree_and_lets_it_go() {
    let mut rig = Rig::new(COUNTING).await;
    rig.start(1).await;
    rig.line("3").await;
    rig.workloads().drill("a", DrillFault::Hang { ms: 5_000 }).await.expect("it runs");
    eventually("all of it stands still", || all_stand_still(&rig));
    eventually("all of it goes on", || !rig.members().into_iter().any(stopped));
    let next = (rig.lines.len() + 50).to_string();
    rig.line(&next).await;
    let record = std::fs::read_to_string(rig.run_file("attempt.json")).expect("it runs");
    assert!(record.contains("\"held_until_boottime_ms\":null"), "{record}");
}

#[tokio::test]
async fn a_workload_that_is_held_can_be_stopped_at_once() {
    let mut rig = Rig::new(COUNTING).await;
    rig.start(1).await;
    rig.workloads().drill("a", LONG).await.expect("it runs");
    eventually("all of it stands still", || all_stand_still(&rig));
    rig.workloads().stop("a").await.expect("stopped");
    let (status, wanted) = rig.exited(1).await;
    // By SIGTERM, and not by the SIGKILL that its deadline would bring.
    assert_eq!((status, wanted), (ExitStatus::Signal { signal: 15 }, true));
}

#[tokio::test]
async fn what_is_held_is_let_go_though_daemon_and_shim_die() {
    let mut rig = Rig::new(COUNTING).await;
    rig.start(1).await;
    rig.line("3").await;
    rig.workloads().drill("a", DrillFault::Hang { ms: 5_000 }).await.expect("it runs");
    eventually("all of it stands still", || all_stand_still(&rig));
    kill(rig.status().shim_pid.expect("a shim"), Signal::KILL);
    rig.open().await;
    eventually("all of it goes on", || {
        let members = rig.members();
        !members.is_empty() && !members.into_iter().any(stopped)
    });
}

#[tokio::test]
async fn a_shim_that_adopts_keeps_the_secret_as_well() {
    let text = "i=0; while :; do echo \"$i $TOKEN\"; i=$((i+1)); sleep 0.002; done";
    let token = Secret { name: "TOKEN".into(), value: "hunter2-and-more".into() };
    let mut rig = Rig::with(text, |config, options| {
        config.env.insert(token.name.clone(), token.value.clone());
        options.secrets.insert("a".into(), vec![token.clone()]);
    })
    .await;
    rig.start(1).await;
    rig.line("10 [redacted:TOKEN]").await;
    kill(rig.status().shim_pid.expect("a shim"), Signal::KILL);
    rig.adopted().await;
    let next = format!("{} [redacted:TOKEN]", rig.lines.len() + 100);
    rig.line(&next).await;
    let log = rig.paths.state.join("workloads/a/output.log");
    let log = std::fs::read_to_string(log).expect("a log");
    assert!(log.contains("[redacted:TOKEN]") && !log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn a_hang_whose_end_cannot_be_written_down_holds_nothing() {
    let mut rig = Rig::new(COUNTING).await;
    rig.start(1).await;
    rig.line("3").await;
    // In the way of the record that is written anew.
    std::fs::create_dir(rig.run_file("attempt.new")).expect("made");
    let error = rig.workloads().drill("a", LONG).await.expect_err("it is refused");
    assert!(error.to_string().contains("nothing is held"), "{error}");
    assert!(!rig.members().into_iter().any(stopped));
    let next = (rig.lines.len() + 20).to_string();
    rig.line(&next).await;
}
