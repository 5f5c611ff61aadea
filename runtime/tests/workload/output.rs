//! What a workload writes.

use homeostat::model::ExitStatus;
use rustix::process::Signal;

use crate::rig::{Rig, eventually, kill};

#[tokio::test]
async fn lines_arrive_and_the_log_is_bounded() {
    let text = "i=0; while [ $i -lt 500 ]; do echo line $i of a log; i=$((i+1)); done; echo oops >&2; printf end";
    let mut rig = Rig::with(text, |config, _| {
        config.log_max_bytes = 4096;
        config.log_files = 2;
    })
    .await;
    rig.start(1).await;
    assert_eq!(rig.exited(1).await, (ExitStatus::Code { code: 0 }, false));
    assert_eq!(rig.lines.len(), 502);
    assert_eq!(rig.lines[499], "line 499 of a log");
    assert_eq!(rig.lines[500..], ["oops", "end"], "errors too, and a last line without an end");

    let state = rig.paths.state.join("workloads/a");
    let log = |name: &str| std::fs::read_to_string(state.join(name)).expect("a log");
    let newest = log("output.log");
    assert!(newest.ends_with("oops\nend"));
    assert!(newest.len() <= 4096 && log("output.log.1").len() <= 4096);
    assert!(!state.join("output.log.2").exists());
}

#[tokio::test]
async fn a_driver_that_does_not_listen_loses_lines_and_not_the_end() {
    let flood = "seq 1 200000; echo last; read x <$D/go";
    let mut rig = Rig::new(flood).await;
    let go = rig.dir.join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).expect("fifo");
    let pid = rig.start(1).await;
    let log = rig.paths.state.join("workloads/a/output.log");
    // Only the shim reads meanwhile.
    eventually("the flood is in the log", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with("last\n"))
    });
    kill(pid, Signal::KILL);
    assert_eq!(rig.exited(1).await, (ExitStatus::Signal { signal: 9 }, false));
    assert!(rig.lost > 0);
    assert_eq!(rig.lines.len() as u64 + rig.lost, 200_001, "each came or was counted");
}

#[tokio::test]
async fn a_dead_shim_costs_no_sigpipe_and_no_line() {
    let mut rig = Rig::new("i=0; while :; do echo line $i; i=$((i+1)); sleep 0.002; done").await;
    let pid = rig.start(1).await;
    rig.line("line 10").await;
    kill(rig.status().shim_pid.expect("a shim"), Signal::KILL);
    assert_eq!(rig.adopted().await, pid);
    let next = format!("line {}", rig.lines.len() + 100);
    rig.line(&next).await;
    let is_missing = |i: &usize| !rig.lines.contains(&format!("line {i}"));
    let missing: Vec<usize> = (0..rig.lines.len()).filter(is_missing).collect();
    // What the dead shim had read and not yet passed on is lost, which is one
    // stretch; the rest waited.
    let together = missing.windows(2).all(|two| two[1] == two[0] + 1);
    assert!(together, "more than one stretch is missing: {missing:?}");
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_nothing() {
    let mut rig = Rig::new("echo up; exec sleep 1000").await;
    std::fs::create_dir_all(rig.paths.state.join("workloads")).expect("made");
    std::fs::write(rig.paths.state.join("workloads/a"), "a file in the way").expect("w");
    rig.start(1).await;
    rig.line("up").await;
    rig.until("says so", |status| status.detail.contains("cannot write")).await;
}
