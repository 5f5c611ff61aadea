use homeostat_sdk::testkit::{FrameMaker, Session, frame, golden, refusal, resumable, series};
use homeostat_sdk::{Report, Series};

use super::*;

const DIGITS: &str = "workload:digits";

/// Columns: running, probe `ready` up, overdue. The probe runs every 5 s.
fn digits() -> Vec<Series> {
    let probe = |name: &str| series(name).on(DIGITS).label("probe", "ready").every_ms(5_000).into();
    vec![series(RUNNING).on(DIGITS).into(), probe(PROBE_UP), probe(PROBE_OVERDUE)]
}

fn session(config: &str) -> Session<Liveness> {
    Session::new(config).bind(digits())
}

/// A session whose workload started at 1 s and answered well at 2 s.
fn healthy(config: &str) -> Session<Liveness> {
    let mut it = session(config);
    it.observe(frame(1_000).mark(DIGITS, "workload.started"));
    it.observe(frame(2_000).row([1.0, 1.0, 0.0]));
    it
}

/// Nothing is cleared and nothing is renewed.
fn unjudged() -> Report {
    Report { findings: vec![], unjudged: vec![DIGITS.into()] }
}

fn kinds(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|it| it.kind.as_str()).collect()
}

/// A frame in which the process runs and the probe says `up`.
fn probed(age_ms: u64, up: f64) -> FrameMaker {
    frame(age_ms).row([1.0, up, 0.0])
}

/// A frame in which only the process is read.
fn runs(age_ms: u64, running: f64) -> FrameMaker {
    frame(age_ms).row([Some(running), None, None])
}

#[test]
fn an_exit_nobody_asked_for_is_found_in_the_frame_that_carries_it() {
    let mut it = healthy("");
    let report = it.observe(frame(3_000).exited(DIGITS, "signal 11", false));
    assert_eq!(kinds(&report), ["process.gone"]);
    let gone = &report.findings[0];
    assert_eq!(gone.severity, 3);
    assert_eq!(gone.message, "digits ended and nobody asked it to: signal 11");
    assert_eq!(homeostat_sdk::attr(&gone.evidence, "status").unwrap().as_text(), Some("signal 11"));
}

#[test]
fn a_start_clears_nothing_before_the_first_sign_of_life() {
    let mut it = healthy("");
    it.observe(frame(3_000).exited(DIGITS, "signal 11", false));
    assert_eq!(it.observe(frame(4_000).mark(DIGITS, "workload.started")), unjudged());
    assert_eq!(it.observe(probed(5_000, 0.0)), unjudged());
    assert_eq!(it.observe(probed(6_000, 1.0)), Report::default());

    // Where no probe tells, a process that still runs after a moment does.
    let mut it = Session::<Liveness>::new("").bind([series(RUNNING).on(DIGITS)]);
    it.observe(frame(1_000).mark(DIGITS, "workload.started"));
    assert_eq!(it.observe(frame(2_000).row([1.0])), unjudged());
    assert_eq!(it.observe(frame(3_000).row([1.0])), Report::default());
}

#[test]
fn a_process_that_ends_after_every_start_stays_gone_all_the_while() {
    let mut it = healthy("");
    let first = it.observe(frame(3_000).exited(DIGITS, "exit code 1", false));
    for n in 1..10 {
        let started = [("attempt", format!("1-{n}"))];
        let report =
            it.observe(frame(3_000 + n * 100).mark_with(DIGITS, "workload.started", started));
        assert_eq!(report, unjudged());
        let ended =
            frame(3_050 + n * 100).mark_with(DIGITS, "workload.exited", [("wanted", false)]);
        let report = it.observe(ended);
        assert_eq!(report.findings[0].key, first.findings[0].key);
    }
}

#[test]
fn a_crash_and_its_restart_in_one_frame_leave_nothing() {
    let mut it = healthy("");
    let both = frame(3_000).exited(DIGITS, "exit code 1", false).marked_at(2_500);
    assert_eq!(it.observe(both.mark(DIGITS, "workload.started")), unjudged());
    assert_eq!(it.observe(probed(4_000, 1.0)), Report::default());
}

#[test]
fn a_frame_that_says_nothing_of_a_target_judges_nothing_there() {
    let mut it = healthy("");
    it.observe(frame(3_000).exited(DIGITS, "exit code 1", false));
    let report = it.observe(frame(4_000));
    assert_eq!(report, Report { findings: vec![], unjudged: vec![DIGITS.to_owned()] });
    let report = it.observe(runs(5_000, 0.0));
    assert_eq!(kinds(&report), ["process.gone"]);
    assert!(report.unjudged.is_empty());
}

#[test]
fn a_wanted_stop_is_no_finding_and_ends_those_there_were() {
    for stop in [
        frame(12_000).mark(DIGITS, "workload.stopped"),
        frame(12_000).exited(DIGITS, "signal 15", true),
    ] {
        let mut it = healthy("");
        it.observe(probed(5_000, 0.0));
        assert_eq!(kinds(&it.observe(probed(10_000, 0.0))), ["probe.failing"]);
        // It may be half of a restart, so for a moment nothing is cleared.
        assert_eq!(it.observe(stop), unjudged());
        assert_eq!(it.observe(runs(14_000, 0.0)), unjudged());
        for age_s in 16..60 {
            assert_eq!(it.observe(runs(age_s * 1_000, 0.0)), Report::default());
        }
        it.resume();
        assert_eq!(it.observe(runs(61_000, 0.0)), Report::default());
    }
}

#[test]
fn a_restart_that_leaves_it_down_is_found_and_clears_nothing_meanwhile() {
    let mut it = healthy("");
    assert_eq!(it.observe(frame(3_000).exited(DIGITS, "signal 15", true)), unjudged());
    let ended = [("action", "workload.restart")];
    assert_eq!(it.observe(frame(3_100).mark_with(DIGITS, "action.ended", ended)), unjudged());
    for age_s in 4..=7 {
        assert_eq!(it.observe(runs(age_s * 1_000, 0.0)), unjudged());
    }
    let report = it.observe(runs(8_000, 0.0));
    assert_eq!(
        report.findings[0].message,
        "digits was stopped, and the start that followed left it down"
    );
}

#[test]
fn a_start_that_could_not_be_made_says_why() {
    let mut it = session("");
    let attrs: [(&str, homeostat_sdk::Value); 3] = [
        ("status", "status unknown".into()),
        ("wanted", false.into()),
        ("error", "/opt/digits: no such file".into()),
    ];
    let report = it.observe(frame(1_000).mark_with(DIGITS, "workload.exited", attrs));
    assert_eq!(
        report.findings[0].message,
        "digits could not be started: /opt/digits: no such file"
    );
}

#[test]
fn what_is_told_again_after_a_pause_changes_nothing() {
    let told = |age_ms| {
        let it = frame(age_ms).mark("box", "box.booted").marked_at(100);
        it.mark_with(DIGITS, "workload.started", [("attempt", "1-1")]).marked_at(1_000)
    };
    let mut it = session("");
    it.observe(told(1_000));
    it.observe(probed(2_000, 1.0));
    it.observe(probed(40_000, 0.0));
    let failing = it.observe(probed(45_000, 0.0));
    assert_eq!(kinds(&failing), ["probe.failing"]);
    it.resume();
    assert_eq!(it.observe(told(46_000)), failing);

    let exited = || frame(50_000).exited(DIGITS, "signal 9", false);
    let gone = it.observe(exited());
    it.resume();
    assert_eq!(it.observe(exited().marked_at(51_000)), gone);
}

#[test]
fn a_process_that_went_without_a_mark_is_found_by_its_readings() {
    let mut it = healthy("");
    it.observe(runs(10_000, 0.0));
    assert_eq!(kinds(&it.observe(runs(11_000, 0.0))), ["process.gone"]);
    // Somebody else started it, and we adopted it without a word.
    it.observe(runs(14_000, 1.0));
    assert_eq!(kinds(&it.observe(runs(15_000, 1.0))), Vec::<&str>::new());
}

#[test]
fn a_reading_from_before_the_mark_does_not_contradict_it() {
    let mut it = healthy("");
    let late = frame(3_000).row_at(2_900, [1.0, 1.0, 0.0]).exited(DIGITS, "exit code 1", false);
    assert_eq!(kinds(&it.observe(late)), ["process.gone"]);
    let stale = frame(3_500).row_at(2_950, [1.0, 1.0, 0.0]);
    assert_eq!(kinds(&it.observe(stale)), ["process.gone"]);
}

#[test]
fn the_exit_of_an_earlier_attempt_is_late_news() {
    let mut it = healthy("");
    it.observe(frame(3_000).mark_with(DIGITS, "workload.started", [("attempt", "1-2")]));
    let late = frame(3_100).exited(DIGITS, "signal 9", false);
    assert_eq!(kinds(&it.observe(late)), Vec::<&str>::new());
}

#[test]
fn two_bad_readings_of_three_make_a_failing_probe_and_two_good_ones_end_it() {
    let mut it = healthy("");
    for (age_ms, up, expected) in [
        (5_000, 0.0, 0),
        (10_000, 1.0, 0),
        (15_000, 0.0, 1),
        (20_000, 1.0, 0),
        (25_000, 0.0, 1),
        (30_000, 0.0, 1),
        (35_000, 1.0, 1),
        (40_000, 1.0, 0),
    ] {
        let report = it.observe(probed(age_ms, up));
        assert_eq!(report.findings.len(), expected, "at {age_ms}: {report:?}");
    }
}

#[test]
fn a_standing_finding_does_not_change_from_frame_to_frame() {
    let mut it = healthy("");
    it.observe(probed(5_000, 0.0));
    let first = it.observe(probed(10_000, 0.0));
    assert_eq!(
        first.findings[0].message,
        "probe ready of digits: 2 of its last 3 readings were bad"
    );
    assert_eq!(it.observe(probed(15_000, 0.0)), first);
    assert_eq!(it.observe(runs(16_000, 1.0)), first);
}

#[test]
fn a_start_is_granted_its_time_until_the_first_good_reading() {
    let mut it = session(r#"{"start_grace_s":20}"#);
    it.observe(frame(1_000).mark(DIGITS, "workload.started"));
    for age_s in [5, 10, 15, 20] {
        assert_eq!(it.observe(probed(age_s * 1_000, 0.0)), unjudged());
    }
    assert_eq!(kinds(&it.observe(probed(25_000, 0.0))), ["probe.failing"]);

    let mut it = session(r#"{"start_grace_s":20}"#);
    it.observe(frame(1_000).mark(DIGITS, "workload.started"));
    for (age_s, up, expected) in
        [(5, 0.0, 0), (8, 0.0, 0), (10, 1.0, 0), (12, 0.0, 0), (14, 0.0, 1)]
    {
        let report = it.observe(probed(age_s * 1_000, up));
        assert_eq!(report.findings.len(), expected, "at {age_s} s");
    }
}

#[test]
fn a_start_that_tells_its_grace_is_believed_unless_a_site_overrides_it() {
    let patient = "workload.started";
    let told = || frame(1_000).mark_with(DIGITS, patient, [("start_grace_ms", 60_000_i64)]);
    let site = r#"{"overrides":[{"target":"workload:d*","start_grace_s":0}]}"#;
    for (config, expected) in [("", 0), (site, 1)] {
        let mut it = session(config);
        it.observe(told());
        it.observe(probed(40_000, 0.0));
        assert_eq!(it.observe(probed(45_000, 0.0)).findings.len(), expected, "{config}");
    }
}

#[test]
fn a_new_process_is_not_blamed_for_the_readings_of_the_old() {
    let mut it = healthy("");
    it.observe(probed(5_000, 0.0));
    assert_eq!(kinds(&it.observe(probed(10_000, 0.0))), ["probe.failing"]);
    let report = it.observe(frame(11_000).exited(DIGITS, "signal 9", true));
    assert_eq!(report, unjudged());
    let report = it.observe(frame(11_100).mark(DIGITS, "workload.started"));
    assert_eq!(report, unjudged());
    let late = frame(12_000).row_at(11_050, [1.0, 0.0, 0.0]);
    assert_eq!(it.observe(late), unjudged());
    assert_eq!(it.observe(probed(13_000, 1.0)), Report::default());
}

#[test]
fn a_probe_of_a_process_that_is_gone_adds_nothing() {
    let mut it = healthy("");
    it.observe(frame(3_000).exited(DIGITS, "exit code 1", false));
    for age_s in [5, 10, 15] {
        let report = it.observe(frame(age_s * 1_000).row([0.0, 0.0, 0.0]));
        assert_eq!(kinds(&report), ["process.gone"]);
    }
}

#[test]
fn a_probe_that_brings_no_verdict_is_silent_and_that_alone() {
    let mut it = healthy("");
    let mut raised_at = None;
    for age_s in 3..40 {
        let report = it.observe(runs(age_s * 1_000, 1.0));
        if raised_at.is_none() && !report.findings.is_empty() {
            assert_eq!(kinds(&report), ["probe.silent"]);
            assert_eq!(
                report.findings[0].message,
                "probe ready of digits brought no verdict for 20 s"
            );
            raised_at = Some(age_s);
        }
    }
    assert_eq!(raised_at, Some(22));
    assert_eq!(it.observe(probed(41_000, 1.0)), Report::default());
}

#[test]
fn silence_is_judged_though_the_frame_is_empty() {
    let mut it = healthy("");
    let reports: Vec<_> = (1..=8).map(|n| it.observe(frame(2_000 + n * 5_000))).collect();
    assert_eq!(reports[2].unjudged, [DIGITS]);
    assert_eq!(kinds(&reports[3]), ["probe.silent"]);
    assert!(reports[7].unjudged.is_empty());
}

#[test]
fn a_daemon_that_slept_or_lost_rows_accuses_no_probe_of_silence() {
    let mut it = healthy("");
    assert_eq!(it.observe(runs(600_000, 1.0)), Report::default());
    for n in 1..=10 {
        let report = it.observe(runs(600_000 + n * 5_000, 1.0).lost(1));
        assert_eq!(report, Report::default());
    }
}

#[test]
fn lives_too_short_to_hear_a_probe_do_not_add_up_to_silence() {
    let mut it = healthy("");
    for life in 1..=10 {
        it.resume();
        for n in 0..3 {
            let report = it.observe(frame(life * 60_000 + n * 5_000).row([Some(1.0), None, None]));
            assert_eq!(report, Report::default(), "life {life}, frame {n}");
        }
    }
}

#[test]
fn silence_that_stands_is_not_ended_by_a_restart() {
    let mut it = healthy("");
    for n in 1..=4 {
        it.observe(frame(2_000 + n * 5_000));
    }
    it.resume();
    assert_eq!(kinds(&it.observe(runs(23_000, 1.0))), ["probe.silent"]);
    assert_eq!(it.observe(probed(24_000, 1.0)), Report::default());
}

#[test]
fn a_probe_that_never_returns_is_silent() {
    let mut it = healthy("");
    let stuck = |age_ms, seconds: f64| frame(age_ms).row([Some(1.0), None, Some(seconds)]);
    assert_eq!(it.observe(stuck(3_000, 5.0)), Report::default());
    let report = it.observe(stuck(4_000, 6.0));
    assert_eq!(
        report.findings[0].message,
        "probe ready of digits does not return: 6 s past its timeout"
    );
    assert_eq!(it.observe(probed(5_000, 1.0)), Report::default());
}

#[test]
fn an_external_that_fails_is_of_its_own_kind_and_has_no_process() {
    let up = series(PROBE_UP).on("external:db").label("probe", "tcp");
    let mut it = Session::<Liveness>::new("").bind([up]);
    it.observe(frame(1_000).row([1.0]));
    it.observe(frame(2_000).row([0.0]));
    let report = it.observe(frame(3_000).row([0.0]));
    assert_eq!(kinds(&report), ["external.failing"]);
    assert_eq!(report.findings[0].key, "external.failing/external:db/tcp");
}

#[test]
fn maintenance_hushes_and_its_end_tells_what_is_still_wrong() {
    for target in [DIGITS, "box"] {
        let mut it = healthy("");
        it.observe(frame(3_000).mark(target, "maintenance.on"));
        let report = it.observe(frame(4_000).exited(DIGITS, "signal 9", false));
        assert_eq!(report, Report::default());
        let report = it.observe(frame(5_000).mark(target, "maintenance.off"));
        assert_eq!(kinds(&report), ["process.gone"], "{target}");
    }
}

#[test]
fn a_boot_forgets_what_ran_and_grants_a_start() {
    let mut it = healthy("");
    for age_s in 10..35 {
        let report = it.observe(runs(age_s * 1_000, 0.0).boot(2));
        assert_eq!(report.findings, [], "at {age_s} s");
    }
    // Nothing started it in all that time.
    for age_s in 35..45 {
        it.observe(runs(age_s * 1_000, 0.0).boot(2));
    }
    assert_eq!(kinds(&it.observe(runs(45_000, 0.0).boot(2))), ["process.gone"]);
}

#[test]
fn a_fresh_detector_clears_nothing_before_it_has_seen_every_probe() {
    let mut it = session("");
    assert_eq!(it.observe(runs(100_000, 1.0)).unjudged, [DIGITS]);
    assert_eq!(it.observe(probed(101_000, 0.0)).unjudged, [DIGITS]);
    assert_eq!(it.observe(probed(106_000, 1.0)), Report::default());
}

#[test]
fn what_it_knew_survives_a_restart() {
    let mut it = healthy("");
    it.observe(probed(5_000, 0.0));
    it.resume();
    let failing = it.observe(probed(10_000, 0.0));
    assert_eq!(kinds(&failing), ["probe.failing"]);
    it.resume();
    assert_eq!(it.observe(runs(11_000, 1.0)), failing);
    it.observe(frame(12_000).exited(DIGITS, "signal 9", false));
    it.resume();
    assert_eq!(kinds(&it.observe(runs(13_000, 0.0))), ["process.gone"]);
}

#[test]
fn targets_that_are_bound_no_more_are_forgotten() {
    let mut it = healthy("");
    it.observe(frame(3_000).exited(DIGITS, "signal 9", false));
    it.rebind([series(RUNNING).on("workload:other")]);
    let report = it.observe(frame(4_000).row([1.0]));
    assert_eq!(report, Report::default());
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_by_name() {
    for (config, word) in [
        (r#"{"probe_fails":4}"#, "4 of 3"),
        (r#"{"probe_of":33}"#, "M <= 32"),
        (r#"{"start_grace_s":-1}"#, "start_grace_s wants seconds"),
        (r#"{"silent_periods":0}"#, "silent_periods"),
        (r#"{"overrides":[{"probe_fails":9}]}"#, "overrides[0]."),
        (r#"{"grace":1}"#, "unknown field `grace`"),
    ] {
        let error = refusal::<Liveness>(config);
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), resumable::<Liveness>);
}

/// Makes the golden recordings; `cargo test -p liveness -- --ignored` after a
/// change of the story, then read what changed.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/golden");
    let write = |name: &str, about: &str, it: &Session<Liveness>| {
        let text = it.recording("liveness", about).to_text();
        std::fs::write(format!("{dir}/{name}.jsonl"), text).unwrap();
    };

    let mut it = healthy("");
    it.observe(runs(3_000, 1.0));
    it.observe(frame(3_412).exited(DIGITS, "signal 11", false));
    it.observe(runs(4_000, 0.0));
    it.observe(frame(4_050));
    it.observe(frame(4_100).mark(DIGITS, "workload.started"));
    it.observe(probed(5_000, 0.0));
    it.observe(probed(6_000, 1.0));
    it.resume();
    it.observe(probed(11_000, 1.0));
    write("crash", "digits crashes, is restarted and answers again", &it);

    let mut it = healthy("");
    it.observe(probed(5_000, 1.0));
    it.observe(probed(10_000, 0.0));
    it.observe(runs(11_000, 1.0));
    it.observe(probed(15_000, 0.0));
    it.observe(runs(16_000, 1.0));
    it.observe(frame(16_200).exited(DIGITS, "signal 9", true));
    it.observe(frame(16_300).mark(DIGITS, "workload.started"));
    it.observe(probed(18_000, 0.0));
    it.observe(probed(18_250, 1.0));
    write("hang", "digits hangs: it runs, its probe fails, a restart helps", &it);

    let mut it = healthy("");
    (1..=6).for_each(|n| drop(it.observe(runs(2_000 + n * 5_000, 1.0))));
    it.observe(probed(33_000, 1.0));
    it.observe(frame(34_000).mark(DIGITS, "workload.stopped").exited(DIGITS, "exit code 0", true));
    (35..=45).for_each(|n| drop(it.observe(runs(n * 1_000, 0.0))));
    write("silence", "a probe brings nothing, then an operator stops digits", &it);
}
