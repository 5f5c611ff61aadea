use super::*;
use crate::model::Line;

fn series(target: &str) -> Series {
    Series {
        name: "homeostat.probe.up".into(),
        unit: "1".into(),
        target: TargetId::from_text(target),
        period_ms: 1000,
        labels: vec![],
    }
}

fn known() -> Known {
    let mut known = Known::of(vec!["workload:*".into()], []);
    known.bound(&[series("workload:a"), series("box")]);
    known
}

fn finding() -> types::Finding {
    types::Finding {
        key: "gone:a".into(),
        kind: "process.gone".into(),
        target: "workload:a".into(),
        severity: 2,
        series: vec![0],
        message: "gone".into(),
        evidence: vec![],
    }
}

fn judged(finding: types::Finding) -> Result<Report, Fault> {
    report(types::Report { findings: vec![finding], unjudged: vec![] }, &known())
}

fn proposal() -> heal::Proposal {
    heal::Proposal {
        action: "workload.restart".into(),
        target: "workload:a".into(),
        params: vec![],
        reason: "it is gone".into(),
        also_prove: vec![],
    }
}

#[test]
fn a_report_within_bounds_passes_unchanged() {
    let judged = judged(finding()).unwrap();
    assert_eq!(judged.findings[0].key, "gone:a");
    assert_eq!(judged.findings[0].target, TargetId::workload("a"));
}

#[test]
fn a_flood_is_named_by_its_number() {
    let mut findings = vec![finding(); 1_000_000];
    findings.iter_mut().enumerate().for_each(|(n, it)| it.key = n.to_string());
    let flood = types::Report { findings, unjudged: vec![] };
    let fault = report(flood, &known()).unwrap_err();
    assert_eq!(fault.to_string(), "returned 1000000 findings, at most 256");
}

#[test]
fn each_bound_of_a_finding_holds() {
    let long = || "x".repeat(TEXT_BYTES_MAX + 1);
    type Break = fn(&mut types::Finding, String);
    let breaks: [(&str, Break); 12] = [
        ("key", |f, long| f.key = long),
        ("empty key", |f, _| f.key.clear()),
        ("kind", |f, long| f.kind = long),
        ("empty kind", |f, _| f.kind.clear()),
        ("target", |f, long| f.target = long),
        ("message", |f, long| f.message = long.repeat(2)),
        ("evidence", |f, _| {
            f.evidence = vec![("a".into(), types::Value::Flag(true)); ATTRS_MAX + 1];
        }),
        ("evidence name", |f, long| f.evidence = vec![(long, types::Value::Int(1))]),
        ("evidence text", |f, long| {
            f.evidence = vec![("a".into(), types::Value::Text(long))];
        }),
        ("severity", |f, _| f.severity = 4),
        ("series", |f, _| f.series = vec![2]),
        ("many series", |f, _| f.series = vec![0; SERIES_MAX + 1]),
    ];
    for (story, spoil) in breaks {
        let mut spoilt = finding();
        spoil(&mut spoilt, long());
        assert!(judged(spoilt).is_err(), "{story}");
    }
}

#[test]
fn a_finding_is_about_a_target_that_the_detector_was_given() {
    for (target, findings) in [
        ("workload:a", Some(1)),
        // Its to judge, and not there.
        ("workload:b", Some(0)),
        ("workload:*", Some(0)),
        // Known to the box, but not this detector's to judge.
        ("box", None),
        ("", None),
    ] {
        let judged = judged(types::Finding { target: target.into(), ..finding() });
        assert_eq!(judged.ok().map(|it| it.findings.len()), findings, "{target}");
    }
}

#[test]
fn a_line_makes_its_target_known_for_good() {
    let mut known = known();
    let line = Line {
        target: TargetId::workload("b"),
        source: "output".into(),
        age_ms: 1,
        priority: 3,
        text: "boom".into(),
    };
    known.seen(&Frame { lines: vec![line], ..Frame::default() });
    known.bound(&[series("workload:a")]);
    let about = types::Finding { target: "workload:b".into(), ..finding() };
    let raw = types::Report { findings: vec![about], unjudged: vec![] };
    assert!(report(raw, &known).is_ok());
}

#[test]
fn what_was_latched_about_a_target_that_has_said_nothing_yet_is_not_foreign() {
    let file = ["link:eth0", "external:cam"].map(TargetId::from_text);
    let mut known = Known::of(vec!["link:*".into(), "external:cam".into()], file);
    known.bound(&[]);
    let about = |target: &str| types::Report {
        findings: vec![types::Finding { target: target.into(), series: vec![], ..finding() }],
        unjudged: vec!["link:eth0".into()],
    };
    for target in ["link:eth0", "external:cam"] {
        let report = report(about(target), &known).unwrap();
        assert_eq!(report.unjudged, [TargetId::from_text("link:eth0")], "{target}");
    }
    // Taken out of the file, and still in a checkpoint.
    assert_eq!(report(about("link:eth1"), &known).unwrap().findings, []);
    assert!(report(about("workload:a"), &known).is_err());
}

#[test]
fn two_findings_never_share_a_key() {
    let raw = types::Report { findings: vec![finding(), finding()], unjudged: vec![] };
    assert!(matches!(report(raw, &known()), Err(Fault::Nonsense { .. })));
}

#[test]
fn unjudged_targets_are_bounded_and_only_its_own_count() {
    let raw = |unjudged| types::Report { findings: vec![], unjudged };
    let judged = report(raw(vec!["workload:a".into(), "box".into()]), &known()).unwrap();
    assert_eq!(judged.unjudged, [TargetId::workload("a")]);
    let many = vec!["workload:a".to_owned(); UNJUDGED_MAX + 1];
    assert!(report(raw(many), &known()).is_err());
}

#[test]
fn no_number_comes_out_that_json_cannot_write() {
    let nums = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5];
    let evidence = nums.map(|num| ("n".to_owned(), types::Value::Num(num))).to_vec();
    let report = judged(types::Finding { evidence, ..finding() }).unwrap();
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn decisions_are_bounded_too() {
    let long = "x".repeat(MESSAGE_BYTES_MAX + 1);
    assert!(decision(heal::Decision::Act(proposal())).is_ok());
    let pause = |ms| heal::Decision::Wait(heal::Pause { ms, why: "soon".into() });
    assert!(decision(pause(WAIT_MS_MAX)).is_ok());
    for bad in [
        pause(WAIT_MS_MAX + 1),
        heal::Decision::Decline(long.clone()),
        heal::Decision::GiveUp(long.clone()),
        heal::Decision::Act(heal::Proposal { action: String::new(), ..proposal() }),
        heal::Decision::Act(heal::Proposal { reason: long.clone(), ..proposal() }),
        heal::Decision::Act(heal::Proposal {
            also_prove: vec!["p".into(); ATTRS_MAX + 1],
            ..proposal()
        }),
    ] {
        assert!(decision(bad).is_err());
    }
}

#[test]
fn a_refusal_is_cut_to_size() {
    let error = types::Error { code: "c".repeat(5_000), message: "ü".repeat(5_000) };
    let Fault::Refused { code, message, .. } = refusal("configure", error) else { panic!() };
    assert_eq!((code.len(), message.len()), (TEXT_BYTES_MAX, MESSAGE_BYTES_MAX));
}
