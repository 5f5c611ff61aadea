//! What a service manager is told by a real daemon, and what nobody else is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use homeostat_tests::notify::Notify;
use homeostat_tests::plan::path;
use homeostat_tests::{PATIENCE, Plan, TestBox, program, skip};
use model_server::fault::Fault;

/// Fed at half of it.
const WATCHDOG: Duration = Duration::from_secs(1);

fn raise(plan: Plan, notify: &Notify, more: &[(&str, &str)]) -> TestBox {
    let usec = WATCHDOG.as_micros().to_string();
    let mut env = vec![("NOTIFY_SOCKET", notify.name.as_str()), ("WATCHDOG_USEC", &usec)];
    env.extend(more);
    plan.raise_with(&env)
}

fn fed(all: &[String]) -> usize {
    all.iter().filter(|text| *text == "WATCHDOG=1").count()
}

fn at(all: &[String], start: &str) -> Option<usize> {
    all.iter().position(|text| text.starts_with(start))
}

fn lives_and_stops(plan: Plan, notify: &Notify) {
    let mut house = raise(plan, notify, &[]);
    let mut all = Vec::new();
    notify.until(&mut all, PATIENCE, "readiness, a status and a watchdog that is fed", |all| {
        at(all, "READY=1").is_some() && at(all, "STATUS=mode enforce").is_some() && fed(all) >= 3
    });
    assert!(at(&all, "STOPPING=1").is_none(), "{all:#?}");
    house.close();
    notify
        .until(&mut all, PATIENCE, "the word that it stops", |all| at(all, "STOPPING=1").is_some());
    assert_eq!(at(&all, "STOPPING=1"), Some(all.len() - 1), "it is the last word: {all:#?}");
}

#[test]
fn systemd_is_told_that_the_box_is_ready_that_it_goes_round_and_that_it_stops() {
    let plan = Plan::usual();
    let notify = Notify::at(&plan.path().join("notify"));
    lives_and_stops(plan, &notify);
}

#[test]
fn a_socket_of_the_abstract_namespace_is_told_as_well() {
    let plan = Plan::bare();
    let name = format!("homeostat-{}", plan.path().display());
    lives_and_stops(plan, &Notify::abstract_at(&name));
}

#[test]
fn a_driver_that_stands_still_feeds_no_watchdog() {
    let plan = Plan::usual();
    let notify = Notify::at(&plan.path().join("notify"));
    let stall = [("HOMEOSTAT_FAILPOINT", "driver.incident-opened:stall")];
    let mut house = raise(plan, &notify, &stall);
    house.until_watched("digits");
    let mut all = Vec::new();
    notify.until(&mut all, PATIENCE, "a watchdog that is fed", |all| fed(all) >= 3);
    house.server("digits").breaks(Fault::Crash);

    // Silent for twice the time after which systemd would kill it.
    let (mut since, mut count) = (Instant::now(), fed(&all));
    notify.until(&mut all, PATIENCE, "a watchdog that is fed no more", |all| {
        if fed(all) != count {
            (since, count) = (Instant::now(), fed(all));
        }
        since.elapsed() >= WATCHDOG * 2
    });
    assert!(house.log_text().contains("standing still"), "{}", house.log_text());
    assert!(house.daemon().ended().is_none(), "it is silent, and not gone");
    house.kill_daemon();
    house.start(&[]);
}

/// `NAME=value` of a process, as the kernel keeps them.
fn environment(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).expect("our own process can be read");
    bytes.split(|byte| *byte == 0).map(|it| String::from_utf8_lossy(it).into_owned()).collect()
}

#[test]
fn nothing_that_the_daemon_starts_can_speak_in_its_name() {
    let plan = Plan::usual();
    let notify = Notify::at(&plan.path().join("notify"));
    let house = raise(plan, &notify, &[]);
    let pid = house.until_serving("digits");
    let shim = house.workload("digits").shim_pid.expect("a running workload has a shim");
    for (who, pid) in [("the workload", pid), ("its shim", shim)] {
        let environment = environment(pid);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_"] {
            let found = environment.iter().find(|it| it.starts_with(name));
            assert_eq!(found, None, "{who} was given it");
        }
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/homeostat.service");
    let text = fs::read_to_string(unit).expect("the unit is part of the tree");
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        "KillMode=process",
        "Delegate=yes",
        "OOMPolicy=continue",
        "Restart=always",
        "RuntimeDirectoryPreserve=yes",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is promised and not there");
    }
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        return skip::note("no systemd-analyze to verify the unit with");
    };
    // It looks whether the program is there: on this machine it lies elsewhere.
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let copy = folder.path().join("homeostat.service");
    let here = path(&program::program("homeostat"));
    let text = text.replace("/usr/bin/homeostat", &here);
    fs::write(&copy, text).expect("the folder can be written");
    let run = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
    let run = run.expect("it just ran");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    // Known from 254 on, and passed over before; the unit says so.
    let complaints: Vec<_> =
        said.lines().filter(|line| !line.contains("'DelegateSubgroup'")).collect();
    assert!(complaints.is_empty(), "{} {complaints:#?}", String::from_utf8_lossy(&version.stdout));
}
