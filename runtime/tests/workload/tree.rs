//! The whole tree: what forks, hides and will not go.

use homeostat::model::ExitStatus;
use homeostat::workload::WorkloadError;
use rustix::process::Signal;

use crate::rig::{Rig, alive, attempt, eventually, kill};

/// Children and grandchildren that ignore SIGTERM, one of them a daemon with a
/// session of its own and a parent that is gone.
const FAMILY: &str = "trap '' TERM
    (trap '' TERM; sleep 1000; :) &
    (trap '' TERM; (sleep 1000; :) & sleep 1000; :) &
    setsid sh -c 'trap \"\" TERM; (sleep 1000; :) & exit' </dev/null
    echo up
    while :; do sleep 1000; done";

#[tokio::test]
async fn what_ignores_sigterm_is_killed_whole() {
    let mut rig = Rig::with(FAMILY, |config, _| config.stop_deadline_ms = 200).await;
    stop_family(&mut rig).await;
}

#[tokio::test]
async fn without_a_cgroup_the_process_table_finds_them() {
    let mut rig = Rig::with(FAMILY, |config, options| {
        config.stop_deadline_ms = 200;
        options.cgroup_home = Err("a test wants none".into());
    })
    .await;
    stop_family(&mut rig).await;
    assert_eq!(rig.status().cgroup, None);
}

async fn stop_family(rig: &mut Rig) {
    rig.start(1).await;
    rig.line("up").await;
    if rig.options.cgroup_home.is_err() {
        assert!(rig.status().detail.contains("a test wants none"), "{}", rig.status().detail);
    }
    eventually("the whole family is there", || rig.members().len() >= 5);
    let begun = std::time::Instant::now();
    rig.workloads().stop("a").await.expect("stopped");
    assert!(begun.elapsed().as_millis() >= 200, "it had its deadline");
    assert_eq!(rig.members(), Vec::<u32>::new());
    assert_eq!(rig.exited(1).await, (ExitStatus::Signal { signal: 9 }, true));
}

#[tokio::test]
async fn the_rest_goes_with_the_main_process() {
    for cgroup in [true, false] {
        let family = format!("{FAMILY} & sleep 0.2; exit 4");
        let family = family.replace("trap '' TERM\n", "");
        let mut rig = Rig::with(&family, |_, options| {
            if !cgroup {
                options.cgroup_home = Err("a test wants none".into());
            }
        })
        .await;
        rig.start(1).await;
        assert_eq!(rig.exited(1).await, (ExitStatus::Code { code: 4 }, false));
        assert_eq!(rig.members(), Vec::<u32>::new());
        assert!(rig.lines.contains(&"up".to_owned()));
    }
}

#[tokio::test]
async fn a_stray_process_of_an_earlier_attempt_forbids_a_start_until_it_is_stopped() {
    let mut rig = Rig::new("echo up; exec sleep 1000").await;
    let stray = std::process::Command::new("/bin/sleep")
        .arg("1000")
        .env("HOMEOSTAT_WORKLOAD", "a")
        .env("HOMEOSTAT_RUN", &rig.paths.run)
        .spawn();
    let mut stray = stray.expect("a stray");
    let refused = rig.workloads().start("a", attempt(1)).await.expect_err("refused");
    assert!(
        matches!(&refused, WorkloadError::StillAlive { found, .. } if found.contains(&stray.id().to_string())),
        "{refused}"
    );
    rig.workloads().stop("a").await.expect("swept");
    stray.wait().expect("it was killed");
    rig.start(1).await;
    rig.line("up").await;
}

#[tokio::test]
async fn a_stranger_that_carries_the_brand_hinders_no_start_and_is_left_alone() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become somebody else");
        return;
    }
    let mut rig = Rig::with("echo up; exec sleep 1000", |config, _| {
        config.user = Some("daemon".into());
    })
    .await;
    // `daemon` is user 1, and nobody here is user 64000.
    let mut stranger = branded(&rig, 64_000);
    rig.start(1).await;
    rig.line("up").await;
    rig.workloads().stop("a").await.expect("stopped");
    // Its own user is believed.
    let mut stray = branded(&rig, 1);
    let refused = rig.workloads().start("a", attempt(2)).await.expect_err("refused");
    assert!(refused.to_string().contains(&stray.id().to_string()), "{refused}");
    rig.open().await;
    rig.workloads().stop("a").await.expect("swept");
    stray.wait().expect("it was killed");
    assert!(alive(stranger.id()));
    stranger.kill().expect("killed");
    stranger.wait().expect("gone");
}

fn branded(rig: &Rig, user: u32) -> std::process::Child {
    use std::os::unix::process::CommandExt;
    let mut sleep = std::process::Command::new("/bin/sleep");
    sleep.arg("1000").env("HOMEOSTAT_WORKLOAD", "a").env("HOMEOSTAT_RUN", &rig.paths.run);
    sleep.uid(user).spawn().expect("a process")
}

#[tokio::test]
async fn a_hanging_shim_hinders_no_stop() {
    let mut rig = Rig::new("echo up; exec sleep 1000").await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    let shim = rig.status().shim_pid.expect("a shim");
    kill(shim, Signal::STOP);
    rig.workloads().stop("a").await.expect("stopped");
    assert!(!alive(pid));
    assert!(rig.exited(1).await.1, "it was wanted");
    eventually("the hanging shim is gone", || !alive(shim));
}

#[tokio::test]
async fn a_hanging_shim_hides_no_death() {
    let mut rig = Rig::new("echo up; exec sleep 1000").await;
    let pid = rig.start(1).await;
    rig.line("up").await;
    kill(rig.status().shim_pid.expect("a shim"), Signal::STOP);
    kill(pid, Signal::KILL);
    assert_eq!(rig.exited(1).await, (ExitStatus::Unknown, false));
}

#[tokio::test]
async fn limits_hold_in_the_workload() {
    let mut rig = Rig::with(
        "ulimit -n; ulimit -c; cat /proc/self/limits; echo end; sleep 1000",
        |config, _| {
            config.limits.open_files_max = Some(77);
            config.limits.core_max_bytes = Some(0);
            config.limits.memory_max_bytes = Some(512 << 20);
        },
    )
    .await;
    rig.start(1).await;
    rig.line("end").await;
    assert_eq!(rig.lines[..2], ["77", "0"]);
    let cgroup = rig.status().cgroup;
    let controlled = cgroup.is_some_and(|dir| {
        std::fs::read_to_string(dir.join("memory.max")).is_ok_and(|max| max.trim() == "536870912")
    });
    let limited = rig
        .lines
        .iter()
        .any(|line| line.starts_with("Max data size") && line.contains("536870912"));
    assert!(controlled || limited, "{:?}", rig.lines);
    assert_eq!(limited, rig.status().detail.contains("no memory controller"));
}

#[tokio::test]
async fn it_runs_as_its_user() {
    if !rustix::process::getuid().is_root() {
        eprintln!("only root can become somebody else");
        return;
    }
    let mut rig = Rig::with(
        "id -un; id -G; pwd; echo $HOME; echo to stdout >/dev/stdout; echo end; sleep 1000",
        |config, _| {
            config.user = Some("daemon".into());
            config.dir = Some("/usr".into());
        },
    )
    .await;
    rig.start(1).await;
    rig.line("end").await;
    assert_eq!(rig.lines[0], "daemon");
    assert_eq!(rig.lines[1], "1", "none of root's groups");
    assert_eq!(rig.lines[2], "/usr");
    assert_eq!(rig.lines[4], "to stdout", "it may open its own output again");
}
