//! What the box reads of a device reaches a detector: a link, a sensor.

use std::fs;

use homeostat::model::{Event, Finding};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox};
use serde_json::json;

fn until_raised(house: &TestBox, after: u64, kind: &str) -> Finding {
    let raised = house.until_event(after, kind, |event| match event {
        Event::FindingRaised { finding, .. } if finding.kind == kind => Some(finding.clone()),
        _ => None,
    });
    raised.1
}

#[test]
fn a_link_that_loses_its_carrier_is_ill_until_it_has_one_again() {
    let down = json!({ "name": "down", "series": "hw.network.up", "op": "<", "raise": 0.5 });
    let plan = Plan::bare().detector("threshold", json!({ "rules": [down] }));
    let sys = plan.path().join("sys");
    let carrier = sys.join("class/net/eth0/carrier");
    fs::create_dir_all(carrier.parent().expect("it has one")).expect("a folder can be made");
    let set = |carrying: &str| {
        let fresh = carrier.with_extension("new");
        fs::write(&fresh, carrying).expect("the story's folder can be written");
        fs::rename(&fresh, &carrier).expect("it can be renamed");
    };
    set("1\n");
    let house = plan
        .with(|settings| {
            settings.set("source.sys_root", path(&sys)).push("link", json!({ "name": "eth0" }));
        })
        .raise();
    house.until_view("the detector at work", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "threshold")?;
        (found.calls > 3).then_some(())
    });
    assert!(house.view().findings.is_empty(), "{:?}", house.view().findings);
    let before = house.now();
    set("0\n");
    let finding = until_raised(&house, before, "threshold.down");
    assert_eq!(finding.target.as_str(), "link:eth0");
    set("1\n");
    house.until_event(before, "the end of the finding", |event| {
        matches!(event, Event::FindingCleared { kind, .. } if kind == "threshold.down")
            .then_some(())
    });
    house.check();
}

#[test]
fn a_number_that_a_command_writes_raises_a_finding() {
    let high = json!({ "name": "high", "series": "sensor.pressure", "op": ">", "raise": 6 });
    let plan = Plan::bare().detector("threshold", json!({ "rules": [high] }));
    let pressure = plan.path().join("pressure");
    fs::write(&pressure, r#"{ "bar": "7.5" }"#).expect("the story's folder can be written");
    let house = plan
        .with(|settings| {
            let command = json!({
                "name": "pressure", "unit": "bar", "kind": "command", "period_ms": 100,
                "command": ["/bin/cat", path(&pressure)], "pointer": "/bar", "timeout_s": 20,
            });
            settings.push("sensor", command);
        })
        .raise();
    let finding = until_raised(&house, 0, "threshold.high");
    assert!(finding.message.contains("is 7.5 bar"), "{}", finding.message);
    house.check();
}
