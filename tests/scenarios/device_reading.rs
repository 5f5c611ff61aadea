//! What the box reads of a device reaches a detector: a link, a sensor.

use std::fs;

use homeostat::model::Event;
use homeostat_tests::Plan;
use homeostat_tests::link::Link;
use homeostat_tests::plan::path;
use serde_json::json;

#[test]
fn a_link_that_loses_its_carrier_is_ill_until_it_has_one_again() {
    let down = json!({ "name": "down", "series": "hw.network.up", "op": "<", "raise": 0.5 });
    let plan = Plan::bare().detector("threshold", json!({ "rules": [down] }));
    let (link, plan) = Link::on(plan, "eth0");
    let house = plan.raise();
    house.until_looked("threshold");
    assert!(house.view().findings.is_empty(), "{:?}", house.view().findings);
    let before = house.now();
    link.loses_its_carrier();
    let finding = house.until_raised(before, "threshold.down");
    assert_eq!(finding.target.as_str(), "link:eth0");
    link.has_its_carrier_again();
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
    let finding = house.until_raised(0, "threshold.high");
    assert!(finding.message.contains("is 7.5 bar"), "{}", finding.message);
    house.check();
}
