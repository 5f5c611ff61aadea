//! A declared secret reaches its workload and is seen nowhere else, though the
//! workload says it aloud.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use homeostat::model::Event;
use homeostat_tests::plan::path;
use homeostat_tests::process::MARK;
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{PATIENCE, Plan, TestBox, testbox};
use serde_json::json;

const SECRET: &str = "hunter2-\"quoted\"-and-long";
/// Printed by the same workload and declared by nobody: the search finds it.
const OPEN: &str = "open-as-a-barn-door";

fn plan() -> Plan {
    let plan = Plan::bare();
    let file = plan.path().join("token");
    fs::write(&file, format!("{SECRET}\n")).expect("the story's folder can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    // Aloud, again and again, once in one piece and once cut in two.
    let told = plan.path().join("told");
    let script = format!(
        "printf %s \"$TOKEN\" >{}; while :; do echo \"the token is $TOKEN, and $OPEN\"; \
         printf 'cut: %s' \"${{TOKEN%%-*}}\"; printf '%s\\n' \"${{TOKEN#hunter2}}\"; sleep 0.1; done",
        told.display()
    );
    let probe = json!({
        "kind": "command", "name": "tells", "period_ms": 200, "secrets": { "TOKEN": { "file": file } },
        "command": ["/bin/sh", "-c", "echo \"asked with $TOKEN\"; exit 2"],
    });
    let workload = json!({
        "name": "teller", "command": ["/bin/sh", "-c", script], "stop_deadline_ms": 500,
        "env": { MARK: plan.path(), "OPEN": OPEN }, "secrets": { "TOKEN": { "file": file } },
        "probe": [probe],
    });
    let rule = json!({ "name": "told", "line": "the token is", "severity": 2 });
    plan.with(|settings| {
        settings.push("workload", workload);
    })
    .detector("threshold", json!({ "rules": [rule] }))
}

/// Plain files below `dir` that hold `text`.
fn holding(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a file has a kind"));
        if kind.is_dir() {
            found.extend(holding(&path, text));
        } else if kind.is_file() && holds(&fs::read(&path).unwrap_or_default(), text) {
            found.push(path);
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().trim_matches('"').to_owned()
}

/// Argument lists of all processes that hold `text`.
fn in_arguments(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|arguments| holds(arguments, text))
        .map(|arguments| String::from_utf8_lossy(&arguments).replace('\0', " "))
        .collect()
}

fn answers(house: &TestBox) -> String {
    let get = |path: &str| house.client.get(path).expect("it answers").text();
    let incidents: String = house
        .view()
        .incidents
        .iter()
        .map(|incident| get(&format!("/v1/incidents/{}", incident.id)))
        .collect();
    let paths = ["/v1/status", "/v1/events?from=1", "/v1/incidents", "/v1/plugins"];
    paths.map(get).concat() + &incidents
}

#[test]
fn a_declared_secret_is_given_and_never_shown() {
    let mut house = plan().raise_with(&[("HOMEOSTAT_LOG", "debug")]);
    let log = house.folder().join("state/workloads/teller/output.log");
    let marks = "the token is [redacted:TOKEN], and open-as-a-barn-door\n\
                 cut: [redacted:TOKEN]\n";
    wait_until(PATIENCE, "the workload to be heard", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.contains(marks) { Seen::Yes(()) } else { Seen::Not(text) }
    });
    let told = fs::read_to_string(house.folder().join("told")).expect("the workload wrote it");
    assert_eq!(told, SECRET, "it was given");

    house.until_event(0, "a finding that quotes the line", |event| match event {
        Event::FindingRaised { finding, .. } => {
            finding.message.contains("[redacted:TOKEN]").then_some(())
        }
        _ => None,
    });
    let shown =
        testbox::cli(&["config", "show", "--origin", "--config", &path(house.config())], &[]);
    let answers = answers(&house) + &String::from_utf8_lossy(&shown.stdout);
    assert!(answers.contains("[redacted:TOKEN]"), "{answers}");
    assert!(answers.contains(OPEN), "the line was quoted: {answers}");
    for form in [SECRET.to_owned(), quoted(SECRET)] {
        assert!(!answers.contains(&form), "{answers}");
        assert_eq!(in_arguments(&form), Vec::<String>::new());
    }
    house.close();
    for dir in ["state", "run"] {
        for form in [SECRET.to_owned(), quoted(SECRET)] {
            assert_eq!(holding(&house.folder().join(dir), &form), Vec::<PathBuf>::new());
        }
    }
    assert!(!house.log_text().contains(SECRET) && !house.log_text().contains(&quoted(SECRET)));
    // The same search finds what nobody declared.
    assert!(!holding(&house.folder().join("state"), OPEN).is_empty());
}

#[test]
fn a_secret_that_others_can_read_is_none_and_the_daemon_says_so_before_it_starts() {
    let plan = plan();
    let file = plan.path().join("token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let config = path(&plan.write());
    let run = testbox::cli(&["run", "--config", &config], &[]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{said}");
    let place = format!("secret TOKEN of workload:teller: {}", file.display());
    assert!(said.contains(&place) && said.contains("chmod 600"), "{said}");
    assert!(said.contains("secret TOKEN of probe tells of workload:teller"), "all at once: {said}");
    assert!(!plan.path().join("state").exists(), "nothing was touched");

    // Whoever may not read it can still ask the daemon, and check the file.
    let check = testbox::cli(&["config", "check", &config], &[]);
    assert!(check.status.success(), "{check:?}");
    let doctor = testbox::cli(&["doctor", "--config", &config], &[]);
    let said = String::from_utf8_lossy(&doctor.stdout);
    assert!(said.contains("cannot  secret TOKEN"), "{said}");
}
