//! What cannot be started, and how it is said.

use homeostat::model::view::WorkloadState;
use homeostat::workload::{Observed, WorkloadError};

use crate::rig::{Rig, attempt};

async fn refusal(
    adjust: impl FnOnce(&mut homeostat::config::WorkloadConfig),
) -> (WorkloadError, Rig) {
    let rig = Rig::with("exec sleep 1000", |config, _| adjust(config)).await;
    let refused = rig.workloads().start("a", attempt(1)).await.expect_err("refused");
    assert_eq!(rig.status().state, WorkloadState::Stopped, "{refused}");
    assert_eq!(rig.status().starts, 0);
    assert_eq!(rig.workloads().observe("a", attempt(1)).await, Observed::NeverStarted);
    (refused, rig)
}

#[tokio::test]
async fn a_missing_program_is_an_error_of_start() {
    let (refused, mut rig) =
        refusal(|config| config.command = vec!["/no/such/program".into()]).await;
    assert!(matches!(refused, WorkloadError::Program { .. }), "{refused}");
    assert!(refused.to_string().contains("/no/such/program"), "{refused}");

    // Nothing was executed, so the same attempt may be made once the cause is gone.
    rig.configs[0].command = vec!["/bin/sleep".into(), "1000".into()];
    rig.open().await;
    rig.start(1).await;
}

#[tokio::test]
async fn a_script_without_its_interpreter_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("script");
    std::fs::write(&path, "#!/no/such/interpreter\n").expect("w");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let program = path.display().to_string();
    let (refused, _rig) = refusal(move |config| config.command = vec![program]).await;
    assert!(refused.to_string().contains("interpreter"), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_program_is_an_error_of_start() {
    let (refused, _rig) = refusal(|config| config.command = vec!["/etc/passwd".into()]).await;
    assert!(matches!(refused, WorkloadError::Program { .. }), "{refused}");
    assert!(refused.to_string().contains("Permission denied"), "{refused}");
}

#[tokio::test]
async fn a_missing_directory_is_an_error_of_start() {
    let (refused, _rig) = refusal(|config| config.dir = Some("/no/such/dir".into())).await;
    assert!(matches!(refused, WorkloadError::Directory { .. }), "{refused}");
    assert!(refused.to_string().contains("/no/such/dir"), "{refused}");
}

#[tokio::test]
async fn an_unknown_user_is_an_error_of_start() {
    let (refused, _rig) = refusal(|config| config.user = Some("nobody-of-that-name".into())).await;
    assert!(matches!(refused, WorkloadError::UnknownUser { .. }), "{refused}");
}

#[tokio::test]
async fn a_missing_shim_is_an_error_of_start() {
    let mut rig = Rig::new("exec sleep 1000").await;
    rig.paths.programs = "/no/such/folder".into();
    rig.open().await;
    let refused = rig.workloads().start("a", attempt(1)).await.expect_err("refused");
    assert!(refused.to_string().contains("/no/such/folder/homeostat-shim"), "{refused}");
}

#[tokio::test]
async fn what_runs_is_not_started_again_and_no_attempt_twice() {
    let mut rig = Rig::new("exec sleep 1000").await;
    let pid = rig.start(1).await;
    let refused = rig.workloads().start("a", attempt(2)).await.expect_err("refused");
    assert!(matches!(refused, WorkloadError::AlreadyRunning { pid: found, .. } if found == pid));
    rig.workloads().stop("a").await.expect("stopped");
    rig.start(3).await;
    rig.workloads().stop("a").await.expect("stopped");
    for _ in 0..2 {
        for seq in [1, 3] {
            let refused = rig.workloads().start("a", attempt(seq)).await.expect_err("refused");
            assert!(matches!(refused, WorkloadError::AttemptUsed { .. }), "{refused}");
        }
        rig.open().await;
    }
    let refused = rig.workloads().start("b", attempt(9)).await.expect_err("refused");
    assert!(matches!(refused, WorkloadError::NoSuchWorkload { known, .. } if known == "a"));
}

#[tokio::test]
async fn a_lost_history_makes_no_attempt_new() {
    let mut rig = Rig::new("exec sleep 1000").await;
    for seq in 1..=3 {
        rig.start(seq).await;
        rig.workloads().stop("a").await.expect("stopped");
    }
    rig.workloads = None;
    rig.paths.state = rig.dir.join("another state");
    rig.open().await;
    for seq in 1..=3 {
        let observed = rig.workloads().observe("a", attempt(seq)).await;
        assert!(matches!(observed, Observed::Exited { .. }), "{observed:?}");
        let refused = rig.workloads().start("a", attempt(seq)).await.expect_err("refused");
        assert!(matches!(refused, WorkloadError::AttemptUsed { .. }), "{refused}");
    }
    rig.start(4).await;
}

#[tokio::test]
async fn a_name_that_is_no_directory_is_refused() {
    let mut rig = Rig::new("exec sleep 1000").await;
    rig.configs[0].name = "../a".into();
    let (sender, _events) = tokio::sync::mpsc::channel(1);
    let clock = homeostat::clock::Clock::resume(Default::default(), "boot", 0);
    let opened =
        homeostat::workload::Workloads::open(rig.configs.clone(), &rig.paths, clock, sender);
    assert!(matches!(opened.await, Err(WorkloadError::BadName { .. })));
}
