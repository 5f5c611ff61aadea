//! Checks that others wrote for Nagios, run unchanged: their exit codes are the
//! probe's, and what they measure is a series.

use std::net::TcpListener;

use homeostat::model::Event;
use homeostat_tests::{Plan, TestBox, skip};
use serde_json::{Value, json};

const CHECKS: &str = "/usr/lib/nagios/plugins";

fn check(name: &str, args: &[&str]) -> Option<Value> {
    let program = format!("{CHECKS}/{name}");
    if !std::path::Path::new(&program).exists() {
        skip::note("monitoring-plugins-basic is not installed");
        return None;
    }
    let words = std::iter::once(program.as_str()).chain(args.iter().copied());
    Some(words.collect::<Vec<_>>().into())
}

#[track_caller]
fn until_raised(house: &TestBox, after: u64, kind: &str) -> u64 {
    let (seq, ()) = house.until_event(after, kind, |event| match event {
        Event::FindingRaised { finding, .. } => (finding.kind == kind).then_some(()),
        _ => None,
    });
    seq
}

#[test]
fn check_tcp_tells_when_a_service_is_away_and_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    let port = address.port().to_string();
    let Some(command) = check("check_tcp", &["-H", "127.0.0.1", "-p", &port, "-t", "2"]) else {
        return;
    };
    let slow = json!({
        "name": "timed", "series": "homeostat.probe.perfdata", "labels": { "label": "time" },
        "op": ">=", "raise": 0.0, "target": "external:*", "severity": 1,
    });
    let house =
        Plan::bare()
            .detector("liveness", json!({}))
            .detector("threshold", json!({ "rules": [slow] }))
            .with(|settings| {
                settings.push("external", json!({
                "name": "camera",
                "probe": [{
                    "kind": "command", "command": command, "period_ms": 200, "timeout_ms": 4000,
                    "perfdata": ["time"],
                }],
            }));
            })
            .raise();
    let timed = until_raised(&house, 0, "threshold.timed");
    drop(listener);
    let away = until_raised(&house, timed, "external.failing");
    let _back = TcpListener::bind(address).expect("the port is free again");
    house.until_event(away, "it to be back", |event| match event {
        Event::FindingCleared { kind, .. } => (kind == "external.failing").then_some(()),
        _ => None,
    });
    house.check();
}

#[test]
fn check_procs_counts_the_processes_of_a_workload() {
    let Some(command) = check("check_procs", &["-C", "model-server", "-w", "1:", "-c", "1:"])
    else {
        return;
    };
    let house = Plan::bare()
        .server_with("digits", |workload| {
            workload["probe"].as_array_mut().expect("it has probes").push(json!({
                "name": "there", "kind": "command", "command": command, "period_ms": 500,
                "timeout_ms": 4000, "perfdata": ["procs"],
            }));
        })
        .detector("liveness", json!({}))
        .detector("threshold", json!({ "rules": [{
            "name": "counted", "series": "homeostat.probe.perfdata", "labels": { "label": "procs" },
            "op": ">=", "raise": 1.0, "target": "workload:*", "severity": 1,
        }]}))
        .raise();
    house.until_serving("digits");
    until_raised(&house, 0, "threshold.counted");
    let records = house.check();
    let failing = records.iter().any(|it| {
        matches!(&it.event, Event::FindingRaised { finding, .. } if finding.kind == "probe.failing")
    });
    assert!(!failing, "it is there");
}
