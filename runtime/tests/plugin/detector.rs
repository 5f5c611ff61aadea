//! The life of a detector: answers, faults, and what follows them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use homeostat::config::PluginConfig;
use homeostat::model::{AfterFault, TargetId, Value};
use homeostat::plugin::{Busy, CodeOrigin, Detector, Host, PluginEvent};

use crate::guest;
use crate::rig::{Rig, frame, series};

const SILENT: f64 = 0.0;
const FIND: f64 = 1.0;
const TRAP: f64 = 2.0;
const LOOP: f64 = 3.0;
const EAT: f64 = 4.0;
const MANY: f64 = 5.0;
const FLOOD_LOG: f64 = 6.0;
const FOREIGN: f64 = 7.0;
const POISON: f64 = 8.0;
const LAST_WORDS: f64 = 9.0;
const LONG_MESSAGE: f64 = 10.0;
const LARGE_CHECKPOINT: f64 = 11.0;
const NO_TEXT: f64 = 12.0;
const WORK: f64 = 14.0;

struct Story {
    rig: Rig,
    host: Host,
    detector: Detector,
    seq: u64,
}

impl Story {
    fn plain(edit: impl FnOnce(&mut PluginConfig)) -> Self {
        Self::begin(Rig::new(), &guest::detector(), "detector", edit)
    }

    fn resumable(edit: impl FnOnce(&mut PluginConfig)) -> Self {
        Self::begin(Rig::new(), &guest::resumable(), "detector-resumable", edit)
    }

    fn begin(
        rig: Rig,
        component: &[u8],
        world: &str,
        edit: impl FnOnce(&mut PluginConfig),
    ) -> Self {
        let host = rig.host();
        let mut config = rig.plugin(component, world);
        edit(&mut config);
        let loaded = host.load(&config, 0).unwrap();
        let detector =
            host.start_detector(&loaded, rig.checkpoints.clone(), rig.events.clone()).unwrap();
        Self { rig, host, detector, seq: 0 }
    }

    /// Waits for an instance and binds it.
    fn ready(&mut self) {
        self.rig.hear_ready();
        self.detector.bind(series());
    }

    fn order(&mut self, order: f64) {
        self.order_with(order, 0.0);
    }

    fn order_with(&mut self, order: f64, count: f64) {
        self.seq += 1;
        self.detector.observe(frame(self.seq, order, count)).unwrap();
    }

    fn fault(&mut self, order: f64) -> (String, AfterFault) {
        self.order(order);
        self.rig.hear_fault()
    }

    /// A frame that it is working on when this returns.
    fn work(&mut self) {
        let before = self.detector.stats().lines_left_out;
        self.order(WORK);
        let until = Instant::now() + Duration::from_secs(60);
        while self.detector.stats().lines_left_out == before {
            assert!(Instant::now() < until, "it never begins");
            std::thread::yield_now();
        }
    }

    /// How many frames its state remembers, this one included.
    fn frames_seen(&mut self) -> i64 {
        self.order(FIND);
        let report = self.rig.hear_report();
        match report.findings[0].evidence[..] {
            [(_, Value::Int(count))] => count,
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn it_says_what_it_wants_is_bound_and_answers_each_frame() {
    let mut story = Story::plain(|_| ());
    match story.rig.hear() {
        PluginEvent::Ready { plugin, selectors } => {
            assert_eq!((plugin.as_str(), &selectors[..]), ("test", &["homeostat.*".into()][..]));
        }
        other => panic!("{other:?}"),
    }
    let untaken = story.detector.observe(frame(1, FIND, 0.0)).unwrap_err();
    assert_eq!((untaken.why, untaken.frame), (Busy::NotReady, frame(1, FIND, 0.0)));
    story.detector.bind(series());
    story.order(FIND);
    let PluginEvent::Report { seq, report, .. } = story.rig.hear() else { panic!() };
    assert_eq!((seq, report.findings.len()), (1, 1));
    let finding = &report.findings[0];
    assert_eq!((finding.key.as_str(), finding.kind.as_str()), ("k", "test.kind"));
    assert_eq!(finding.target, TargetId::workload("a"));
    story.order(SILENT);
    assert!(story.rig.hear_report().findings.is_empty());
    assert_eq!(story.detector.stats().calls, 2);
}

#[test]
fn no_reading_is_a_number_like_any_other() {
    let mut story = Story::plain(|_| ());
    story.ready();
    story.order_with(FIND, f64::NAN);
    assert_eq!(story.rig.hear_report().findings.len(), 1);
    story.order(f64::NAN);
    assert!(story.rig.hear_report().findings.is_empty());
}

#[test]
fn a_frame_of_another_shape_is_not_handed_on() {
    let mut story = Story::plain(|_| ());
    story.ready();
    let mut bad = frame(1, SILENT, 0.0);
    bad.values.push(0.0);
    let untaken = story.detector.observe(bad).unwrap_err();
    assert!(matches!(untaken.why, Busy::Shape { .. }));
    story.order(SILENT);
    story.rig.hear_report();
}

#[test]
fn a_trap_costs_the_instance_and_the_next_one_is_ready_at_once() {
    let mut story = Story::plain(|_| ());
    story.ready();
    let (why, then) = story.fault(TRAP);
    assert!(why.contains("observe trapped") && why.contains("unreachable"), "{why}");
    assert_eq!(then, AfterFault::Restarted { from_checkpoint: false });
    story.ready();
    assert_eq!(story.frames_seen(), 1);
    assert_eq!(story.detector.stats().faults, 1);
}

#[test]
fn what_it_logged_last_tells_why_it_trapped() {
    let mut story = Story::plain(|_| ());
    story.ready();
    let (why, _) = story.fault(LAST_WORDS);
    assert!(why.contains("its last words: panicked at lib.rs:1"), "{why}");
}

#[test]
fn an_endless_loop_is_stopped_at_its_deadline() {
    let mut story = Story::plain(|config| config.deadline_ms = 300);
    story.ready();
    let (why, _) = story.fault(LOOP);
    assert_eq!(why, "observe ran past its deadline of 300 ms");
    story.ready();
    story.order(SILENT);
    story.rig.hear_report();
}

/// A daemon that stands still has not used its plugins' time up.
#[test]
fn an_endless_loop_is_charged_for_what_it_had_of_the_processor() {
    const CHILD: &str = "HOMEOSTAT_TEST_LOOPS";
    const NAME: &str = "detector::an_endless_loop_is_charged_for_what_it_had_of_the_processor";
    let deadline = Duration::from_millis(1_000);
    if std::env::var_os(CHILD).is_some() {
        let mut story = Story::plain(|config| config.deadline_ms = 1_000);
        story.ready();
        let began = Instant::now();
        story.order(LOOP);
        eprintln!("it loops");
        story.rig.hear_fault();
        return eprintln!("stopped after {} ms", began.elapsed().as_millis());
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line == "it loops"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let still = deadline * 3 / 2;
    std::thread::sleep(still);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    let stopped = said.find_map(|line| {
        line.strip_prefix("stopped after ")?.strip_suffix(" ms")?.parse::<u64>().ok()
    });
    assert!(child.wait().unwrap().success());
    let stopped = Duration::from_millis(stopped.expect("it says when"));
    assert!(stopped >= still + deadline * 9 / 10, "{stopped:?}");
}

#[test]
fn an_endless_loop_does_not_outlive_its_detector() {
    let mut story = Story::plain(|config| config.deadline_ms = 3_600_000);
    story.ready();
    story.order(LOOP);
    story.detector.stop();
    story.rig.hear_silence();
}

#[test]
fn memory_beyond_its_limit_is_not_given() {
    let mut story = Story::plain(|_| ());
    story.ready();
    let (why, _) = story.fault(EAT);
    assert!(why.contains("at most 4194304 are given"), "{why}");
    story.ready();
    story.order(SILENT);
    story.rig.hear_report();
}

#[test]
fn too_many_findings_are_a_fault_that_names_their_number() {
    let mut story = Story::plain(|_| ());
    story.ready();
    story.order_with(MANY, 300.0);
    assert_eq!(story.rig.hear_fault().0, "returned 300 findings, at most 256");
}

#[test]
fn a_million_findings_never_reach_the_host() {
    // In 4 MiB there is no room for them; in 64 MiB the host does not lift them.
    for (memory, wanted) in [(4 << 20, "of memory"), (64 << 20, "more than 1048576 bytes")] {
        let mut story = Story::plain(|config| config.memory_max_bytes = memory);
        story.ready();
        story.order_with(MANY, 1_000_000.0);
        let (why, _) = story.rig.hear_fault();
        assert!(why.contains(wanted), "{why}");
    }
}

#[test]
fn a_message_without_end_is_a_fault() {
    let mut story = Story::plain(|_| ());
    story.ready();
    let (why, _) = story.fault(LONG_MESSAGE);
    assert_eq!(why, "returned 100000 bytes of a finding's message, at most 2048");
}

#[test]
fn a_message_that_is_no_text_is_a_fault() {
    let mut story = Story::plain(|_| ());
    story.ready();
    let (why, _) = story.fault(NO_TEXT);
    assert!(why.starts_with("observe failed: invalid utf-8"), "{why}");
}

#[test]
fn a_finding_about_what_is_not_its_to_judge_is_a_fault() {
    let mut story = Story::plain(|config| config.targets = vec!["workload:a".into()]);
    story.ready();
    let (why, _) = story.fault(FOREIGN);
    assert!(why.contains("workload:zz"), "{why}");
}

#[test]
fn a_finding_about_what_is_its_to_judge_and_not_there_is_dropped() {
    let mut story = Story::plain(|_| ());
    story.ready();
    story.order(FOREIGN);
    assert_eq!(story.rig.hear_report().findings, []);
}

#[test]
fn a_finding_restored_about_a_target_of_the_file_is_none_about_a_stranger() {
    let rig = Rig::new();
    rig.checkpoints.put(&[1, 0, 0, 0]);
    let mut story = Story::begin(rig, &guest::resumable(), "detector-resumable", |config| {
        config.judges = [TargetId::workload("zz")].into();
    });
    story.ready();
    story.order(FOREIGN);
    assert_eq!(story.rig.hear_report().findings[0].target, TargetId::workload("zz"));
}

#[test]
fn it_may_say_so_much_and_the_rest_is_counted() {
    let mut story = Story::plain(|_| ());
    story.ready();
    story.order(FLOOD_LOG);
    story.rig.hear_report();
    let left_out = story.detector.stats().lines_left_out;
    assert!((900..1_000).contains(&left_out), "{left_out}");
}

#[test]
fn a_refusal_to_be_configured_or_bound_is_a_fault() {
    for (config, wanted) in
        [("refuse", "refused to be configured: no: not like this"), ("trap", "configure trapped")]
    {
        let mut story = Story::plain(|it| it.config = config.into());
        let (why, then) = story.rig.hear_fault();
        assert!(why.contains(wanted), "{why}");
        assert_eq!(then, AfterFault::Restarted { from_checkpoint: false });
        let (_, then) = story.rig.hear_fault();
        assert_eq!(then, AfterFault::Backoff { ms: 1 });
    }
    let mut story = Story::plain(|_| ());
    story.rig.hear_ready();
    story.detector.bind(vec![]);
    let (why, _) = story.rig.hear_fault();
    assert!(why.contains("refused to be bound"), "{why}");
}

#[test]
fn its_state_survives_a_trap_and_a_restart_of_the_daemon() {
    let mut story = Story::resumable(|_| ());
    story.ready();
    assert_eq!(story.frames_seen(), 1);
    // Frames are a second apart, and so are checkpoints.
    assert_eq!(story.frames_seen(), 2);
    let (_, then) = story.fault(TRAP);
    assert_eq!(then, AfterFault::Restarted { from_checkpoint: true });
    story.ready();
    assert_eq!(story.frames_seen(), 3);

    let Story { rig, host, detector, seq } = story;
    detector.stop();
    assert_eq!(rig.checkpoints.stored(), Some(vec![3, 0, 0, 0]));
    drop(host);
    let mut story = Story::begin(rig, &guest::resumable(), "detector-resumable", |_| ());
    story.seq = seq;
    story.ready();
    assert_eq!(story.frames_seen(), 4);
}

#[test]
fn what_the_frame_in_hand_taught_it_is_kept_at_a_stop() {
    let mut story = Story::resumable(|_| ());
    story.ready();
    story.work();
    story.detector.stop();
    assert_eq!(story.rig.checkpoints.stored(), Some(vec![1, 0, 0, 0]));
}

#[test]
fn what_it_learnt_is_kept_when_nobody_listens_any_more() {
    let mut story = Story::resumable(|_| ());
    story.ready();
    story.work();
    story.rig.deafen();
    story.detector.stop();
    assert_eq!(story.rig.checkpoints.stored(), Some(vec![1, 0, 0, 0]));
}

#[test]
fn a_poisoned_checkpoint_is_given_up_after_the_second_trap() {
    let mut story = Story::resumable(|_| ());
    story.ready();
    story.order(SILENT);
    story.rig.hear_report();
    story.order(POISON);
    story.rig.hear_report();
    assert_eq!(story.fault(SILENT).1, AfterFault::Restarted { from_checkpoint: true });
    story.ready();
    assert_eq!(story.fault(SILENT).1, AfterFault::Restarted { from_checkpoint: false });
    assert_eq!(story.rig.checkpoints.stored(), None);
    story.ready();
    assert_eq!(story.frames_seen(), 1);
}

#[test]
fn a_checkpoint_that_it_cannot_use_costs_the_checkpoint_alone() {
    let rig = Rig::new();
    rig.checkpoints.put(b"five.");
    let mut story = Story::begin(rig, &guest::resumable(), "detector-resumable", |_| ());
    story.ready();
    assert_eq!(story.rig.checkpoints.stored(), None);
    assert_eq!(story.frames_seen(), 1);
    assert_eq!(story.detector.stats().faults, 0);
}

#[test]
fn a_checkpoint_that_traps_in_restore_is_given_up_too() {
    let rig = Rig::new();
    rig.checkpoints.put(&[13, 0, 0, 0]);
    let mut story = Story::begin(rig, &guest::resumable(), "detector-resumable", |_| ());
    assert_eq!(story.rig.hear_fault().1, AfterFault::Restarted { from_checkpoint: true });
    assert_eq!(story.rig.hear_fault().1, AfterFault::Restarted { from_checkpoint: false });
    story.ready();
    assert_eq!(story.frames_seen(), 1);
}

#[test]
fn a_checkpoint_too_large_is_a_fault() {
    let mut story = Story::resumable(|_| ());
    story.ready();
    story.order(SILENT);
    story.rig.hear_report();
    story.order(LARGE_CHECKPOINT);
    story.rig.hear_report();
    let (why, _) = story.rig.hear_fault();
    assert_eq!(why, "returned 300000 bytes of a checkpoint, at most 262144");
}

#[test]
fn fault_upon_fault_backs_off_and_ends_in_quarantine() {
    let mut story = Story::plain(|config| config.quarantine_faults = 5);
    let mut heard = Vec::new();
    for _ in 0..5 {
        story.ready();
        heard.push(story.fault(TRAP).1);
    }
    assert_eq!(
        heard,
        [
            AfterFault::Restarted { from_checkpoint: false },
            AfterFault::Backoff { ms: 1 },
            AfterFault::Backoff { ms: 2 },
            AfterFault::Backoff { ms: 4 },
            AfterFault::Quarantined,
        ]
    );
    let untaken = story.detector.observe(frame(9, SILENT, 0.0)).unwrap_err();
    assert_eq!(untaken.why, Busy::Quarantined);
    story.detector.stop();
    story.rig.hear_silence();
}

#[test]
fn a_quarantined_plugin_can_be_started_again_by_a_person() {
    let mut story = Story::plain(|config| config.quarantine_faults = 1);
    story.ready();
    assert_eq!(story.fault(TRAP).1, AfterFault::Quarantined);
    let config = story.rig.plugin(&guest::detector(), "detector");
    let loaded = story.host.load(&config, 0).unwrap();
    assert_eq!(loaded.origin(), CodeOrigin::Cached);
    let (checkpoints, events) = (story.rig.checkpoints.clone(), story.rig.events.clone());
    story.detector = story.host.start_detector(&loaded, checkpoints, events).unwrap();
    story.ready();
    assert_eq!(story.frames_seen(), 1);
}

#[test]
fn a_thousand_traps_leak_no_place_in_the_pool() {
    let mut story = Story::plain(|config| config.quarantine_faults = 1_000);
    let mut restarts = 0;
    // Settled in between, so that it never backs off.
    for _ in 0..100 {
        story.ready();
        for _ in 0..8 {
            story.order(SILENT);
            story.rig.hear_report();
        }
        match story.fault(TRAP).1 {
            AfterFault::Restarted { .. } => restarts += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(restarts, 100);
}

#[test]
fn a_panic_in_the_hosts_own_thread_is_said_and_costs_nothing_else() {
    let rig = Rig::new();
    rig.checkpoints.break_down();
    let mut story = Story::begin(rig, &guest::resumable(), "detector-resumable", |_| ());
    let (why, then) = story.rig.hear_fault();
    assert!(why.contains("panicked: the store is broken"), "{why}");
    assert_eq!(then, AfterFault::Quarantined);
}

#[test]
fn a_session_answers_its_caller_without_a_thread() {
    let rig = Rig::new();
    let host = rig.host();
    let config = rig.plugin(&guest::resumable(), "detector-resumable");
    let mut session = host.open_detector(&host.load(&config, 0).unwrap()).unwrap();
    assert_eq!(session.configure("").unwrap(), ["homeostat.*"]);
    session.bind(series()).unwrap();
    assert_eq!(session.observe(frame(1, FIND, 0.0)).unwrap().findings.len(), 1);
    assert_eq!(session.save().unwrap(), Some(vec![1, 0, 0, 0]));
    assert_eq!(session.restore(&[7]).unwrap(), Err("four bytes, please".into()));
    assert!(session.observe(frame(2, TRAP, 0.0)).is_err());
}
