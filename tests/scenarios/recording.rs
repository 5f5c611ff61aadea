//! What happened is written down, and played to the plugin that judged it.

use std::fs;
use std::path::Path;
use std::process::Output;

use homeostat_tests::{Plan, TestBox, program};
use model_server::fault::Fault;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}

fn replay(house: &TestBox, recording: &Path, more: &[&str]) -> Output {
    let config = house.folder().join("liveness.json");
    fs::write(&config, "{}").expect("the story's folder can be written");
    let plugin = &program::packaged("liveness").package;
    let args = [
        "plugin",
        "replay",
        path(recording),
        "--plugin",
        path(plugin),
        "--plugin-config",
        path(&config),
    ];
    house.cli(&[&args, more].concat())
}

#[test]
fn what_led_to_an_incident_is_played_again_and_says_the_same_each_time() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    let incident = house.until_healed("digits", before).to_string();

    let told = house.does(&["explain", &incident]);
    let recording = house.folder().join("what-led-to-it.rec");
    assert!(told.contains(&format!("homeostat record --incident {incident}")), "{told}");
    let said = house.does(&["record", "--incident", &incident, "--out", path(&recording)]);
    assert!(said.contains(" frames of "), "{said}");

    let golden = house.folder().join("golden.jsonl");
    let played = replay(&house, &recording, &["--bless", path(&golden)]);
    let (out, err) = (text(&played.stdout), text(&played.stderr));
    assert!(played.status.success(), "{err}");
    assert!(out.contains("raised ") && out.contains("of workload:digits"), "{out}{err}");
    // To the last bit.
    let again = replay(&house, &recording, &["--expect", path(&golden)]);
    assert!(again.status.success(), "{}", text(&again.stderr));

    // A plugin that said something else would be told apart, finding by finding.
    let altered = fs::read_to_string(&golden).expect("it was written");
    let altered = altered
        .replace("\"severity\":2", "\"severity\":1")
        .replace("\"severity\":3", "\"severity\":2");
    fs::write(&golden, altered).expect("it can be written");
    let other = replay(&house, &recording, &["--expect", path(&golden)]);
    let err = text(&other.stderr);
    assert!(!other.status.success() && err.contains("severity: wanted"), "{err}");
    house.check();
}

#[test]
fn a_recording_goes_on_for_as_long_as_it_was_told_and_never_over_an_older_one() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    let file = house.folder().join("live.rec");
    let selector = "homeostat.probe.*@workload:digits";
    let live = ["record", "--series", selector, "--for", "3s", "--out", path(&file), "--json"];
    let said: serde_json::Value =
        serde_json::from_str(&house.does(&live)).expect("--json answers JSON");
    assert!(said["frames"].as_u64().is_some_and(|it| (1..=4).contains(&it)), "{said}");
    let written = fs::read_to_string(&file).expect("it was written");
    assert_eq!(written.lines().count() as u64, said["frames"].as_u64().unwrap_or(0) + 1);

    let again = house.cli(&live);
    let err = text(&again.stderr);
    assert!(again.status.code() == Some(1) && err.contains("not there yet"), "{err}");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), written);

    let none = house.folder().join("none.rec");
    let output = house.cli(&["record", "--series", "no such & é", "--out", path(&none)]);
    let err = text(&output.stderr);
    assert!(output.status.code() == Some(1) && err.contains("no series of this box"), "{err}");
    assert!(!none.exists());
}
