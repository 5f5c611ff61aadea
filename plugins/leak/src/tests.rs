use homeostat_sdk::WARNING;
use homeostat_sdk::testkit::{Session, frame, golden, refusal, resumable, series};
use serde_json::{Value, json};

use super::*;

const DIGITS: &str = "workload:digits";
const MIB: f64 = 1_048_576.0;
const PERIOD_S: u64 = 10;
const HOUR_S: u64 = 3_600;

fn memory() -> Value {
    json!({"memory": {"workload:digits": "512MiB"}})
}

fn session(config: Value) -> Session<Leak> {
    let usage = series("process.memory.usage").on(DIGITS).unit("By").every_ms(10_000);
    Session::new(config).bind([usage])
}

/// Numbers from 0 to 1 that are the same each time (Knuth's MMIX generator).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Roughly normal, with a spread of 1.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

/// Observes a shape (MiB at a second) for so many hours; when a finding first
/// stood, in seconds, and the last report.
fn watch(
    it: &mut Session<Leak>,
    from_s: u64,
    hours: u64,
    mut shape: impl FnMut(u64) -> f64,
) -> (Option<u64>, Report) {
    let (mut raised, mut last) = (None, Report::default());
    for age_s in (from_s..from_s + hours * HOUR_S).step_by(PERIOD_S as usize) {
        last = it.observe(frame(age_s * 1_000).row([shape(age_s) * MIB]));
        if raised.is_none() && !last.findings.is_empty() {
            raised = Some(age_s);
        }
    }
    (raised, last)
}

#[test]
fn a_true_leak_is_found_and_its_end_foretold() {
    let mut it = session(memory());
    // 100 MiB, and 20 more each hour: full after 20.6 hours.
    let (raised, report) =
        watch(&mut it, 1_000, 3, |s| 100.0 + 20.0 * (s - 1_000) as f64 / 3_600.0);
    let raised = raised.expect("a leak is found");
    assert!((7_500..8_500).contains(&raised), "at {raised} s");
    let finding = &report.findings[0];
    assert_eq!((finding.kind.as_str(), finding.severity), ("leak.memory", WARNING));
    assert_eq!(finding.key, "memory/workload:digits/process.memory.usage");
    let number = |name| homeostat_sdk::attr(&finding.evidence, name).unwrap().as_num().unwrap();
    let full_s = 1_000.0 + 20.6 * 3_600.0;
    let foretold_s = raised as f64 + number("reached_in_s");
    assert!((foretold_s / full_s - 1.0).abs() < 0.02, "foretold {foretold_s}, full {full_s}");
    assert!((number("slope_per_s") * 3_600.0 / MIB - 20.0).abs() < 0.1);
    assert!(
        finding
            .message
            .starts_with("process.memory.usage of digits rises steadily by 20 MiB an hour")
            && finding.message.ends_with("and in 19 h reaches its limit of 512 MiB"),
        "{}",
        finding.message
    );
}

#[test]
fn a_leak_under_noise_is_found() {
    for seed in 0..10 {
        let mut noise = Noise(seed);
        let mut it = session(memory());
        let leak = |s: u64| 100.0 + 20.0 * s as f64 / 3_600.0 + 5.0 * noise.bell();
        let (raised, _) = watch(&mut it, 1_000, 6, leak);
        assert!(raised.is_some_and(|it| it < 4 * HOUR_S), "seed {seed}: {raised:?}");
    }
}

#[test]
fn flat_noise_is_no_leak() {
    for seed in 0..10 {
        let mut noise = Noise(seed);
        let (raised, report) =
            watch(&mut session(memory()), 1_000, 24, |_| 300.0 + 20.0 * noise.bell());
        assert_eq!(raised, None, "seed {seed}");
        assert!(report.unjudged.is_empty());
    }
}

#[test]
fn a_level_that_wanders_and_returns_is_no_leak() {
    for seed in 0..20 {
        let (mut noise, mut level) = (Noise(seed), 0.0);
        let wander = |_| {
            level = 0.98 * level + noise.bell();
            250.0 + level
        };
        let (raised, _) = watch(&mut session(memory()), 1_000, 24, wander);
        assert_eq!(raised, None, "seed {seed}");
    }
}

#[test]
fn a_saw_tooth_is_no_leak() {
    for tooth_s in [60, 300, 600, 1_200, 1_700] {
        let tooth = |s: u64| 100.0 + 200.0 * (s % tooth_s) as f64 / tooth_s as f64;
        let (raised, _) = watch(&mut session(memory()), 1_000, 24, tooth);
        assert_eq!(raised, None, "a tooth of {tooth_s} s");
    }
}

#[test]
fn a_long_saw_tooth_is_believed_once_and_known_from_its_first_fall() {
    // Three hours to a tooth: nobody can know before the first one falls.
    let tooth = |s: u64| 100.0 + 200.0 * (s % 10_800) as f64 / 10_800.0;
    let mut it = session(memory());
    let (raised, _) = watch(&mut it, 0, 3, tooth);
    assert!(raised.is_some());
    let (_, report) = watch(&mut it, 10_800, 3, tooth);
    assert_eq!(report, Report::default());
    let (raised, _) = watch(&mut it, 21_600, 48, tooth);
    assert_eq!(raised, None);
}

#[test]
fn a_saw_tooth_whose_floor_rises_is_a_leak() {
    let tooth = |s: u64| 100.0 + 15.0 * s as f64 / 3_600.0 + 20.0 * (s % 300) as f64 / 300.0;
    assert!(watch(&mut session(memory()), 1_000, 6, tooth).0.is_some());
}

#[test]
fn steps_are_no_leak() {
    for at_s in [1_500, 2_500, 5_000, 20_000, 40_000] {
        let step = |s: u64| if s < at_s { 100.0 } else { 300.0 };
        let (raised, _) = watch(&mut session(memory()), 1_000, 24, step);
        assert_eq!(raised, None, "a step at {at_s} s");
    }
}

#[test]
fn a_leak_that_is_slow_enough_is_nobodys_worry() {
    // Full in 40 hours.
    let slow = |s: u64| 100.0 + 10.3 * s as f64 / 3_600.0;
    assert_eq!(watch(&mut session(memory()), 1_000, 6, slow).0, None);
    let mut far = memory();
    far["horizon_s"] = json!(172_800);
    assert!(watch(&mut session(far), 1_000, 6, slow).0.is_some());
}

#[test]
fn a_start_ends_it_and_the_rise_that_follows_is_none() {
    let leak = |s: u64| 100.0 + 60.0 * s as f64 / 3_600.0;
    let mut it = session(memory());
    assert!(watch(&mut it, 1_000, 2, leak).0.is_some());
    let started = frame(8_200_000).mark(DIGITS, "workload.started").row([50.0 * MIB]);
    assert_eq!(it.observe(started), Report::default());
    // It loads its model for four minutes, then stays.
    let load = |s: u64| 50.0 + (s - 8_210).min(240) as f64;
    assert_eq!(watch(&mut it, 8_210, 12, load).0, None);
}

#[test]
fn a_start_of_another_or_one_that_is_told_again_ends_nothing() {
    let leak = |s: u64| 100.0 + 60.0 * s as f64 / 3_600.0;
    let mut it = session(memory());
    it.observe(frame(500_000).mark(DIGITS, "workload.started").row([100.0 * MIB]));
    let (_, standing) = watch(&mut it, 1_000, 2, leak);
    assert_eq!(standing.findings.len(), 1);
    it.resume();
    let told = frame(8_200_000)
        .mark(DIGITS, "workload.started")
        .marked_at(500_000)
        .mark("workload:other", "workload.started")
        .mark("box", "box.booted")
        .marked_at(100)
        .row([leak(8_200) * MIB]);
    assert_eq!(it.observe(told), standing);
}

#[test]
fn it_goes_on_after_a_restart_as_if_nothing_had_been() {
    let leak = |s: u64| 100.0 + 20.0 * s as f64 / 3_600.0;
    let (mut whole, mut cut) = (session(memory()), session(memory()));
    for age_s in (1_000..8_000).step_by(10) {
        let row = frame(age_s * 1_000).row([leak(age_s) * MIB]);
        assert_eq!(whole.observe(row.clone()), cut.observe(row), "at {age_s} s");
        if age_s % 500 == 0 {
            cut.resume();
        }
    }
}

#[test]
fn before_it_saw_enough_it_judges_nothing() {
    let mut it = session(memory());
    let unjudged = Report { findings: vec![], unjudged: vec![DIGITS.into()] };
    for age_s in (1_000..2_700).step_by(10) {
        let report = it.observe(frame(age_s * 1_000).row([100.0 * MIB]));
        assert_eq!(report, unjudged, "at {age_s} s");
    }
    assert_eq!(watch(&mut it, 2_700, 1, |_| 100.0).1, Report::default());
}

#[test]
fn holes_and_empty_frames_neither_raise_nor_clear() {
    let leak = |s: u64| 100.0 + 60.0 * s as f64 / 3_600.0;
    let mut it = session(memory());
    let (_, standing) = watch(&mut it, 1_000, 2, leak);
    let unjudged = Report { findings: vec![], unjudged: vec![DIGITS.into()] };
    assert_eq!(it.observe(frame(8_200_000)), unjudged);
    assert_eq!(it.observe(frame(8_210_000).row([None::<f64>])), unjudged);
    assert_eq!(it.observe(frame(8_215_000).row([f64::INFINITY])), standing);
    // Two hours that nobody saw: it is still there.
    let (_, later) = watch(&mut it, 15_400, 1, leak);
    assert_eq!(later, standing);
    // Every second reading missing is still a leak.
    let mut it = session(memory());
    let mut raised = false;
    for age_s in (1_000..10_000).step_by(10) {
        let value = (age_s % 20 == 0).then(|| leak(age_s) * MIB);
        raised |= !it.observe(frame(age_s * 1_000).row([value])).findings.is_empty();
    }
    assert!(raised);
}

#[test]
fn what_falls_towards_its_limit_is_found_too() {
    let config = json!({"rules": [{"name": "space", "series": "system.filesystem.usage",
        "labels": {"state": "free"}, "limit": 0, "toward": "fall", "severity": 2}]});
    let mut it = Session::<Leak>::new(config).bind([
        series("system.filesystem.usage").unit("By").label("state", "free").every_ms(10_000),
        series("system.filesystem.usage").unit("By").label("state", "used").every_ms(10_000),
    ]);
    let mut last = Report::default();
    for age_s in (1_000_u64..8_000).step_by(10) {
        let free = 900.0 - 100.0 * age_s as f64 / 3_600.0;
        last = it.observe(frame(age_s * 1_000).row([free * MIB, (1_000.0 - free) * MIB]));
    }
    assert_eq!(last.findings.len(), 1);
    assert_eq!(last.findings[0].severity, 2);
    let message = &last.findings[0].message;
    assert!(message.contains("of box falls steadily by 100 MiB an hour"), "{message}");
    assert!(message.ends_with("reaches its limit of 0 B"), "{message}");
}

#[test]
fn many_series_are_bounded_and_fit_into_a_checkpoint() {
    let config = json!({"rules": [{"name": "a-rather-long-name-for-a-rule", "series": "hw.*",
                        "limit": 1e12}]});
    let many = (0..200).map(|n| {
        series("hw.temperature")
            .on(&format!("accelerator:card-{n}"))
            .label("id", &format!("{n:08}"))
    });
    let mut it = Session::<Leak>::new(config).bind(many);
    let mut noise = Noise(1);
    for age_s in 301..1_001 {
        it.observe(frame(age_s * 1_000).row((0..200).map(|_| 1e9 * noise.next())));
    }
    let state = serde_json::to_vec(&it.detector().save()).unwrap();
    assert!((100 << 10..256 << 10).contains(&state.len()), "{} bytes", state.len());
}

#[test]
fn a_rule_that_makes_no_sense_is_refused() {
    for (config, word) in [
        (json!({"memory": {"digits": 1}}), "memory.\"digits\": wanted a target"),
        (json!({"memory": {"workload:digits": "lots"}}), "wanted bytes, or text such as"),
        (json!({"memory": {"workload:digits": -1}}), "wanted bytes"),
        (json!({"rules": [{"name": "a", "series": "x"}]}), "missing field `limit`"),
        (json!({"rules": [{"name": "a b", "series": "x", "limit": 1}]}), "letters, digits"),
        (json!({"rules": [{"name": "a", "series": "x", "limit": 1, "severity": 4}]}), "`severity`"),
        (json!({"rules": [{"name": "a", "series": "x", "limit": 1, "toward": "up"}]}), "`up`"),
        (json!({"rules": [{"name": "a", "series": "x", "limit": 1, "window_s": 1}]}), "`window_s`"),
        (
            json!({"memory": {"workload:a": 1}, "span_min_s": 21_600}),
            "at most nine tenths of `window_s`",
        ),
        (json!({"colour": 1}), "unknown field `colour`"),
    ] {
        let error = refusal::<Leak>(config).message;
        assert!(error.contains(word), "{error}");
    }
    let rule = json!({"name": "a", "series": "x", "limit": 1});
    let twice = refusal::<Leak>(json!({"rules": [rule, rule]})).message;
    assert!(twice.contains("\"a\" (rules[1]): another rule"), "{twice}");
}

#[test]
fn it_asks_for_the_series_of_its_rules() {
    assert_eq!(session(memory()).detector().reads(), ["process.memory.usage"]);
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), resumable::<Leak>);
}

/// As in `liveness`.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    let short = json!({"memory": {"workload:digits": "512MiB"}, "window_s": 600,
                       "span_min_s": 300, "settle_s": 30, "horizon_s": 3600});
    let write = |name: &str, about: &str, it: &Session<Leak>| {
        let path = format!("{}/golden/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, it.recording("leak", about).to_text()).unwrap();
    };
    let mut noise = Noise(7);
    let mut it = session(short.clone());
    for age_s in (1_000..1_500).step_by(10) {
        let value = 100.0 + 0.2 * (age_s - 1_000) as f64 + noise.bell();
        it.observe(frame(age_s * 1_000).row([value * MIB]));
        if age_s == 1_400 {
            it.resume();
        }
    }
    it.observe(frame(1_500_000).row([None::<f64>]));
    it.observe(frame(1_505_000).mark(DIGITS, "workload.started").row([90.0 * MIB]));
    write("leak", "memory leaks under noise until the workload is started again", &it);

    let mut it = session(short);
    for age_s in (1_000..2_000).step_by(10) {
        let value = 100.0 + (age_s % 170) as f64 + if age_s < 1_500 { 0.0 } else { 120.0 };
        it.observe(frame(age_s * 1_000).row([value * MIB]));
    }
    write("benign", "a heap that is collected, and a step: nothing", &it);
}
