//! `homeostat doctor` on this very machine, with the programs and packages that
//! are shipped: for root, and for a user who may do nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use homeostat_tests::plan::path;
use homeostat_tests::process::is_root;
use homeostat_tests::{Plan, program, skip, testbox, user};
use serde_json::{Value, json};

/// Verdict and words of each check.
pub fn told(run: &Output) -> BTreeMap<String, (String, String)> {
    let said: Value = serde_json::from_slice(&run.stdout).unwrap_or_else(|error| {
        panic!("--json says JSON: {error}; {}", String::from_utf8_lossy(&run.stderr))
    });
    let text = |check: &Value, key: &str| check[key].as_str().expect("a text").to_owned();
    let checks = said["checks"].as_array().expect("a list of checks");
    for check in checks.iter().filter(|check| check["verdict"] != "ok") {
        assert!(!text(check, "costs").is_empty() && !text(check, "remedy").is_empty(), "{check}");
    }
    let entry =
        |check: &Value| (text(check, "name"), (text(check, "verdict"), text(check, "found")));
    checks.iter().map(entry).collect()
}

#[track_caller]
pub fn expect(told: &BTreeMap<String, (String, String)>, name: &str, verdict: &str) {
    let found = told.get(name).unwrap_or_else(|| panic!("no check {name:?} in {told:#?}"));
    assert_eq!(found.0, verdict, "{name}: {found:?}");
}

fn doctor(config: &Path) -> Output {
    testbox::cli(&["doctor", "--json", "--config", &path(config)], &[])
}

#[test]
fn a_box_that_can_run_what_its_file_says_is_told_so_without_a_daemon() {
    let plan = Plan::usual();
    let run = doctor(&plan.write());
    let told = told(&run);
    for name in ["configuration", "state", "run", "boot id", "pidfd"] {
        expect(&told, name, "ok");
    }
    for name in ["homeostat-shim", "homeostat-compile", "plugin liveness", "plugin ladder"] {
        expect(&told, name, "ok");
    }
    let publisher = &program::index().publisher.name;
    assert!(told["plugin liveness"].1.contains(publisher.as_str()), "{told:#?}");
    assert_eq!(run.status.code(), Some(0), "{told:#?}");
    assert!(!plan.path().join("state").exists(), "a look makes nothing");
}

#[test]
fn a_package_that_the_box_did_not_admit_and_a_key_that_it_does_not_know_are_impossible() {
    let other = Plan::usual().with(|settings| {
        let digest = format!("sha256:{}", "0".repeat(64));
        settings.named("plugin", "liveness").insert("digest".into(), digest.into());
        let missing = "/nowhere/ladder.plugin";
        settings.named("plugin", "ladder").insert("package".into(), missing.into());
    });
    let run = doctor(&other.write());
    let found = told(&run);
    expect(&found, "plugin liveness", "cannot");
    expect(&found, "plugin ladder", "cannot");
    assert!(found["plugin ladder"].1.contains("/nowhere/ladder.plugin"), "{found:#?}");
    assert_eq!(run.status.code(), Some(4));

    let stranger = Plan::usual().with(|settings| {
        settings.set("trust.publishers", json!([]));
    });
    let run = doctor(&stranger.write());
    expect(&told(&run), "plugin liveness", "cannot");
    assert_eq!(run.status.code(), Some(4));
}

#[test]
fn an_ordinary_user_is_told_what_it_loses() {
    let plan = Plan::usual().with(|settings| {
        settings.named("workload", "digits").insert("user".into(), "root".into());
    });
    let config = plan.write();
    // The file may be read by anybody, and the folder written by its owner alone.
    fs::set_permissions(plan.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let mut command = match user::command(&program::program("homeostat")) {
        Ok(command) => command,
        Err(why) => return skip::note(why),
    };
    let run = command.args(["doctor", "--json", "--config"]).arg(&config).output();
    let run = run.expect("the doctor can be started");
    let told = told(&run);
    expect(&told, "configuration", "ok");
    // It cannot become root, and the file says that digits shall be.
    expect(&told, "user", "cannot");
    assert!(told["user"].1.contains("CAP_SETUID"), "{told:#?}");
    if is_root() {
        expect(&told, "state", "cannot");
        expect(&told, "cgroup", "lacks");
    }
    expect(&told, "homeostat-shim", "ok");
    assert_eq!(run.status.code(), Some(4));
}
