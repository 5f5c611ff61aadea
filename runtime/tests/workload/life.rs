//! Start, end, stop, and a daemon that comes back.

use homeostat::model::ExitStatus;
use homeostat::model::view::WorkloadState;
use homeostat::workload::{Observed, WorkloadEvent};
use rustix::process::Signal;

use crate::rig::{Rig, alive, attempt, eventually, kill};

#[tokio::test]
async fn an_exit_code_is_told() {
    let mut rig = Rig::new("read line <$D/go; exit 7").await;
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::NeverStarted);
    let go = rig.dir.join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).expect("fifo");

    let pid = rig.start(1).await;
    assert_eq!(
        rig.event().await,
        WorkloadEvent::Started { workload: "a".into(), attempt: attempt(1), pid }
    );
    let status = rig.status();
    assert_eq!((status.state, status.pid), (WorkloadState::Running, Some(pid)));
    assert_eq!((status.attempt, status.starts), (Some(attempt(1)), 1));
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::Running { pid });
    let other = Observed::OtherAttempt { attempt: attempt(1) };
    assert_eq!(rig.workloads().observe("a", attempt(2)).await, other);

    std::fs::write(&go, "\n").expect("told to go");
    assert_eq!(rig.exited(1).await, (ExitStatus::Code { code: 7 }, false));
    let status = rig.until("exited", |status| status.state == WorkloadState::Exited).await;
    assert_eq!((status.pid, status.shim_pid), (None, None));
    let observed = Observed::Exited { status: ExitStatus::Code { code: 7 } };
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, observed);
}

#[tokio::test]
async fn a_death_by_signal_is_told() {
    let mut rig = Rig::new("exec sleep 1000").await;
    let pid = rig.start(1).await;
    kill(pid, Signal::SEGV);
    assert_eq!(rig.exited(1).await, (ExitStatus::Signal { signal: 11 }, false));
    eventually("the shim is gone, and reaped", || rig.shims().is_empty());
}

#[tokio::test]
async fn a_successor_starts_at_once_and_is_counted() {
    let mut rig = Rig::new("echo $HOMEOSTAT_ATTEMPT >>$D/ledger; exec sleep 1000").await;
    for seq in 1..=5 {
        let pid = rig.start(seq).await;
        eventually("it has written", || rig.ledger().len() == seq as usize);
        kill(pid, Signal::KILL);
        assert_eq!(rig.exited(seq).await, (ExitStatus::Signal { signal: 9 }, false));
    }
    assert_eq!(rig.status().starts, 5);
    assert_eq!(rig.ledger(), ["1-1", "1-2", "1-3", "1-4", "1-5"]);
}

#[tokio::test]
async fn a_stop_is_wanted_and_gentle() {
    let mut rig =
        Rig::new("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done").await;
    rig.start(1).await;
    rig.line("up").await;
    rig.workloads().stop("a").await.expect("stopped");
    assert_eq!(rig.exited(1).await, (ExitStatus::Code { code: 3 }, true));
    assert!(rig.lines.contains(&"bye".to_owned()), "its last line came before its end");
    assert_eq!(rig.status().state, WorkloadState::Stopped);
    rig.workloads().stop("a").await.expect("stopping what does not run");
}

#[tokio::test]
async fn a_stopped_process_can_be_stopped() {
    let mut rig = Rig::new("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done").await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    kill(pid, Signal::STOP);
    rig.workloads().stop("a").await.expect("stopped");
    assert_eq!(rig.exited(1).await, (ExitStatus::Code { code: 0 }, true));
}

#[tokio::test]
async fn no_workload_notices_that_the_daemon_restarts() {
    let mut rig = Rig::new("echo up; exec sleep 1000").await;
    let pid = rig.start(1).await;
    let shim = rig.status().shim_pid;
    for _ in 0..3 {
        rig.open().await;
        let status = rig.status();
        assert_eq!((status.state, status.pid), (WorkloadState::Running, Some(pid)));
        assert_eq!((status.shim_pid, status.attempt), (shim, Some(attempt(1))));
        assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::Running { pid });
    }
    kill(pid, Signal::INT);
    assert_eq!(rig.exited(1).await, (ExitStatus::Signal { signal: 2 }, false));
}

#[tokio::test]
async fn an_end_while_the_daemon_was_away_is_told_once() {
    let mut rig = Rig::new("exec sleep 1000").await;
    let pid = rig.start(1).await;
    rig.workloads = None;
    kill(pid, Signal::HUP);
    eventually("the shim has written it down", || rig.shims().is_empty());

    rig.open().await;
    let observed = Observed::Exited { status: ExitStatus::Signal { signal: 1 } };
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, observed);
    assert_eq!(rig.exited(1).await, (ExitStatus::Signal { signal: 1 }, false));
    let seen = rig.run_file("exit.seen");
    eventually_async("it is marked as told", || seen.exists()).await;

    rig.open().await;
    assert_eq!(rig.status().state, WorkloadState::Exited);
    rig.start(2).await;
    assert!(matches!(rig.event().await, WorkloadEvent::Started { .. }), "not told again");
}

#[tokio::test]
async fn an_attempt_of_an_earlier_boot_has_ended_unseen() {
    let mut rig = Rig::new("exec sleep 1000").await;
    let pid = rig.start(1).await;
    let history = rig.paths.state.join("workloads/a/attempts.json");
    eventually_async("the history is written", || history.exists()).await;
    // A reboot: the process is gone, and so is a run directory in memory.
    rig.workloads = None;
    for shim in rig.shims() {
        kill(shim, Signal::KILL);
    }
    kill(pid, Signal::KILL);
    eventually("it is gone", || !alive(pid));
    std::fs::remove_dir_all(&rig.paths.run).expect("gone");

    rig.open().await;
    assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, false));
    assert_eq!(rig.status().starts, 1);
}

#[tokio::test]
async fn the_environment_is_clean_and_its_own() {
    let mut rig = Rig::with("env; echo done; exec sleep 1000", |config, options| {
        config.env.insert("GREETING".into(), "hello world".into());
        config.env.insert("HOMEOSTAT_ATTEMPT".into(), "forged".into());
        options.shim_failpoint = Some("no.such-point".into());
    })
    .await;
    rig.start(1).await;
    rig.line("done").await;
    let value = |name: &str| {
        let prefix = format!("{name}=");
        rig.lines.iter().find_map(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    assert_eq!(value("GREETING").as_deref(), Some("hello world"));
    assert_eq!(value("HOMEOSTAT_ATTEMPT").as_deref(), Some("1-1"));
    assert_eq!(value("HOMEOSTAT_WORKLOAD").as_deref(), Some("a"));
    assert!(value("PATH").is_some_and(|path| path.contains("/usr/bin")));
    for absent in ["CARGO_MANIFEST_DIR", "HOME", "HOMEOSTAT_FAILPOINT"] {
        assert_eq!(value(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn what_runs_and_is_not_configured_is_named_and_left_alone() {
    let mut rig = Rig::new("exec sleep 1000").await;
    let pid = rig.start(1).await;
    assert_eq!(rig.workloads().strangers(), Vec::<String>::new());
    let taken_out = std::mem::take(&mut rig.configs);
    rig.open().await;
    assert_eq!(rig.workloads().strangers(), ["a"]);
    rig.configs = taken_out;
    rig.open().await;
    assert_eq!(rig.status().pid, Some(pid));
}

#[tokio::test]
async fn the_shims_socket_answers_a_ping_and_survives_nonsense() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;

    let mut rig = Rig::new("echo up; exec sleep 1000").await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let connect = || {
        let stream = UnixStream::connect(rig.run_file("shim.sock")).expect("connected");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("set");
        let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
        let mut hello = String::new();
        reader.read_line(&mut hello).expect("hello");
        assert!(hello.contains(&format!("\"pid\":{pid}")), "{hello}");
        (stream, reader)
    };
    let (mut nonsense, mut answer) = connect();
    nonsense.write_all(b"not json\n").expect("written");
    assert_eq!(answer.read_line(&mut String::new()).expect("read"), 0, "it is let go");
    let (mut endless, mut answer) = connect();
    // It may be let go before it has written all of it.
    let _ = endless.write_all(&[b'x'; 100_000]);
    assert!(matches!(answer.read_line(&mut String::new()), Ok(0) | Err(_)));

    let (mut stream, mut answer) = connect();
    stream.write_all(b"{\"type\":\"ping\"}\n").expect("written");
    let mut pong = String::new();
    answer.read_line(&mut pong).expect("read");
    assert_eq!(pong, "{\"type\":\"pong\"}\n");
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::Running { pid });
}

#[tokio::test]
async fn a_very_long_run_directory_is_no_hindrance() {
    let mut rig = Rig::new("exec sleep 1000").await;
    rig.paths.run = rig.dir.join("x".repeat(120)).join("run");
    std::fs::create_dir_all(&rig.paths.run).expect("made");
    rig.open().await;
    let pid = rig.start(1).await;
    rig.open().await;
    assert_eq!(rig.status().pid, Some(pid));
    assert!(rig.status().shim_pid.is_some());
}

/// As `eventually`, with the daemon's tasks running meanwhile.
async fn eventually_async(what: &str, holds: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while !holds() {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// As when every name look-up of the daemon hangs.
#[test]
fn nothing_of_a_workload_waits_for_a_thread_of_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime");
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        tokio::task::spawn_blocking(move || hangs.recv());
        let rig = Rig::with("echo up; exec sleep 1000", |config, _| {
            config.user = rustix::process::getuid().is_root().then(|| "root".into());
        });
        let mut rig = in_time(rig).await;
        let pid = in_time(rig.start(1)).await;
        rig.line("up").await;
        let shim = rig.status().shim_pid.expect("a shim");
        rig.workloads = None;
        kill(shim, Signal::KILL);
        eventually("it is gone", || !alive(shim));
        in_time(rig.open()).await;
        assert_eq!(rig.status().pid, Some(pid), "adopted");
        let shim = rig.status().shim_pid.expect("another shim");
        kill(shim, Signal::STOP);
        in_time(rig.workloads().stop("a")).await.expect("stopped");
        assert!(!alive(pid));
    });
    drop(release);
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let deadline = std::time::Duration::from_secs(30);
    tokio::time::timeout(deadline, work).await.expect("it does not wait for the thread")
}
