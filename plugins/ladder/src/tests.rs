use homeostat_sdk::testkit::{IncidentMaker, decide, golden, healer, incident};
use homeostat_sdk::{Finding, Proposal};
use serde_json::json;

use super::*;

const DIGITS: &str = "workload:digits";
const RESTART: &str = "workload.restart";

fn gone() -> IncidentMaker {
    incident(DIGITS, "process.gone").remedy(RESTART)
}

fn asked(config: &str, it: IncidentMaker) -> Decision {
    decide::<Ladder>(config, it)
}

fn act(decision: Decision) -> Proposal {
    match decision {
        Decision::Act(proposal) => proposal,
        other => panic!("wanted an action, found {other:?}"),
    }
}

fn waits(decision: &Decision) -> (u64, &str) {
    match decision {
        Decision::Wait(pause) => (pause.ms, &pause.why),
        other => panic!("wanted a wait, found {other:?}"),
    }
}

#[test]
fn what_is_gone_or_fails_its_probe_is_restarted_at_once() {
    for kind in ["process.gone", "probe.failing"] {
        let proposal = act(asked("", incident(DIGITS, kind).remedy(RESTART)));
        assert_eq!((proposal.action.as_str(), proposal.target.as_str()), (RESTART, DIGITS));
        assert_eq!(proposal.reason, format!("{kind}; workload.restart, try 1 of 5"));
    }
}

#[test]
fn each_failure_doubles_the_pause() {
    for (failures, pause_ms) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000)] {
        let failed = |age_ms| {
            let it = (1..failures).fold(gone(), |it, n| it.attempt(RESTART, 900_000 - n, "failed"));
            it.attempt(RESTART, age_ms, "failed")
        };
        let early = asked("", failed(pause_ms - 300));
        assert_eq!(waits(&early).0, 300, "after {failures}");
        let due = act(asked("", failed(pause_ms)));
        assert!(due.reason.ends_with(&format!("try {} of 5", failures + 1)), "{}", due.reason);
    }
    let early =
        asked("", gone().attempt(RESTART, 900_000, "failed").attempt(RESTART, 500, "relapsed"));
    assert_eq!(
        waits(&early).1,
        "workload.restart helped only for a while: try 3 of 5 follows 2 s after the last"
    );
}

#[test]
fn the_pause_has_a_ceiling() {
    let config = r#"{"ladder":[{"kind":"process.gone","steps":[
        {"action":"workload.restart","attempts":9,"backoff_s":10,"backoff_max_s":15}]}]}"#;
    let it = (0..5).fold(gone(), |it, _| it.attempt(RESTART, 12_000, "failed"));
    assert_eq!(waits(&asked(config, it)).0, 3_000);
}

#[test]
fn out_of_tries_it_tells_a_person_once_and_then_gives_up() {
    let config = r#"{"notify":"pager"}"#;
    let worn = || {
        (0..5).fold(gone().remedy("notify"), |it, n| {
            it.attempt(RESTART, 900_000 - n, if n == 2 { "relapsed" } else { "failed" })
        })
    };
    let proposal = act(asked(config, worn()));
    assert_eq!(proposal.action, "notify");
    let params: Vec<_> = proposal.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        params,
        ["to=pager", "text=process.gone (process.gone); digits is still ill after 5 tries"]
    );
    let told = asked(config, worn().attempt("notify", 10, "proven"));
    let why = "process.gone: workload.restart was tried 5 times in 60 min (4 failed, 1 relapsed); \
               notify was tried once in 60 min (1 proven)";
    assert_eq!(told, Decision::GiveUp(why.into()));
    assert!(matches!(asked("", worn()), Decision::GiveUp(_)));
}

#[test]
fn tries_outside_the_window_are_forgotten() {
    let worn = (0..5).fold(gone(), |it, _| it.attempt(RESTART, 900_000, "failed"));
    assert!(matches!(asked("", worn.clone()), Decision::GiveUp(_)));
    assert_eq!(act(asked(r#"{"window_s":600}"#, worn)).action, RESTART);
}

#[test]
fn what_is_not_allowed_now_is_waited_for_and_never_proposed() {
    for why_not in ["cooldown: 3 s left", "lease: held by 7-12", "paused: by uid 0", "whatever"] {
        let it = incident(DIGITS, "process.gone").forbidden(RESTART, why_not);
        let decision = asked("", it);
        let (ms, why) = waits(&decision);
        assert_eq!(ms, 7_500, "an eighth of the minute that it stands");
        assert!(why.contains(why_not), "{why}");
    }
}

#[test]
fn what_lasts_is_looked_at_less_and_less_often() {
    let blocked = || incident(DIGITS, "process.gone").forbidden(RESTART, "interlock: it runs");
    let outside = || incident("external:db", "external.failing");
    for (open_s, blocked_ms, outside_ms) in [
        (8, 5_000, 30_000),
        // Ten seconds before somebody is to be told.
        (290, 36_250, 10_000),
        (480, 60_000, 60_000),
        (3_600, 60_000, 450_000),
        (86_400, 60_000, 600_000),
    ] {
        let open = |it: IncidentMaker| asked("", it.open_for_ms(open_s * 1_000));
        assert_eq!(
            (waits(&open(blocked())).0, waits(&open(outside())).0),
            (blocked_ms, outside_ms)
        );
    }
}

#[test]
fn what_is_not_granted_at_all_leads_to_the_next_rung() {
    for why_not in ["grant: ladder may not", "intent: stopped by an operator", "catalogue: no such"]
    {
        let it = || incident(DIGITS, "process.gone").forbidden(RESTART, why_not);
        assert_eq!(act(asked(r#"{"notify":"pager"}"#, it().remedy("notify"))).action, "notify");
        let Decision::GiveUp(why) = asked("", it()) else { panic!("wanted to give up") };
        assert!(why.contains(why_not), "{why}");
    }
}

#[test]
fn an_action_that_the_catalogue_lacks_is_passed_over() {
    let Decision::GiveUp(why) = asked("", incident(DIGITS, "process.gone")) else {
        panic!("wanted to give up")
    };
    assert!(why.contains("workload.restart is not in the catalogue for workload:digits"), "{why}");
}

#[test]
fn an_end_that_nobody_saw_counts_as_a_try_and_is_looked_into_first() {
    let just_now = asked("", gone().attempt(RESTART, 2_000, "unknown"));
    assert_eq!(
        waits(&just_now),
        (3_000, "what came of the last workload.restart is not known yet")
    );
    let proposal = act(asked("", gone().attempt(RESTART, 6_000, "unknown")));
    assert!(proposal.reason.ends_with("try 2 of 5"), "{}", proposal.reason);
}

#[test]
fn nothing_is_proposed_while_a_try_is_in_flight() {
    for outcome in ["acting", "proving"] {
        let decision = asked("", gone().attempt(RESTART, 20_000, outcome));
        assert_eq!(waits(&decision).0, 1_000);
    }
}

#[test]
fn a_refusal_is_no_try_and_its_wait_doubles() {
    let refused = |ages: &[u64]| {
        ages.iter().fold(gone(), |it, age_ms| it.attempt(RESTART, *age_ms, "refused"))
    };
    assert_eq!(waits(&asked("", refused(&[1_000]))).0, 4_000);
    assert_eq!(waits(&asked("", refused(&[7_000, 1_000]))).0, 9_000);
    let proposal = act(asked("", refused(&[20_000, 10_000])));
    assert!(proposal.reason.ends_with("try 1 of 5"), "{}", proposal.reason);
    let many: Vec<_> = (0..60).map(|n| 300_000 + n).collect();
    assert_eq!(act(asked("", refused(&many))).action, RESTART);
}

#[test]
fn a_step_that_says_three_times_that_it_is_not_to_be_gives_way_to_the_next() {
    let lapsed = |times: u64| {
        let it = (0..times).rev().fold(gone().remedy("notify"), |it, n| {
            it.attempt(RESTART, 400_000 + n, "refused").detail("lapsed: a job is running")
        });
        asked(r#"{"notify":"pager"}"#, it)
    };
    assert_eq!(act(lapsed(2)).action, RESTART, "its wait is over");
    assert_eq!(act(lapsed(3)).action, "notify");
    // What the guard refuses is waited for, however often.
    let many = (0..9).fold(gone(), |it, n| it.attempt(RESTART, 400_000 + n, "refused"));
    assert_eq!(act(asked(r#"{"notify":"pager"}"#, many)).action, RESTART);
}

#[test]
fn a_failing_external_never_burns_the_ladder() {
    let it = incident("external:db", "external.failing").remedy("notify");
    let decision = asked(r#"{"notify":"pager"}"#, it);
    assert_eq!(waits(&decision), (30_000, "db is not ours to repair: waiting for it to come back"));
    let needs = gone().finding(Finding::new("external.failing", "external:db", "db is down"));
    let decision = asked("", needs);
    assert_eq!(waits(&decision).1, "digits needs db, which is failing and not ours to repair");
}

#[test]
fn an_outage_that_lasts_is_told_and_waited_for_all_the_same() {
    let config = r#"{"notify":"pager","external_notify_s":60}"#;
    let it = || incident("external:db", "external.failing").remedy("notify").remedy(RESTART);
    let proposal = act(asked(config, it()));
    assert_eq!((proposal.action.as_str(), proposal.target.as_str()), ("notify", "external:db"));
    for outcome in ["acting", "proven", "failed", "refused"] {
        let decision = asked(config, it().attempt("notify", 100, outcome));
        assert_eq!(waits(&decision).0, 30_000, "{outcome}");
    }
    // Nobody to tell, or not allowed: it waits.
    assert_eq!(waits(&asked(r#"{"external_notify_s":60}"#, it())).0, 30_000);
    let forbidden = incident("external:db", "external.failing").forbidden("notify", "grant: no");
    assert_eq!(waits(&asked(config, forbidden)).0, 30_000);
    // What depends on it is left alone for as long as it lasts.
    let dependent = gone().finding(Finding::new("external.failing", "external:db", "db is down"));
    assert_eq!(waits(&asked(config, dependent.remedy("notify"))).0, 30_000);
}

#[test]
fn a_leak_of_a_workload_is_restarted_once_and_then_told() {
    let config = r#"{"notify":"pager"}"#;
    let it = || incident(DIGITS, "leak.memory").remedy(RESTART).remedy("notify");
    assert_eq!(act(asked(config, it())).action, RESTART);
    let told = act(asked(config, it().attempt(RESTART, 90_000, "relapsed")));
    assert_eq!(told.action, "notify");
    let full = incident("box", "leak.space").remedy(RESTART).remedy("notify");
    assert_eq!(act(asked(config, full)).action, "notify");
}

#[test]
fn trouble_of_the_box_a_link_or_a_log_is_told_and_nothing_is_restarted() {
    for (root, kind) in
        [("box", "host.oom-kill"), ("link:eth0", "link.down"), (DIGITS, "log.cuda-oom")]
    {
        let it = || incident(root, kind).remedy(RESTART).remedy("notify");
        assert_eq!(act(asked(r#"{"notify":"pager"}"#, it())).action, "notify", "{kind}");
        let Decision::GiveUp(why) = asked("", it()) else { panic!("wanted to give up") };
        assert_eq!(why, format!("{kind}: there is no remedy on its ladder"));
    }
}

#[test]
fn what_has_a_remedy_comes_before_what_is_only_told() {
    // The words weigh more, and the restart comes first all the same.
    let it = incident(DIGITS, "log.cuda-oom")
        .finding(Finding::new("probe.failing", DIGITS, "no answer").severity(1))
        .remedy(RESTART)
        .remedy("notify");
    assert_eq!(act(asked(r#"{"notify":"pager"}"#, it.clone())).action, RESTART);
    // Where the site itself wants the words told, they are.
    let config = json!({"ladder": [{"kind": "log.*", "steps": [
        {"action": "notify", "params": {"to": "desk"}}]}]});
    assert_eq!(act(decide::<Ladder>(config, it)).action, "notify");
}

#[test]
fn what_it_has_no_row_for_it_declines() {
    let decision = asked("", incident("box", "threshold.disk-full").remedy("notify"));
    assert_eq!(decision, Decision::Decline("no ladder for threshold.disk-full".into()));
    let decision = asked("", incident("box", "process.gone"));
    assert!(matches!(decision, Decision::Decline(_)));
    let decision = asked(r#"{"builtin":false}"#, gone());
    assert!(matches!(decision, Decision::Decline(_)));
}

#[test]
fn a_probe_that_is_silent_is_told_and_nothing_is_restarted() {
    let it = || incident(DIGITS, "probe.silent").remedy(RESTART).remedy("notify");
    assert_eq!(act(asked(r#"{"notify":"pager"}"#, it())).action, "notify");
    let Decision::GiveUp(why) = asked("", it()) else { panic!("wanted to give up") };
    assert_eq!(why, "probe.silent: there is no remedy on its ladder");
}

#[test]
fn a_row_of_the_site_comes_before_the_built_in_one() {
    let config = json!({"ladder": [
        {"kind": "threshold.*", "target": "workload:d*", "steps": [
            {"action": "notify", "params": {"to": "desk", "text": "look"}},
            {"action": "workload.restart", "also_prove": ["ready"]}]}]});
    let hot = || incident(DIGITS, "threshold.leak").remedy(RESTART).remedy("notify");
    let first = decide::<Ladder>(config.clone(), hot());
    assert_eq!(act(first).params.len(), 2);
    let then = act(decide::<Ladder>(config, hot().attempt("notify", 10, "proven")));
    assert_eq!((then.action.as_str(), then.also_prove), (RESTART, vec!["ready".to_owned()]));
}

#[test]
fn the_worst_finding_that_has_a_row_decides() {
    let it = gone()
        .finding(Finding::new("probe.silent", DIGITS, "silent").severity(1))
        .finding(Finding::new("threshold.odd", DIGITS, "odd").severity(3));
    assert_eq!(act(asked("", it)).action, RESTART);
}

#[test]
fn a_root_that_is_well_for_the_moment_is_waited_on() {
    assert_eq!(waits(&asked("", gone().no_findings())).0, 5_000);
    let elsewhere = gone().no_findings().finding(Finding::new("process.gone", "workload:b", "b"));
    assert!(matches!(asked("", elsewhere), Decision::Decline(_)));
}

#[test]
fn the_same_incident_gets_the_same_answer() {
    let it = || gone().attempt(RESTART, 3_000, "failed").attempt(RESTART, 500, "relapsed");
    assert_eq!(asked("", it()), asked("", it()));
}

#[test]
fn a_ladder_that_makes_no_sense_is_refused_by_place() {
    for (config, word) in [
        (json!({"window_s": 0}), "window_s wants"),
        (
            json!({"ladder":[{"kind":"a","steps":[{"action":""}]}]}),
            "ladder[0].steps[0]: wanted an action",
        ),
        (json!({"ladder":[{"kind":"a","steps":[{"action":"b","attempts":0}]}]}), "attempts wants"),
        (
            json!({"ladder":[{"kind":"a","steps":[{"action":"b","backoff_s":0}]}]}),
            "backoff_s wants",
        ),
        (json!({"steps":[]}), "unknown field `steps`"),
    ] {
        let brief = gone().into();
        let error = homeostat_sdk::testkit::decide_or_refuse::<Ladder>(config, &brief).unwrap_err();
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), healer::<Ladder>);
}

/// As in `liveness`.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    use homeostat_sdk::recording::{Header, Recording, Step, VERSION};
    let both = || gone().remedy("notify");
    let story = [
        both(),
        both().attempt(RESTART, 400, "failed"),
        both().attempt(RESTART, 1_000, "failed"),
        both().attempt(RESTART, 20_000, "failed").attempt(RESTART, 9_000, "relapsed"),
        (0..5).fold(both(), |it, n| it.attempt(RESTART, 90_000 - n, "failed")),
        (0..5)
            .fold(both(), |it, n| it.attempt(RESTART, 90_000 - n, "failed"))
            .attempt("notify", 10, "proven"),
        incident(DIGITS, "probe.failing").forbidden(RESTART, "cooldown: 3 s left"),
        incident("external:db", "external.failing"),
        incident("box", "threshold.disk-full"),
    ];
    let header = Header {
        homeostat_recording: VERSION,
        plugin: "ladder".into(),
        box_name: String::new(),
        about: "digits is gone: five restarts, a notification, the end".into(),
        config: json!({"notify": "pager"}),
        series: vec![],
    };
    let steps = story.into_iter().map(|it| Step::Incident(it.into())).collect();
    let recording = Recording { header, steps };
    let (played, _) = recording.play(&mut healer::<Ladder>()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/gone.jsonl");
    std::fs::write(path, played.to_text()).unwrap();

    let told = |root, kind| incident(root, kind).remedy(RESTART).remedy("notify");
    let story = [
        told(DIGITS, "leak.memory"),
        told(DIGITS, "leak.memory").attempt(RESTART, 90_000, "relapsed"),
        told("box", "host.oom-kill"),
        told("box", "host.oom-kill").attempt("notify", 10, "proven"),
        told("link:eth0", "link.down"),
        told(DIGITS, "log.cuda-oom"),
        told(DIGITS, "log.cuda-oom").finding(Finding::new("probe.failing", DIGITS, "no answer")),
        told("external:db", "external.failing"),
        told("external:db", "external.failing").attempt("notify", 10, "proven"),
    ];
    let header = Header {
        homeostat_recording: VERSION,
        plugin: "ladder".into(),
        box_name: String::new(),
        about: "what is built in for each kind".into(),
        config: json!({"notify": "pager", "external_notify_s": 60}),
        series: vec![],
    };
    let steps = story.into_iter().map(|it| Step::Incident(it.into())).collect();
    let (played, _) = Recording { header, steps }.play(&mut healer::<Ladder>()).unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/kinds.jsonl");
    std::fs::write(path, played.to_text()).unwrap();
}
