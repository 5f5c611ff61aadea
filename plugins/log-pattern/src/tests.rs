use homeostat_sdk::testkit::{FrameMaker, Session, frame, golden, refusal, resumable, series};
use serde_json::{Value, json};

use super::*;

const DIGITS: &str = "workload:digits";

/// Columns: heartbeats of digits and of the box.
fn session(config: Value) -> Session<LogPattern> {
    Session::new(config).bind([
        series("homeostat.workload.running").on(DIGITS),
        series("system.memory.utilization"),
    ])
}

fn beat(age_ms: u64) -> FrameMaker {
    frame(age_ms).row([1.0, 0.5])
}

fn kinds(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|it| it.kind.as_str()).collect()
}

/// What the built-in sets say of one line, written five times.
fn told(text: &str) -> Vec<String> {
    let mut it = session(Value::Null);
    let frame = (0..5).fold(frame(1_000), |frame, _| frame.line(DIGITS, text));
    it.observe(frame).findings.into_iter().map(|it| it.kind).collect()
}

#[test]
fn the_sets_know_what_inference_servers_write_when_they_die() {
    for (text, kind) in [
        ("Exception in thread Thread-3 (worker):", "log.uncaught-exception"),
        ("Traceback (most recent call last):", "log.tracebacks"),
        ("MemoryError: Unable to allocate 3.2 GiB", "log.memory-error"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "log.cuda-oom"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "log.cuda-error"),
        ("node1:12:34 [0] NCCL WARN Call to ibv_poll_cq: Error 12", "log.nccl-error"),
        ("terminate called after throwing an instance of 'foo'", "log.panic"),
        ("  what():  std::bad_alloc", "log.bad-alloc"),
        ("Segmentation fault (core dumped)", "log.segfault"),
        ("thread 'main' panicked at src/main.rs:4:5:", "log.panic"),
        ("OSError: [Errno 98] Address already in use", "log.address-in-use"),
        ("write /var/log/x: No space left on device", "log.no-space"),
        ("accept: Too many open files", "log.too-many-files"),
    ] {
        assert_eq!(told(text), [kind], "{text}");
    }
}

#[test]
fn the_sets_know_nothing_of_what_healthy_servers_write() {
    for text in [
        "INFO:     127.0.0.1:52110 - \"POST /v2/models/digits/infer HTTP/1.1\" 200 OK",
        "NCCL INFO Channel 00/02 :    0   1",
        "loaded 3 models in 2.1 s, 512 MB of memory used",
        "WARNING 422 Unprocessable Entity: field required",
        "cuda graphs captured in 4.5 s",
    ] {
        assert!(told(text).is_empty(), "{text}");
    }
    // One traceback is a bad request.
    let mut it = session(Value::Null);
    let one = it.observe(beat(1_000).line(DIGITS, "Traceback (most recent call last):"));
    assert_eq!(one, Report::default());
}

#[test]
fn the_line_is_kept_as_evidence_and_stands_unchanged() {
    let mut it = session(Value::Null);
    let first = it.observe(beat(1_000).line(DIGITS, "CUDA out of memory. Tried 2 GiB"));
    assert_eq!(first.findings[0].message, "digits wrote: CUDA out of memory. Tried 2 GiB");
    assert_eq!(first.findings[0].key, "cuda-oom/workload:digits");
    assert_eq!(first.findings[0].evidence[0].1.as_text(), Some("CUDA out of memory. Tried 2 GiB"));
    assert_eq!(it.observe(beat(2_000).line(DIGITS, "CUDA out of memory again")), first);
    assert_eq!(it.observe(beat(3_000)), first);
}

#[test]
fn a_start_an_action_and_a_boot_release_it_and_telling_a_person_does_not() {
    let action =
        |age_ms, action: &str| beat(age_ms).mark_with(DIGITS, "action.ended", [("action", action)]);
    for (mark, left) in [
        (beat(2_000).mark(DIGITS, "workload.started"), 0),
        (action(2_000, "workload.restart"), 0),
        (beat(2_000).mark("box", "box.booted"), 0),
        (beat(2_000).mark(DIGITS, "incident.closed"), 0),
        (action(2_000, "notify"), 1),
        (beat(2_000).mark("workload:other", "workload.started"), 1),
        (beat(2_000).mark(DIGITS, "workload.started").marked_at(500), 1),
    ] {
        let mut it = session(Value::Null);
        it.observe(beat(1_000).line(DIGITS, "Segmentation fault"));
        assert_eq!(it.observe(mark.clone()).findings.len(), left, "{mark:?}");
    }
}

#[test]
fn a_quiet_time_releases_it_but_only_while_the_target_is_in_sight() {
    let mut it = session(json!({"rules": [{"set": "generic", "quiet_s": 60}]}));
    it.observe(beat(1_000).line(DIGITS, "Segmentation fault"));
    assert_eq!(it.observe(beat(60_000)).findings.len(), 1);
    let hole = it.observe(frame(70_000).row([None, Some(0.5)]));
    assert_eq!(hole, Report { findings: vec![], unjudged: vec![DIGITS.into()] });
    assert_eq!(it.observe(beat(71_000)), Report::default());

    let mut it = session(json!({"rules": [{"set": "generic", "quiet_s": 0}]}));
    it.observe(beat(1_000).line(DIGITS, "Segmentation fault"));
    assert_eq!(it.observe(beat(31_000_000_000)).findings.len(), 1, "0 is for good");
}

#[test]
fn an_empty_frame_judges_nothing() {
    let mut it = session(Value::Null);
    let empty = it.observe(frame(1_000));
    assert_eq!(empty.unjudged, [DIGITS, "box"]);
    let nan = it.observe(frame(2_000).row([None::<f64>, None]));
    assert_eq!(nan.unjudged, [DIGITS, "box"]);
    let mut it = Session::<LogPattern>::new(Value::Null);
    assert_eq!(it.observe(frame(1_000)), Report::default());
}

#[test]
fn a_rule_narrows_by_target_source_priority_and_exception() {
    let rule = json!({"name": "x", "line": "boom", "target": "box", "source": "kmsg",
                      "priority_max": 3, "except": ["boom box"], "kind": "site.boom",
                      "severity": 3});
    let mut it = session(json!({"rules": [rule]}));
    for quiet in [
        beat(1_000).line("box", "boom").weighing(3),
        beat(2_000).line_from("box", "kmsg", "boom").weighing(4),
        beat(3_000).line_from(DIGITS, "kmsg", "boom").weighing(0),
        beat(4_000).line_from("box", "kmsg", "boom box").weighing(0),
    ] {
        assert!(it.observe(quiet).findings.is_empty());
    }
    let report = it.observe(beat(5_000).line_from("box", "kmsg", "a boom").weighing(3));
    assert_eq!(kinds(&report), ["site.boom"]);
    assert_eq!(report.findings[0].severity, 3);
}

#[test]
fn a_rule_of_the_site_beats_the_sets_rule_of_that_name() {
    let rules = json!([{"set": "cuda"}, {"name": "cuda-oom", "line": "out of memory", "times": 2}]);
    let mut it = session(json!({"rules": rules}));
    assert!(it.observe(beat(1_000).line(DIGITS, "CUDA out of memory")).findings.is_empty());
    let report = it.observe(beat(2_000).line(DIGITS, "CUDA out of memory"));
    assert_eq!(kinds(&report), ["log.cuda-oom"]);
    assert_eq!(report.findings[0].message, "digits wrote 2 times in 60 s: CUDA out of memory");
}

#[test]
fn what_stood_stands_after_a_restart_and_is_released_once() {
    let mut it = session(Value::Null);
    let before = it.observe(beat(2_000).line(DIGITS, "std::bad_alloc"));
    it.resume();
    // Told again of a start that came before.
    let again = beat(3_000).mark(DIGITS, "workload.started").marked_at(1_000);
    assert_eq!(it.observe(again), before);
}

#[test]
fn a_flood_is_bounded_and_fits_into_a_checkpoint() {
    let mut it = session(json!({"rules": [{"set": "generic"},
        {"name": "often", "line": "x", "times": 1000, "within_s": 1000}]}));
    for n in 0..200_u64 {
        let target = format!("workload:w{n}");
        let text = "Segmentation fault x\u{1}\"".repeat(30);
        it.observe((0..20).fold(frame(n * 1_000 + 1), |frame, _| frame.line(&target, &text)));
    }
    let state = serde_json::to_vec(&it.detector().save()).unwrap();
    assert!(state.len() < 256 << 10, "{} bytes", state.len());
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    for (rule, word) in [
        (json!({}), "wanted a `name`, or a `set`"),
        (json!({"name": "a"}), "wanted `line` or `lines`"),
        (json!({"name": "a", "line": "*"}), "wants some text"),
        (json!({"name": "a b", "line": "x"}), "letters, digits"),
        (json!({"name": "a", "line": "x", "severity": 4}), "`severity` wants 0 to 3"),
        (json!({"name": "a", "line": "x", "priority_max": 8}), "`priority_max` wants 0 to 7"),
        (json!({"name": "a", "line": "x", "times": 0}), "`times` wants 1"),
        (json!({"name": "a", "line": "x", "quiet_s": -1}), "`quiet_s` wants seconds"),
        (json!({"set": "java"}), "unknown variant `java`"),
        (json!({"set": "cuda", "line": "x"}), "`line` does not go with `set`"),
        (json!({"name": "a", "line": "x", "colour": 1}), "unknown field `colour`"),
    ] {
        let error = refusal::<LogPattern>(json!({"rules": [rule]})).message;
        assert!(error.contains(word), "{error}");
    }
    let twice = refusal::<LogPattern>(json!({"rules": [{"set": "cuda"}, {"set": "cuda"}]}));
    assert!(twice.message.contains("rules[1]: set \"cuda\" is there already"), "{twice}");
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), resumable::<LogPattern>);
}

/// As in `liveness`.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    let mut it = session(Value::Null);
    it.observe(beat(1_000).line(DIGITS, "Traceback (most recent call last):"));
    it.observe(beat(2_000).line(DIGITS, "CUDA out of memory. Tried to allocate 2.00 GiB"));
    it.observe(frame(3_000));
    it.resume();
    it.observe(beat(4_000).mark_with(DIGITS, "action.ended", [("action", "notify")]));
    it.observe(beat(5_000).mark(DIGITS, "workload.started"));
    it.observe(beat(6_000).line(DIGITS, "OSError: [Errno 98] Address already in use"));
    it.observe(beat(605_000));
    it.observe(beat(606_000));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/server.jsonl");
    let about = "a server runs out of GPU memory, is started again, then finds its port taken";
    std::fs::write(path, it.recording("log-pattern", about).to_text()).unwrap();
}
