use homeostat_sdk::testkit::{Session, frame, golden, refusal, resumable, series};
use serde_json::{Value, json};

use super::*;

const DIGITS: &str = "workload:digits";

/// Columns: the root filesystem, the data filesystem, memory of digits.
fn session(rules: Value) -> Session<Threshold> {
    Session::new(json!({ "rules": rules })).bind([
        series("system.filesystem.utilization").label("mountpoint", "/"),
        series("system.filesystem.utilization").label("mountpoint", "/data"),
        series("process.memory.usage").on(DIGITS).unit("By"),
    ])
}

fn disk() -> Value {
    json!({"name": "disk-full", "series": "system.filesystem.utilization", "target": "box",
           "op": ">=", "raise": 0.9, "clear": 0.8,
           "message": "{label:mountpoint} is full to {value}"})
}

fn oom() -> Value {
    json!({"name": "cuda-oom", "line": "CUDA*out of memory", "target": "workload:*",
           "times": 2, "within_s": 10, "severity": 3})
}

fn messages(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|it| it.message.as_str()).collect()
}

#[test]
fn a_limit_raises_and_only_the_lower_one_clears() {
    let mut it = session(json!([disk()]));
    for (age_s, value, expected) in
        [(1, 0.89, 0), (2, 0.9, 1), (3, 0.85, 1), (4, 0.8, 1), (5, 0.79, 0), (6, 0.85, 0)]
    {
        let report = it.observe(frame(age_s * 1_000).row([value, 0.1, 1.0]));
        assert_eq!(report.findings.len(), expected, "at {age_s} s");
        assert!(report.unjudged.is_empty());
    }
}

#[test]
fn each_series_of_a_rule_is_a_finding_of_its_own() {
    let mut it = session(json!([disk()]));
    let report = it.observe(frame(1_000).row([0.95, 0.99, 1.0]));
    assert_eq!(messages(&report), ["/ is full to 0.95", "/data is full to 0.99"]);
    let keys: Vec<_> = report.findings.iter().map(|it| it.key.as_str()).collect();
    assert_eq!(keys[0], "disk-full/box/system.filesystem.utilization{mountpoint=/}");
    assert_ne!(keys[0], keys[1]);
    assert_eq!(report.findings[0].kind, "threshold.disk-full");
    assert_eq!(report.findings[1].series, [1]);
}

#[test]
fn labels_and_targets_narrow_a_rule() {
    let mut rule = disk();
    rule["labels"] = json!({"mountpoint": "/d*"});
    let mut it = session(json!([rule]));
    let report = it.observe(frame(1_000).row([0.95, 0.99, 1.0]));
    assert_eq!(messages(&report), ["/data is full to 0.99"]);
}

#[test]
fn what_must_last_is_raised_only_after_it_lasted() {
    let mut rule = disk();
    rule["for_s"] = json!(3);
    let mut it = session(json!([rule]));
    it.observe(frame(1_000).row([0.1, 0.1, 1.0]));
    for (age_s, value, expected) in
        [(2, 0.95, 0), (3, 0.95, 0), (4, 0.5, 0), (5, 0.95, 0), (7, 0.95, 0), (8, 0.95, 1)]
    {
        let report = it.observe(frame(age_s * 1_000).row([value, 0.1, 1.0]));
        assert_eq!(report.findings.len(), expected, "at {age_s} s");
    }
}

#[test]
fn nobody_knows_what_happened_while_nothing_was_read() {
    let mut rule = disk();
    rule["for_s"] = json!(60);
    let mut it = session(json!([rule]));
    it.observe(frame(1_000).row([0.1, 0.1, 1.0]));
    it.observe(frame(2_000).row([0.95, 0.1, 1.0]));
    let report = it.observe(frame(100_000).row([0.95, 0.1, 1.0]));
    assert!(report.findings.is_empty());
}

#[test]
fn so_many_readings_in_a_window_raise_and_fewer_clear() {
    let rule = json!({"name": "mem", "series": "process.*", "op": ">", "raise": 100,
                      "times": 3, "within_s": 10, "message": "{count} times in {within} s"});
    let mut it = session(json!([rule]));
    for (age_s, value, expected) in [
        (1, 1.0, 0),
        (2, 101.0, 0),
        (3, 101.0, 0),
        (4, 1.0, 0),
        (5, 101.0, 1),
        (12, 1.0, 1),
        (13, 1.0, 0),
    ] {
        let report = it.observe(frame(age_s * 1_000).row([0.1, 0.1, value]));
        assert_eq!(report.findings.len(), expected, "at {age_s} s");
        if expected == 1 {
            assert_eq!(messages(&report), ["3 times in 10 s"]);
        }
    }
}

#[test]
fn every_operator_looks_the_right_way() {
    for (op, raise, calm, wild) in
        [(">", 5.0, 5.0, 5.1), (">=", 5.0, 4.9, 5.0), ("<", 5.0, 5.0, 4.9), ("<=", 5.0, 5.1, 5.0)]
    {
        let rule = json!({"name": "x", "series": "process.memory.usage", "op": op, "raise": raise});
        let mut it = session(json!([rule]));
        assert!(it.observe(frame(1_000).row([0.0, 0.0, calm])).findings.is_empty(), "{op}");
        assert_eq!(it.observe(frame(2_000).row([0.0, 0.0, wild])).findings.len(), 1, "{op}");
    }
}

#[test]
fn a_hole_neither_clears_nor_renews() {
    let mut it = session(json!([disk()]));
    it.observe(frame(1_000).row([0.95, 0.1, 1.0]));
    let hole = it.observe(frame(2_000).row([None, None, Some(1.0)]));
    assert_eq!(hole, Report { findings: vec![], unjudged: vec!["box".into()] });
    // One of its series is seen, so the box is judged, and what stood stands.
    let half = it.observe(frame(3_000).row([None, Some(0.1), None]));
    assert_eq!((half.findings.len(), half.unjudged.len()), (1, 0));
}

#[test]
fn lines_are_counted_in_their_window_and_latched_until_a_mark() {
    let mut it = session(json!([oom()]));
    let text = "CUDA error: out of memory";
    assert!(it.observe(frame(1_000).line(DIGITS, text)).findings.is_empty());
    assert!(it.observe(frame(12_000).line(DIGITS, text)).findings.is_empty());
    let report = it.observe(frame(13_000).line(DIGITS, text));
    assert_eq!(messages(&report), ["digits wrote 2 times in 10 s: CUDA error: out of memory"]);
    assert_eq!(report.findings[0].severity, 3);
    let later = it.observe(frame(900_000).line(DIGITS, "all is well"));
    assert_eq!(later.findings, report.findings);
    let quiet = it.observe(frame(901_000));
    assert_eq!(quiet, Report { findings: vec![], unjudged: vec![DIGITS.into()] });
    assert_eq!(it.observe(frame(902_000).mark(DIGITS, "action.ended")).findings.len(), 1);
    assert_eq!(it.observe(frame(903_000).mark(DIGITS, "workload.started")), Report::default());
}

#[test]
fn a_mark_releases_only_what_came_before_it_and_only_there() {
    let text = "CUDA out of memory";
    let mut it = session(json!([oom()]));
    let both = |age_ms| frame(age_ms).line(DIGITS, text).line(DIGITS, text);
    let report = it.observe(both(5_000).mark(DIGITS, "workload.started").marked_at(4_000));
    assert_eq!(report.findings.len(), 1);
    let report = it.observe(both(6_000).mark("workload:other", "workload.started"));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(
        it.observe(both(7_000).mark("box", "box.booted").marked_at(7_001)),
        Report::default()
    );
}

#[test]
fn a_mark_that_is_told_again_ends_nothing_that_came_after_it() {
    let text = "CUDA out of memory";
    let told = |age_ms| {
        let it = frame(age_ms).mark("box", "box.booted").marked_at(100);
        it.mark(DIGITS, "workload.started").marked_at(4_000)
    };
    let mut it = session(json!([oom()]));
    it.observe(told(4_000));
    let latched = it.observe(frame(5_000).line(DIGITS, text).line(DIGITS, text));
    assert_eq!(latched.findings.len(), 1);
    it.resume();
    assert_eq!(it.observe(told(6_000)), latched);
}

#[test]
fn lines_that_lag_behind_the_mark_that_ends_them_count_for_nothing() {
    let text = "CUDA out of memory";
    let mut it = session(json!([oom()]));
    it.observe(frame(7_000).mark(DIGITS, "workload.started").marked_at(6_000));
    let late = |age_ms| frame(age_ms).line(DIGITS, text).line(DIGITS, text);
    assert!(it.observe(late(5_000)).findings.is_empty());
    assert_eq!(it.observe(late(8_000)).findings.len(), 1);
}

#[test]
fn a_rule_can_name_the_marks_that_release_it() {
    let mut rule = oom();
    rule["release"] = json!(["maintenance.off"]);
    rule["times"] = json!(1);
    let mut it = session(json!([rule]));
    it.observe(frame(1_000).line(DIGITS, "CUDA: out of memory"));
    assert_eq!(it.observe(frame(2_000).mark(DIGITS, "workload.started")).findings.len(), 1);
    assert_eq!(it.observe(frame(3_000).mark(DIGITS, "maintenance.off")).findings.len(), 0);
}

#[test]
fn lines_of_another_source_or_target_do_not_count() {
    let mut rule = oom();
    (rule["times"], rule["source"]) = (json!(1), json!("kmsg"));
    let mut it = session(json!([rule]));
    let text = "CUDA out of memory";
    assert!(it.observe(frame(1_000).line(DIGITS, text)).findings.is_empty());
    assert!(it.observe(frame(2_000).line_from("box", "kmsg", text)).findings.is_empty());
    assert_eq!(it.observe(frame(3_000).line_from(DIGITS, "kmsg", text)).findings.len(), 1);
}

#[test]
fn what_stood_stands_after_a_restart() {
    let mut it = session(json!([disk(), oom()]));
    let text = "CUDA out of memory";
    it.observe(frame(1_000).row([0.95, 0.1, 1.0]).line(DIGITS, text).line(DIGITS, text));
    it.resume();
    let report = it.observe(frame(2_000).row([0.85, 0.1, 1.0]).line(DIGITS, "hello"));
    assert_eq!(report.findings.len(), 2);
    assert!(report.unjudged.is_empty());
}

#[test]
fn a_fresh_detector_clears_nothing_that_may_have_stood() {
    let mut rule = disk();
    rule["for_s"] = json!(60);
    let mut it = session(json!([rule]));
    // Beyond the limit, but not for long enough to tell: another life may have.
    assert_eq!(it.observe(frame(1_000).row([0.95, 0.1, 1.0])).unjudged, ["box"]);
    assert_eq!(
        it.observe(frame(2_000).row([Some(0.5), None, None])).unjudged,
        Vec::<String>::new()
    );

    let mut it = session(json!([disk()]));
    let one_eyed = |age_s: u64| frame(age_s * 1_000).row([Some(0.1), None, None]);
    assert_eq!(it.observe(one_eyed(1)).unjudged, ["box"]);
    // A series that never comes does not keep its target unjudged for ever.
    (2..=31).for_each(|age_s| drop(it.observe(one_eyed(age_s))));
    assert_eq!(it.observe(one_eyed(32)), Report::default());
}

#[test]
fn memory_follows_a_series_to_another_column() {
    let mut it = session(json!([disk()]));
    it.observe(frame(1_000).row([0.95, 0.1, 1.0]));
    it.rebind([series("system.filesystem.utilization").label("mountpoint", "/")]);
    let report = it.observe(frame(2_000).row([0.85]));
    assert_eq!(report.findings.len(), 1);
}

#[test]
fn it_asks_for_the_series_of_its_rules() {
    let it = session(json!([disk(), oom(), {"name":"p","series":"process.*","op":">","raise":1}]));
    assert_eq!(it.detector().reads(), ["process.*", "system.filesystem.utilization"]);
}

#[test]
fn the_largest_memory_fits_into_a_checkpoint() {
    let wild: Vec<_> = (0..256)
        .map(|n| {
            json!({"name": format!("a-rather-long-name-for-rule-{n}"), "series": "hw.*", "op": ">",
                   "raise": 0, "times": 1000, "within_s": 31_536_000})
        })
        .collect();
    let many = (0..8).map(|n| series("hw.temperature").on(&format!("accelerator:card-{n}")));
    let mut it = Session::<Threshold>::new(json!({ "rules": wild })).bind(many);
    for n in 1..20 {
        it.observe(frame(n * 1_000_000_000).row([1.0; 8]));
    }
    let state = serde_json::to_vec(&it.detector().save()).unwrap();
    assert!(state.len() < 256 << 10, "{} bytes", state.len());

    let lines: Vec<_> = (0..256)
        .map(|n| json!({"name": format!("a-rather-long-name-for-rule-{n}"), "line": "x"}))
        .collect();
    let mut it = Session::<Threshold>::new(json!({ "rules": lines }));
    it.observe(frame(1_000).line(DIGITS, &"x\"\u{1}".repeat(400)));
    let state = serde_json::to_vec(&it.detector().save()).unwrap();
    assert!(state.len() < 256 << 10, "{} bytes", state.len());
}

#[test]
fn a_rule_that_makes_no_sense_is_refused_by_name() {
    for (rule, word) in [
        (json!({"name":"a"}), "either `series` or `line`"),
        (json!({"name":"a","series":"x","line":"y"}), "either `series` or `line`"),
        (json!({"name":"a","series":"x","raise":1}), "wanted `op`"),
        (json!({"name":"a","series":"x","op":">"}), "wanted `raise`"),
        (json!({"name":"a","series":"x","op":"!","raise":1}), "unknown variant `!`"),
        (json!({"name":"a","series":"x","op":">","raise":1,"clear":2}), "found 2 and 1"),
        (json!({"name":"a","series":"x","op":"<","raise":2,"clear":1}), "found 1 and 2"),
        (json!({"name":"a","series":"x","op":">","raise":1,"within_s":2}), "wants `times`"),
        (
            json!({"name":"a","series":"x","op":">","raise":1,"times":2,"for_s":1}),
            "`for_s` does not",
        ),
        (json!({"name":"a","series":"x","op":">","raise":1,"release":[]}), "`release` is for"),
        (json!({"name":"a","line":"x","raise":1}), "`raise` is for"),
        (json!({"name":"a","line":"x","times":0}), "`times` wants 1"),
        (json!({"name":"a","line":"*"}), "wants some text"),
        (json!({"name":"a","line":"x","severity":4}), "`severity` wants"),
        (json!({"name":"a","line":"x","message":"{nope}"}), "found {nope}"),
        (json!({"name":"a b","line":"x"}), "letters, digits"),
        (json!({"name":"a","line":"x","colour":1}), "unknown field `colour`"),
    ] {
        let error = refusal::<Threshold>(json!({"rules": [rule]})).message;
        assert!(error.contains(word), "{error}");
    }
    let twice = refusal::<Threshold>(json!({"rules": [oom(), oom()]})).message;
    assert!(twice.contains("\"cuda-oom\" (rules[1]): another rule"), "{twice}");
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), resumable::<Threshold>);
}

/// As in `liveness`.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    let write = |name: &str, about: &str, it: &Session<Threshold>| {
        let text = it.recording("threshold", about).to_text();
        std::fs::write(format!("{dir}/{name}.jsonl"), text).unwrap();
    };

    let mut it = session(json!([disk()]));
    for (age_s, value) in [(1, 0.88), (2, 0.91), (3, 0.86), (4, 0.95), (5, 0.79), (6, 0.85)] {
        it.observe(frame(age_s * 1_000).row([value, 0.5, 1e6]));
        if age_s == 3 {
            it.resume();
        }
    }
    it.observe(frame(7_000).row([None, None, Some(1e6)]));
    write("hysteresis", "a disk fills, is emptied a little, then more", &it);

    let mut it = session(json!([oom()]));
    let text = "CUDA error: out of memory";
    it.observe(frame(1_000).line(DIGITS, text));
    it.observe(frame(20_000).line(DIGITS, text));
    it.observe(frame(21_000).line(DIGITS, text));
    it.resume();
    it.observe(frame(22_000).line(DIGITS, "still here"));
    it.observe(frame(23_000));
    it.observe(frame(24_000).mark(DIGITS, "workload.started"));
    write("lines", "twice in ten seconds, latched until the next start", &it);
}
