use super::*;
use crate::types::Finding;

/// Says that something is wrong whenever a number is above 1.
#[derive(Default)]
struct Loud {
    resumed: u32,
}

impl Subject for Loud {
    fn configure(&mut self, config: &str) -> Result<Vec<String>, String> {
        if config == "{\"deaf\":true}" { Err("deaf".into()) } else { Ok(vec!["loud.*".into()]) }
    }
    fn bind(&mut self, _: &[Series]) -> Result<(), String> {
        Ok(())
    }
    fn observe(&mut self, frame: &RawFrame) -> Result<Report, String> {
        let loud = frame.values.iter().any(|value| *value > 1.0);
        let findings = loud.then(|| Finding::new("loud", "box", "loud")).into_iter().collect();
        Ok(Report { findings, unjudged: vec![] })
    }
    fn resume(&mut self, _: &[Series]) -> Result<(), String> {
        self.resumed += 1;
        Ok(())
    }
    fn decide(&mut self, _: &Incident) -> Result<Decision, String> {
        Err("no healer".into())
    }
}

const STORY: &str = r#"{"homeostat_recording":1,"plugin":"loud","config":{}}
{"frame":{"seq":1,"now":{"age_ms":1000,"boot":1},"rows":[1000],"values":[0.5]}}
{"report":{"findings":[],"unjudged":[]}}
{"resume":{}}
{"frame":{"seq":2,"now":{"age_ms":2000,"boot":1},"rows":[2000],"values":[2.5]}}
"#;

#[test]
fn a_replay_fills_in_the_answers_that_were_not_written_down() {
    let mut loud = Loud::default();
    let played = Recording::parse(STORY).unwrap().replay(&mut loud).unwrap();
    assert_eq!(loud.resumed, 1);
    assert!(matches!(played.steps.last(), Some(Step::Report(it)) if it.findings.len() == 1));
    assert_eq!(Recording::parse(&played.to_text()).unwrap(), played);
    assert_eq!(played.replay(&mut loud).unwrap(), played);
}

#[test]
fn another_answer_is_shown_beside_the_one_written_down() {
    let story = STORY.replace("0.5", "1.5");
    let error = Recording::parse(&story).unwrap().replay(&mut Loud::default()).unwrap_err();
    let RecordingError::Differs { line, wanted, found, difference } = error else {
        panic!("{error}")
    };
    assert_eq!(line, 3);
    assert!(found.contains("loud") && !wanted.contains("loud"));
    assert_eq!(difference, "  unexpected loud/box (loud of box): loud");
}

#[test]
fn what_is_no_recording_is_named_with_its_line() {
    for (text, word) in [
        ("", "line 1"),
        ("{}", "homeostat_recording"),
        ("{\"homeostat_recording\":2}", "version 1, found 2"),
        (&STORY.replace("\"resume\"", "\"sleep\""), "line 4"),
    ] {
        let error = Recording::parse(text).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    for (story, word) in [
        (STORY.replace("\"config\":{}", "\"config\":{\"deaf\":true}"), "line 1: deaf"),
        (
            STORY.replace("{\"resume\":{}}", "{\"report\":{\"findings\":[],\"unjudged\":[]}}"),
            "line 4: an answer that nothing asked for",
        ),
    ] {
        let error = Recording::parse(&story).unwrap().replay(&mut Loud::default()).unwrap_err();
        assert_eq!(error.to_string(), word);
    }
}

const CAPTURED: &str = r#"{"homeostat_recording":1,"box":"press-7","series":[{"name":"loudness","unit":"dB","target":"box","period_ms":1000,"labels":[]},{"name":"loud.peak","unit":"dB","target":"workload:a","period_ms":1000,"labels":[]},{"name":"loud.peak","unit":"dB","target":"workload:b","period_ms":1000,"labels":[]}]}
{"frame":{"seq":1,"now":{"age_ms":1000,"boot":1},"rows":[400,800],"values":[1.0,2.0,3.0,4.0,null,null],"lines":[{"target":"workload:b","source":"output","age_ms":1,"priority":6,"text":"b"}]}}
{"frame":{"seq":2,"lost":4,"now":{"age_ms":2000,"boot":1},"rows":[1400],"values":[null,null,9.0]}}
{"frame":{"seq":3,"now":{"age_ms":3000,"boot":1},"marks":[{"target":"box","age_ms":2500,"what":"box.booted","attrs":[]}]}}
"#;

#[test]
fn what_a_box_wrote_down_is_shown_to_a_plugin_as_the_daemon_would_show_it() {
    let captured = Recording::parse(CAPTURED).unwrap();
    assert!(captured.is_captured());
    let [reads, targets] = [["loud.*".to_owned()], ["workload:a".to_owned()]];
    let seen = captured.seen_by("loud", serde_json::Value::Null, &reads, &targets);
    assert!(!seen.is_captured());
    let names: Vec<_> = seen.header.series.iter().map(|it| it.target.as_str()).collect();
    assert_eq!(names, ["workload:a"]);
    let frames: Vec<_> = seen.steps.iter().map(erased::Json::json).collect();
    assert_eq!(
        frames,
        [
            r#"{"frame":{"seq":1,"now":{"age_ms":1000,"boot":1},"rows":[400],"values":[2.0]}}"#,
            r#"{"frame":{"seq":3,"lost":4,"now":{"age_ms":3000,"boot":1},"marks":[{"target":"box","age_ms":2500,"what":"box.booted","attrs":[]}]}}"#,
        ]
    );
    // It is a recording like any other from here on.
    let played = seen.replay(&mut Loud::default()).unwrap();
    assert_eq!(Recording::parse(&played.to_text()).unwrap(), played);
    assert_eq!(played.replay(&mut Loud::default()).unwrap(), played);
}

#[test]
fn what_differs_is_said_finding_by_finding() {
    let finding = |key: &str, message: &str| Finding {
        key: key.into(),
        ..Finding::new("loud", "box", message)
    };
    let report = |findings: &[Finding], unjudged: &[&str]| {
        let unjudged = unjudged.iter().map(|it| (*it).to_owned()).collect();
        Step::Report(Report { findings: findings.to_vec(), unjudged })
    };
    let wanted = report(&[finding("a", "2 dB"), finding("gone", "x")], &["workload:a"]);
    let found = report(&[finding("a", "3 dB"), finding("new", "y")], &["workload:b"]);
    assert_eq!(difference(&wanted, &wanted), "");
    assert_eq!(
        difference(&wanted, &found),
        "  finding a\n    message: wanted \"2 dB\"\n             found  \"3 dB\"\n  \
         missing gone (loud of box): x\n  unexpected new (loud of box): y\n  \
         missing unjudged workload:a\n  unexpected unjudged workload:b"
    );
    let (a, b) = (finding("a", "x"), finding("b", "x"));
    let turned = difference(&report(&[a.clone(), b.clone()], &[]), &report(&[b, a], &[]));
    assert!(turned.contains("order"), "{turned}");
}

#[test]
fn a_number_comes_back_to_the_last_bit() {
    // Written by its shortest decimal, and read by the nearest number.
    let mut bits: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..200_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = f64::from_bits(bits);
        if number.is_finite() {
            let text = serde_json::to_string(&number).unwrap();
            let read: f64 = serde_json::from_str(&text).unwrap();
            assert_eq!(read.to_bits(), number.to_bits(), "{text}");
        }
    }
}
