use homeostat_sdk::testkit::{FrameMaker, Session, frame, golden, refusal, resumable, series};
use homeostat_sdk::{ERROR, WARNING};
use serde_json::{Value, json};

use super::*;

const ETH: &str = "link:eth0";
const COLUMNS: usize = 6;
const UP: usize = 0;
const CHANGES: usize = 1;
const ERRORS: usize = 2;
const DROPS: usize = 3;
const LATENCY: usize = 4;
const LOSS: usize = 5;

fn session(config: Value) -> Session<Link> {
    let of = |name| series(name).on(ETH);
    Session::new(config).bind([
        of("hw.network.up"),
        of("system.network.carrier_changes").unit("{change}"),
        of("system.network.errors").unit("{error}").label("network.io.direction", "receive"),
        of("system.network.packet.dropped")
            .unit("{packet}")
            .label("network.io.direction", "transmit"),
        of("homeostat.link.latency").unit("s").label("host", "10.0.0.1"),
        of("homeostat.link.loss").label("host", "10.0.0.1"),
    ])
}

/// A well link, but for some readings.
fn row(age_s: u64, but: &[(usize, f64)]) -> FrameMaker {
    let mut values: [f64; COLUMNS] = [1.0, 4.0, 1e6, 1e6, 0.01, 0.0];
    but.iter().for_each(|(column, value)| values[*column] = *value);
    frame(age_s * 1_000).row(values)
}

fn kinds(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|it| it.kind.as_str()).collect()
}

#[test]
fn a_carrier_that_is_gone_for_five_seconds_is_missed_until_it_is_back() {
    let mut it = session(Value::Null);
    it.observe(row(1, &[]));
    for age_s in 2..7 {
        assert_eq!(it.observe(row(age_s, &[(UP, 0.0)])), Report::default());
    }
    let report = it.observe(row(7, &[(UP, 0.0)]));
    assert_eq!((kinds(&report), report.findings[0].severity), (vec!["link.down"], ERROR));
    assert_eq!(
        report.findings[0].message,
        "eth0 has no carrier: look at cable, socket and the other end"
    );
    it.resume();
    assert_eq!(it.observe(row(8, &[(UP, 0.0)])), report);
    assert_eq!(it.observe(row(9, &[])), Report::default());
}

#[test]
fn a_socket_without_a_cable_is_no_fault_unless_a_cable_is_expected() {
    for (config, expected) in [
        (Value::Null, 0),
        (json!({"expected": ["link:eth*"]}), 1),
        (json!({"expected": ["link:wlan0"]}), 0),
        (json!({"expected": ["*"], "ignore": ["link:eth0"]}), 0),
    ] {
        let mut it = session(config.clone());
        let last = (1..20).map(|age_s| it.observe(row(age_s, &[(UP, 0.0)]))).last().unwrap();
        assert_eq!(last.findings.len(), expected, "{config}");
    }
}

#[test]
fn one_pulled_cable_is_no_flapping_and_two_are() {
    let mut it = session(Value::Null);
    it.observe(row(1, &[]));
    assert_eq!(it.observe(row(2, &[(CHANGES, 6.0)])), Report::default());
    let report = it.observe(row(30, &[(CHANGES, 8.0)]));
    assert_eq!((kinds(&report), report.findings[0].severity), (vec!["link.flapping"], WARNING));
    assert_eq!(
        report.findings[0].message,
        "the carrier of eth0 came or went 4 times in 10 min: look at cable and socket"
    );
    assert_eq!(it.observe(row(600, &[(CHANGES, 8.0)])), report);
    // The first two have left the window; two are more than half of three.
    assert_eq!(it.observe(row(610, &[(CHANGES, 8.0)])), report);
    assert_eq!(it.observe(row(631, &[(CHANGES, 8.0)])), Report::default());
}

#[test]
fn counters_from_before_a_boot_or_a_reset_are_not_compared() {
    let mut it = session(Value::Null);
    it.observe(row(1, &[(CHANGES, 2.0), (ERRORS, 10.0)]));
    it.resume();
    // A new boot counts again, and is already further.
    let booted = row(200, &[(CHANGES, 9.0), (ERRORS, 1e9)]).boot(2);
    assert_eq!(it.observe(booted), Report::default());
    for age_s in 201..400 {
        // The driver is loaded again and again: each fall is a reset.
        let count = if age_s % 7 == 0 { 0.0 } else { 1e9 + age_s as f64 };
        let report = it.observe(row(age_s, &[(CHANGES, 9.0), (DROPS, count)]).boot(2));
        assert_eq!(report, Report::default(), "at {age_s} s");
    }
}

#[test]
fn errors_and_drops_are_rates_that_must_last() {
    for (column, per_s, kind, words) in [
        (ERRORS, 10.0, "link.errors", "eth0 has 10 errors a second (receive), the limit is 10"),
        (
            DROPS,
            150.0,
            "link.drops",
            "eth0 drops 150 packets a second (transmit), the limit is 100",
        ),
    ] {
        let mut it = session(Value::Null);
        let mut raised = None;
        for age_s in 1..200 {
            let report = it.observe(row(age_s, &[(column, per_s * age_s as f64)]));
            if raised.is_none() && !report.findings.is_empty() {
                assert_eq!(kinds(&report), [kind]);
                assert_eq!(report.findings[0].message, words);
                raised = Some(age_s);
            }
        }
        assert!(raised.is_some_and(|it| (60..90).contains(&it)), "{kind} at {raised:?}");
        // It stops.
        let quiet = [(column, per_s * 199.0)];
        let last = (200..230).map(|age_s| it.observe(row(age_s, &quiet))).last().unwrap();
        assert_eq!(last, Report::default());
    }
}

#[test]
fn a_burst_and_what_a_wire_always_loses_are_no_fault() {
    let mut it = session(Value::Null);
    for age_s in 1..600 {
        let burst = if age_s < 300 { 0.0 } else { 20_000.0 };
        let report = it.observe(row(age_s, &[(ERRORS, burst), (DROPS, 40.0 * age_s as f64)]));
        assert_eq!(report, Report::default(), "at {age_s} s");
    }
}

#[test]
fn a_host_that_is_slow_or_lossy_for_a_minute_is_told() {
    for (column, value, kind, words) in [
        (LATENCY, 0.7, "link.slow", "10.0.0.1 answers eth0 after 0.7 s, the limit is 0.5 s"),
        (
            LOSS,
            0.25,
            "link.loss",
            "of what eth0 sends to 10.0.0.1, 25 % is lost, the limit is 20 %",
        ),
    ] {
        let mut it = session(Value::Null);
        for age_s in 1..=60 {
            assert_eq!(it.observe(row(age_s, &[(column, value)])), Report::default());
        }
        let report = it.observe(row(61, &[(column, value)]));
        assert_eq!((kinds(&report), report.findings[0].message.as_str()), (vec![kind], words));
        // A little better is not well.
        assert_eq!(it.observe(row(62, &[(column, value * 0.6)])), report);
        assert_eq!(it.observe(row(63, &[(column, value * 0.3)])), Report::default());
    }
}

#[test]
fn a_link_or_a_host_can_have_limits_of_its_own() {
    let config = json!({"for_s": 0, "overrides": [
        {"host": "10.0.0.1", "latency_s": 2}, {"target": "link:eth0", "latency_s": 9, "loss": 0.9}]});
    let mut it = session(config);
    assert_eq!(it.observe(row(1, &[(LATENCY, 1.9), (LOSS, 0.8)])), Report::default());
    let report = it.observe(row(2, &[(LATENCY, 2.0), (LOSS, 0.9)]));
    assert_eq!(kinds(&report), ["link.slow", "link.loss"]);
}

#[test]
fn missing_readings_judge_nothing() {
    let mut it = session(Value::Null);
    it.observe(row(1, &[]));
    (2..=7).for_each(|age_s| drop(it.observe(row(age_s, &[(UP, 0.0)]))));
    let standing = it.observe(row(8, &[(UP, 0.0)]));
    let nothing = Report { findings: vec![], unjudged: vec![ETH.into()] };
    assert_eq!(it.observe(frame(9_000)), nothing);
    assert_eq!(it.observe(frame(10_000).row([None::<f64>; COLUMNS])), nothing);
    // Another series of it is read: it is seen, and what stood stands.
    let one = (0..COLUMNS).map(|at| (at == CHANGES).then_some(4.0));
    assert_eq!(it.observe(frame(11_000).row(one)), standing);
}

#[test]
fn a_fresh_life_clears_nothing_before_it_has_seen_every_series() {
    let mut it = session(Value::Null);
    let one = (0..COLUMNS).map(|at| (at == CHANGES).then_some(4.0));
    assert_eq!(it.observe(frame(1_000).row(one)).unjudged, [ETH]);
    assert_eq!(it.observe(row(2, &[])), Report::default());
}

#[test]
fn many_links_are_bounded_and_fit_into_a_checkpoint() {
    let many = (0..300)
        .map(|n| series("system.network.carrier_changes").on(&format!("link:a-long-name-{n:04}")));
    let mut it = Session::<Link>::new(Value::Null).bind(many);
    for n in 0..100_u64 {
        it.observe(frame(1_000_000 + n * 1_000).row([2.0 * n as f64; 300]));
    }
    let state = serde_json::to_vec(&it.detector().save()).unwrap();
    assert!((100 << 10..256 << 10).contains(&state.len()), "{} bytes", state.len());
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    for (config, word) in [
        (json!({"down_s": -1}), "down_s wants seconds"),
        (json!({"loss": 2}), "loss wants a share"),
        (json!({"latency_s": 0}), "latency_s wants more than 0"),
        (json!({"flap_changes": 0}), "flap_changes wants 1 to 60"),
        (
            json!({"overrides": [{"target": "link:x", "errors_per_s": 0}]}),
            "overrides[0]: errors_per_s",
        ),
        (json!({"colour": 1}), "unknown field `colour`"),
    ] {
        let error = refusal::<Link>(config).message;
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn the_manifest_names_what_is_read() {
    let manifest = include_str!("../plugin.toml");
    for name in session(Value::Null).detector().reads() {
        assert!(manifest.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), resumable::<Link>);
}

/// As in `liveness`.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    let mut it = session(Value::Null);
    it.observe(row(1, &[]));
    for age_s in 2..9 {
        it.observe(row(age_s, &[(UP, 0.0), (CHANGES, 5.0), (LOSS, 1.0)]));
        if age_s == 4 {
            it.resume();
        }
    }
    it.observe(frame(9_000));
    it.observe(row(10, &[(CHANGES, 6.0)]));
    it.observe(row(11, &[(CHANGES, 7.0), (UP, 0.0)]));
    it.observe(row(12, &[(CHANGES, 8.0)]));
    it.observe(row(800, &[(CHANGES, 8.0)]));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/cable.jsonl");
    let about = "a cable is pulled, put back, and then has a loose contact";
    std::fs::write(path, it.recording("link", about).to_text()).unwrap();
}
