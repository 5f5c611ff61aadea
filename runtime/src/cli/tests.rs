//! What a person reads, for a box made up; and what the shell gets.

use std::collections::BTreeMap;

use super::*;
use crate::model::action::Rule;
use crate::model::catalogue::Terms;
use crate::model::view::{
    Condition, IncidentView, Pause, PluginState, WorkloadState, WorkloadView,
};
use crate::model::{
    AttemptId, Decision, Event, Finding, IncidentId, Instant, Mode, Origin, Outcome, Proposal,
    Refusal, Sighting, TargetId, Value,
};
use crate::story;

fn at(age_ms: u64) -> Instant {
    Instant { age_ms, boot: 1, unix_ms: None }
}

fn finding(target: &TargetId, kind: &str, severity: u8, message: &str) -> Finding {
    Finding {
        key: kind.into(),
        kind: kind.into(),
        target: target.clone(),
        severity,
        series: vec![],
        message: message.into(),
        evidence: vec![("status".into(), Value::text("exit code 139"))],
    }
}

fn workload(name: &str, state: WorkloadState, pid: Option<u32>) -> WorkloadView {
    WorkloadView {
        name: name.into(),
        desired_running: true,
        state,
        attempt: pid.map(|_| AttemptId { birth: 7, seq: 17 }),
        pid,
        shim_pid: pid.map(|pid| pid - 1),
        starts: 3,
        detail: String::new(),
    }
}

fn plugin(name: &str, world: &str, state: PluginState, detail: &str) -> PluginView {
    PluginView {
        name: name.into(),
        version: "0.1.0".into(),
        world: world.into(),
        digest: "0123456789abcdef".into(),
        state,
        detail: detail.into(),
        calls: 1042,
        faults: u64::from(!detail.is_empty()),
        ..PluginView::default()
    }
}

fn incident(id: u64, phase: &str, kind: &str, detail: &str) -> IncidentView {
    let root = TargetId::workload("digits");
    IncidentView {
        id: IncidentId(id),
        root: root.clone(),
        kind: kind.into(),
        signature: "s".into(),
        phase: phase.into(),
        detail: detail.into(),
        opened: at(70_000),
        changed: at(78_000),
        findings: vec![finding(&root, kind, 3, "it exited with exit code 139")],
        attempts: vec![],
    }
}

fn well() -> View {
    View {
        box_name: "press-7".into(),
        site: "hall-b".into(),
        version: "0.1.0".into(),
        birth: 7,
        now: at(90_000),
        mode: Mode::Enforce,
        paused: None,
        conditions: vec![],
        workloads: vec![workload("digits", WorkloadState::Running, Some(4121))],
        plugins: vec![plugin("liveness", "detector", PluginState::Running, "")],
        trust: Default::default(),
        unprotected: vec![],
        findings: BTreeMap::new(),
        incidents: vec![],
        journal_seq: 100,
        journal_durable: 100,
    }
}

fn page(draw: impl FnOnce(&mut Page)) -> String {
    let mut page = Page::new(Colour::Off);
    draw(&mut page);
    page.text()
}

fn expect(found: &str, expected: &str) {
    assert_eq!(found, expected, "\nfound\n{found}\nwanted\n{expected}");
}

#[test]
fn a_box_that_is_well_says_so_in_its_first_line() {
    expect(
        &page(|page| status::draw(page, &well())),
        "\
press-7 at hall-b: all is well
mode enforce; homeostat 0.1.0, the box is 1 min 30 s old

workloads
  digits  running  pid 4121  attempt 7-17  3 starts

plugins
  liveness 0.1.0  detector  running  1042 calls  0 faults  0123456789ab
",
    );
    assert_eq!(status::exit(&well()), Exit::Fine);
}

#[test]
fn what_is_wrong_comes_first_the_stuck_before_all() {
    let digits = TargetId::workload("digits");
    let note = finding(&TargetId::the_box(), "threshold.disk", 0, "91 % of / is used");
    let view = View {
        mode: Mode::Suggest,
        paused: Some(Pause { until_age_ms: Some(150_000) }),
        conditions: vec![Condition {
            name: "store.read-only".into(),
            detail: "wanted to write /var/lib/homeostat, found a read-only file system".into(),
        }],
        workloads: vec![
            workload("digits", WorkloadState::Exited, None),
            WorkloadView {
                detail: "exit code 1".into(),
                ..workload("cam", WorkloadState::Exited, None)
            },
            WorkloadView {
                desired_running: false,
                ..workload("old", WorkloadState::Stopped, None)
            },
        ],
        plugins: vec![
            plugin("liveness", "detector", PluginState::Running, ""),
            plugin("ladder", "healer", PluginState::Quarantined, "trapped 5 times"),
        ],
        unprotected: vec![TargetId::the_box()],
        findings: BTreeMap::from([
            ("liveness".into(), vec![finding(&digits, "process.gone", 3, "gone")]),
            ("threshold".into(), vec![note]),
        ]),
        incidents: vec![
            incident(43, "acting", "process.gone", "workload.restart, attempt 7-18"),
            incident(42, "stuck", "probe.failing", "nobody left to ask"),
            incident(41, "recovered", "process.gone", ""),
            incident(40, "closed", "process.gone", "proven"),
        ],
        ..well()
    };
    expect(
        &page(|page| status::draw(page, &view)),
        "\
press-7 at hall-b: 6 things are wrong
mode suggest: repairs are shown, not done; homeostat 0.1.0, the box is 1 min 30 s old
healing is paused for another 1 min

wrong
  i42              stuck for 12 s   probe.failing of workload:digits: it exited with exit code 139: nobody left to ask (`homeostat explain i42`)
  store.read-only  degraded         wanted to write /var/lib/homeostat, found a read-only file system
  i43              acting for 12 s  process.gone of workload:digits: it exited with exit code 139: workload.restart, attempt 7-18 (`homeostat explain i43`)
  workload:cam     exited           wanted running: exit code 1
  plugin ladder    quarantined      trapped 5 times
  box              unprotected      no detector judges it

recovering
  i41  recovered for 12 s  process.gone of workload:digits

notes
  box  threshold.disk  91 % of / is used, says threshold

workloads
  digits  exited   3 starts  wanted running
  cam     exited   3 starts  wanted running: exit code 1
  old     stopped  3 starts  as wanted

plugins
  liveness 0.1.0  detector  running      1042 calls  0 faults  0123456789ab
  ladder 0.1.0    healer    quarantined  1042 calls  1 fault   0123456789ab  trapped 5 times
",
    );
    assert_eq!(status::exit(&view), Exit::Ill);
}

#[test]
fn each_thing_that_is_wrong_makes_status_ill_and_what_is_over_does_not() {
    let digits = TargetId::workload("digits");
    let ill = |change: fn(&mut View)| {
        let mut view = well();
        change(&mut view);
        status::exit(&view)
    };
    assert_eq!(ill(|v| v.incidents = vec![incident(1, "open", "k", "")]), Exit::Ill);
    assert_eq!(ill(|v| v.incidents = vec![incident(1, "stuck", "k", "")]), Exit::Ill);
    assert_eq!(ill(|v| v.incidents = vec![incident(1, "recovered", "k", "")]), Exit::Fine);
    assert_eq!(ill(|v| v.incidents = vec![incident(1, "closed", "k", "")]), Exit::Fine);
    assert_eq!(ill(|v| v.workloads[0].state = WorkloadState::Exited), Exit::Ill);
    assert_eq!(ill(|v| v.plugins[0].state = PluginState::Backoff), Exit::Ill);
    assert_eq!(ill(|v| v.plugins[0].state = PluginState::Starting), Exit::Fine);
    assert_eq!(ill(|v| v.unprotected = vec![TargetId::the_box()]), Exit::Ill);
    assert_eq!(ill(|v| v.mode = Mode::Observe), Exit::Fine);
    let mut view = well();
    view.findings.insert("d".into(), vec![finding(&digits, "k", 1, "m")]);
    assert_eq!(status::exit(&view), Exit::Ill);
    view.findings.insert("d".into(), vec![finding(&digits, "k", 0, "m")]);
    assert_eq!(status::exit(&view), Exit::Fine);
}

#[test]
fn a_story_is_told_with_who_why_and_when_it_could_pass() {
    let id = IncidentId(11);
    let digits = TargetId::workload("digits");
    let attempt = AttemptId { birth: 7, seq: 14 };
    let proposal = Proposal {
        action: "workload.restart".into(),
        target: digits.clone(),
        params: vec![],
        reason: "the cheapest".into(),
        also_prove: vec!["canary".into()],
    };
    let origin = || Origin::Healer { plugin: "ladder".into(), incident: id };
    let finding = finding(&digits, "process.gone", 3, "it exited");
    let sighting = Sighting { detector: "liveness".into(), finding: finding.clone() };
    let refusal = Refusal {
        rule: Rule::Cooldown,
        detail: "restarted 10 s ago".into(),
        retry_age_ms: Some(80_000),
    };
    let act = || Event::Decided {
        incident: id,
        healer: "ladder".into(),
        decision: Decision::Act(proposal.clone()),
    };
    let events = [
        (59_000, Event::FindingRaised { detector: "liveness".into(), finding }),
        (
            60_000,
            Event::IncidentOpened {
                root: digits.clone(),
                kind: "process.gone".into(),
                signature: "s".into(),
                findings: vec![sighting],
            },
        ),
        (60_100, act()),
        (
            60_100,
            Event::Refused {
                incident: Some(id),
                origin: origin(),
                proposal: proposal.clone(),
                refusal,
            },
        ),
        (
            80_000,
            Event::Permitted {
                incident: Some(id),
                birth: 7,
                origin: origin(),
                proposal: proposal.clone(),
                terms: Terms::RESTART,
                expires_age_ms: 110_000,
            },
        ),
        (
            81_500,
            Event::AttemptEnded {
                incident: Some(id),
                attempt,
                outcome: Outcome::Done { detail: "pid 4121".into() },
            },
        ),
        (82_000, Event::ProofSeen { incident: id, good: true, detail: "ready".into() }),
        (82_500, Event::ProofSeen { incident: id, good: true, detail: "ready".into() }),
        (82_500, Event::IncidentRecovered { incident: id, attempt: Some(attempt) }),
        (202_500, Event::IncidentProven { incident: id, attempt: Some(attempt) }),
        (202_500, Event::IncidentClosed { incident: id, why: "proven".into() }),
    ];
    let records: Vec<_> = (10..)
        .zip(events)
        .map(|(seq, (age_ms, event))| Record { seq, at: at(age_ms), event })
        .collect();
    let story = story::tell(id, &records, at(260_000)).unwrap();
    expect(
        &page(|page| explain::draw(page, &story)),
        "\
i11  process.gone of workload:digits: closed
opened 3 min 20 s ago

  +0 ms        seen       liveness: process.gone of workload:digits: it exited
                          status = exit code 139
  +0 ms        opened
  +100 ms      decided    ladder wants workload.restart of workload:digits: the cheapest
                          proven also by canary
  +100 ms      refused    workload.restart of workload:digits by rule cooldown: restarted 10 s ago
                          it may pass from +20 s on
  +20 s        permitted  workload.restart of workload:digits for ladder, attempt 7-14
  +21 s        ended      attempt 7-14 done after 1.5 s: pid 4121
  +22 s        proof      2 good: ready
  +22 s        recovered  22 s after it opened, by attempt 7-14
  +2 min 22 s  proven     quiet for the hold, by attempt 7-14
  +2 min 22 s  closed     proven
",
    );
}

#[test]
fn lists_are_aligned_and_say_when_they_are_empty() {
    let incidents = [incident(9, "acting", "process.gone", ""), incident(10, "stuck", "k", "why")];
    expect(
        &page(|page| list::incidents(page, &incidents, at(90_000))),
        "  \
  i9   acting  opened 20 s ago  workload:digits  process.gone  0 attempts  it exited with exit code 139
  i10  stuck   opened 20 s ago  workload:digits  k             0 attempts  why
",
    );
    expect(&page(|page| list::incidents(page, &[], at(0))), "no incidents\n");
    expect(&page(|page| list::plugins(page, &[])), "no plugins\n");
}

#[test]
fn a_record_is_one_line_whatever_it_tells() {
    let record = |event| Record {
        seq: 42,
        at: Instant { unix_ms: Some(1_795_446_245_000), ..at(90_500) },
        event,
    };
    let origin = Origin::Healer { plugin: "ladder".into(), incident: IncidentId(11) };
    expect(
        &page(|page| event::draw(page, &record(Event::Paused { by: origin, until_age_ms: None }))),
        "  42  2026-11-23 15:04:05Z  paused  by.by=healer by.incident=i11 by.plugin=ladder\n",
    );
    let event = Event::IncidentStuck { incident: IncidentId(11), why: "no\nway \x1b[31m".into() };
    let line = page(|page| event::draw(page, &Record { at: at(90_500), ..record(event) }));
    expect(
        &line,
        "  42  age 90.500 s  incident-stuck  incident=i11 why=\"no\\nway \\u001b[31m\"\n",
    );
}

#[test]
fn foreign_text_cannot_command_the_terminal_and_colour_is_only_added() {
    let mut view = well();
    view.plugins[0].detail = "\x1b]0;gotcha\x07".into();
    let plain = page(|page| status::draw(page, &view));
    assert!(!plain.contains(['\x1b', '\x07']), "{plain}");
    let mut coloured = Page::new(Colour::On);
    status::draw(&mut coloured, &view);
    let mut text = coloured.text();
    assert!(text.contains("\x1b[32m"), "{text}");
    for code in ["\x1b[0m", "\x1b[1;31m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m"] {
        text = text.replace(code, "");
    }
    assert_eq!(text, plain);
}

fn run_line(line: &str) -> (Result<Exit, Failure>, String) {
    let mut written = Vec::new();
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let result = run(&cli, &mut Out { writer: &mut written, colour: Colour::Off });
    (result, String::from_utf8(written).unwrap())
}

#[tokio::test]
async fn the_verbs_talk_to_a_served_socket() {
    let mut served = crate::api::tests::serve_in_memory();
    served.add(Event::DaemonStopped {});
    let root = TargetId::the_box();
    let opened =
        Event::IncidentOpened { root, kind: "k".into(), signature: "s".into(), findings: vec![] };
    served.add(opened);
    let mut commands = served.commands.take().unwrap();
    tokio::spawn(async move {
        while let Some(request) = commands.recv().await {
            let answer = match request.command {
                Command::WorkloadStop { name } => Ok(format!("{name} is stopped")),
                Command::Pause { for_ms } => Ok(format!("paused for {for_ms:?} ms")),
                Command::Resume {} => Ok("healing again".into()),
                Command::Approve { incident } => Ok(format!("{incident} goes on")),
                Command::IncidentRetry { incident } => Ok(format!("{incident} again")),
                Command::IncidentClose { incident } => Ok(format!("{incident} is closed")),
                Command::Deny { incident } => {
                    Err(crate::model::CommandError::NoSuchIncident { incident })
                }
                Command::Inject { target, fault } => Ok(format!("{fault} of {target}")),
                Command::PluginInstall { file, shadow_ms, trial_ms, .. } => {
                    Ok(format!("{} {shadow_ms:?} {trial_ms}", file.display()))
                }
                Command::TrustRevoke { keys, digests } => Ok(format!("{keys:?} {digests:?}")),
                Command::TrustUpdate { file } => Ok(file.display().to_string()),
                Command::PluginRemove { name } => Ok(format!("{name} is gone")),
                Command::WorkloadStart { name } => {
                    Err(crate::model::CommandError::NoSuchWorkload { name })
                }
            };
            request.reply.send(answer).unwrap();
        }
    });
    let socket = served.socket.clone();
    let asks = move || {
        let ask = |line: &str| run_line(&format!("homeostat --socket {} {line}", socket.display()));
        for (line, word) in [
            ("status", "press-7 at hall-b: all is well"),
            ("incidents --all", "no incidents"),
            ("plugin remove too-hot", "too-hot is gone"),
            ("plugin list", "no plugins"),
            ("trust show", "no key root is known yet"),
            ("trust update /dev/null", "/dev/null"),
            ("trust revoke --key 9B3c5f7d1e2a4b6c", "[\"9b3c5f7d1e2a4b6c\"] []"),
            ("plugin install /dev/null --shadow 24h", "/dev/null Some(86400000) 3600000"),
            ("incidents --json", "[]\n"),
            ("explain i2", "i2  k of box: open"),
            ("workload stop digits", "digits is stopped\n"),
            ("workload stop digits --json", "{\"done\":\"digits is stopped\"}\n"),
            ("pause --for 10min", "paused for Some(600000) ms"),
            ("pause", "paused for None ms"),
            ("resume", "healing again"),
            ("approve i2", "i2 goes on"),
            ("incident retry i2", "i2 again"),
            ("incident close i2 --json", "{\"done\":\"i2 is closed\"}\n"),
            ("inject crash digits", "crash of workload:digits"),
            ("inject hang workload:digits --for 5s", "hang of 5 s of workload:digits"),
            ("plugins", "no plugins"),
            ("events --from 2", "  2  age 2.000 s  incident-opened  kind=k root=box signature=s\n"),
            ("events --json", "{\"seq\":1,"),
        ] {
            let (result, written) = ask(line);
            assert_eq!(result.unwrap(), Exit::Fine, "{line}");
            assert!(written.starts_with(word), "{line}: {written}");
        }
        for (line, word) in [
            ("explain i9", "no incident is called i9"),
            ("workload start x", "no workload is called \"x\""),
            ("deny i7", "no open incident is called i7"),
        ] {
            let (result, _) = ask(line);
            let failure = result.unwrap_err();
            assert_eq!(failure.exit(), Exit::Refused);
            assert!(failure.to_string().contains(word), "{line}: {failure}");
        }
    };
    tokio::task::spawn_blocking(asks).await.unwrap();

    // A follower learns that the daemon stopped.
    let line = format!("homeostat --socket {} events --follow", served.socket.display());
    let follower = tokio::task::spawn_blocking(move || run_line(&line));
    served.wait_for_a_follower().await;
    served.handle.close().await;
    let (result, written) = follower.await.unwrap();
    assert_eq!(result.unwrap_err().exit(), Exit::NoDaemon);
    assert_eq!(written.lines().count(), 2, "{written}");
}

#[test]
fn exit_codes_say_how_it_went_and_help_lists_them() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("none.sock");
    let failure =
        run_line(&format!("homeostat --socket {} status", socket.display())).0.unwrap_err();
    assert_eq!(failure.exit(), Exit::NoDaemon);
    let text = failure.text().unwrap();
    assert!(text.contains("found none: ") && text.contains("--socket"), "{text}");

    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[box]\nmode = 3\n").unwrap();
    for line in ["run", "status", "config check"] {
        let failure =
            run_line(&format!("homeostat --config {} {line}", bad.display())).0.unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage, "{line}");
        assert!(failure.text().unwrap().contains("bad.toml:2:8: box.mode"), "{failure}");
    }
    let (exit, json) = run_line(&format!("homeostat config check {} --json", bad.display()));
    assert_eq!(exit.unwrap(), Exit::Usage);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["mistakes"][0]["line"], 2, "{json}");
    std::fs::write(&bad, "[box]\nname = \"b\"\nmode = \"observe\"\n").unwrap();
    let (exit, text) = run_line(&format!("homeostat --config {} config check", bad.display()));
    assert_eq!(exit.unwrap(), Exit::Fine);
    assert!(text.contains("no mistakes\nb at default, mode observe: 0 plugins"), "{text}");

    let help = Cli::try_parse_from(["homeostat", "--help"]).unwrap_err().to_string();
    assert!(help.contains("4  status: something is ill, degraded or stuck"), "{help}");
    for line in ["homeostat", "homeostat dance", "homeostat explain x", "homeostat pause --for 3"] {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert!(error.use_stderr(), "{line}");
    }
}

#[test]
fn every_verb_but_run_takes_json() {
    for line in [
        "status",
        "incidents --all",
        "explain i42",
        "workload start a",
        "workload stop a",
        "pause --for 10min",
        "resume",
        "plugins",
        "events --follow --from 3",
        "config check f",
    ] {
        let line = format!("homeostat {line} --json --socket s --config c");
        assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
    assert!(Cli::try_parse_from(["homeostat", "run", "--json"]).is_err());
}

#[test]
fn what_is_shown_in_force_reads_back_as_the_same() {
    let text = "[box]\nname = \"press-7\"\nmode = \"enforce\"\nprofile = \"fast\"\n\
                [incident.explains]\n\"gpu.lost\" = [\"process.*\"]\n\
                [[plugin]]\nname = \"h\"\npackage = \"/h\"\ndigest = \"DIGEST\"\n\
                grants = [\"notify\"]\nconfig = { x = [{ y = 1.5 }], \"a b\" = \"q\\\"\" }\n\
                [[workload]]\nname = \"w\"\ncommand = [\"/bin/w\"]\nenv = { A = \"b\" }\n\
                limits = { memory_max = \"64MiB\" }\n\
                [[workload.probe]]\nkind = \"http\"\nurl = \"http://h:1/\"\n\
                [[workload]]\nname = \"v\"\ncommand = [\"/bin/v\"]\nneeds = [\"w\"]\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("homeostat.toml");
    std::fs::write(&file, text.replace("DIGEST", &"0".repeat(64))).unwrap();
    let (config, shown) = config::show(&file).unwrap();
    for origins in [show::Origins::Hidden, show::Origins::Shown] {
        let drawn = page(|page| show::draw(page, &file, &shown, origins));
        std::fs::write(&file, &drawn).unwrap();
        let again = config::load(&file).unwrap_or_else(|mistakes| panic!("{mistakes}\n{drawn}"));
        // Another text, and all else the same.
        let again = config::Config { digest: config.digest.clone(), ..again };
        assert_eq!(format!("{again:#?}"), format!("{config:#?}"), "{drawn}");
    }
    let drawn = page(|page| show::draw(page, &file, &shown, show::Origins::Shown));
    let line = format!("mode = \"enforce\"  # {}:3", file.display());
    assert!(drawn.contains(&line), "{drawn}");
    assert!(drawn.contains("# default of profile fast"), "{drawn}");
}
