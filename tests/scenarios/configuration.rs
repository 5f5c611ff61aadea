//! A configuration that is wrong is said to be, all of it at once, before
//! anything is started.

use std::fs;

use homeostat::model::Event;
use homeostat_tests::plan::path;
use homeostat_tests::settings::Settings;
use homeostat_tests::testbox::cli;
use homeostat_tests::{Plan, TestBox, wait};
use model_server::fault::Fault;
use serde_json::{Value, json};

#[test]
fn every_mistake_is_named_at_once_with_its_line_and_a_hint() {
    let plan = Plan::usual();
    let good = plan.write();
    let text = fs::read_to_string(&good).expect("it was just written");
    let bad = text
        .replace("mode = \"enforce\"", "mode = \"enforced\"")
        .replace("hold_ms", "holds_ms")
        .replace("start_grace_ms = 10000", "start_grace_ms = \"long\"");
    fs::write(&good, &bad).expect("the story's folder can be written");

    let run = cli(&["config", "check", &path(&good), "--json"], &[]);
    assert!(!run.status.success());
    let said: Value = serde_json::from_slice(&run.stdout).expect("--json says JSON");
    let mistakes = said["mistakes"].as_array().expect("a list of mistakes");
    for (word, hint) in [("enforced", "enforce"), ("holds_ms", "hold_ms"), ("long", "")] {
        let found = mistakes.iter().find(|mistake| mistake["found"].to_string().contains(word));
        let mistake = found.unwrap_or_else(|| panic!("{word:?} is not named in {said:#}"));
        let line = mistake["line"].as_u64().expect("a mistake has a line");
        let typed = bad.lines().nth(usize::try_from(line).expect("a short file") - 1);
        assert!(typed.is_some_and(|typed| typed.contains(word)), "{mistake} on {typed:?}");
        assert!(mistake["hint"].to_string().contains(hint), "{mistake}");
    }
}

#[test]
fn the_daemon_refuses_to_start_on_a_bad_configuration_and_says_why() {
    let plan = Plan::usual().with(|settings| {
        settings.set("box.mode", "enforced");
    });
    let file = plan.write();
    let run = cli(&["run", "--config", &path(&file)], &[]);
    assert!(!run.status.success());
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("enforced") && said.contains(&path(&file)), "{said}");
    assert!(!plan.path().join("state").exists(), "nothing was touched");
}

#[test]
fn a_missing_configuration_is_named() {
    let plan = Plan::bare();
    let missing = path(&plan.path().join("nowhere.toml"));
    let run = cli(&["run", "--config", &missing], &[]);
    assert!(!run.status.success());
    assert!(String::from_utf8_lossy(&run.stderr).contains(&missing), "{run:?}");
}

#[test]
fn a_second_daemon_on_the_same_state_is_refused() {
    let house = Plan::bare().raise();
    let run = cli(&["run", "--config", &path(house.config())], &[]);
    assert!(!run.status.success());
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains(&path(&house.folder().join("state"))), "{said}");
    house.view();
}

#[test]
fn a_missing_package_is_named_and_costs_only_its_plugin() {
    let house = Plan::usual()
        .with(|settings| {
            settings.named("plugin", "liveness").insert("package".into(), "/nowhere.plugin".into());
        })
        .raise();
    house.until_view("the refusal", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "liveness")?;
        found.detail.contains("/nowhere.plugin").then_some(())
    });
    house.until_serving("digits");
    wait::stays(std::time::Duration::from_secs(1), "the daemon lives", || {
        house.client.view().map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn what_was_stuck_under_one_configuration_is_looked_at_anew_under_the_next() {
    let grants = |settings: &mut Settings, grants: &[&str]| {
        settings.named("plugin", "ladder").insert("grants".into(), json!(grants));
    };
    let mut house = Plan::usual().with(|settings| grants(settings, &["notify"])).raise();
    let pid = house.until_watched("digits");
    // It runs and is ill: nothing but a person, or another file, moves it on.
    let before = house.now();
    house.server("digits").breaks(Fault::NotReady);
    let (stuck, id) = house.until_event(before, "the incident to be stuck", |event| match event {
        Event::IncidentStuck { incident, .. } => Some(*incident),
        _ => None,
    });

    let reopened = |house: &TestBox| {
        let mut records = house.events().into_iter().filter(|record| record.seq > stuck);
        records.any(
            |it| matches!(it.event, Event::IncidentReopened { incident, .. } if incident == id),
        )
    };
    house.stop_daemon();
    house.start(&[]);
    house.until_looked("liveness");
    assert!(!reopened(&house), "the same file says the same");

    house.stop_daemon();
    house.configure(|settings| grants(settings, &["workload.restart"]));
    house.start(&[]);
    house.until_another_serves("digits", pid);
    house.until_quiet();
    assert!(reopened(&house));
    house.check();
}
