//! What looks like a fault and is none: a box in `enforce` leaves it alone.
//!
//! Each control goes on for three times as long as a fault would need to be
//! seen, and afterwards says how near the box came to acting
//! (`target/controls`, told by `cargo xtask test`).

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use homeostat::model::{Command, Event, Origin, TargetId, TargetKind};
use homeostat_tests::load::Load;
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{PATIENCE, Plan, TestBox, port, process, program, wait};
use model_server::fault::Fault;
use rustix::process::Signal;
use serde_json::json;

/// A hang right after a good probe: two bad ones, each at its timeout, and
/// the frame that tells of them.
const SEEN_AFTER: Duration = Duration::from_millis(2 * 1_000 + 2 * 200 + 250);
const SPAN: Duration = SEEN_AFTER.saturating_mul(3);

/// A box that would act: a healer with every grant is asked about everything.
fn plan() -> Plan {
    Plan::bare()
        .server_with("digits", |workload| {
            workload.insert("start_grace_ms".into(), 10_000.into());
            for probe in workload["probe"].as_array_mut().into_iter().flatten() {
                probe["period_ms"] = 200.into();
                probe["timeout_ms"] = 1_000.into();
            }
        })
        .detector("liveness", json!({}))
        .detector("threshold", rules())
        .healer("ladder", Plan::ladder(4, 0.3))
}

fn rules() -> serde_json::Value {
    json!({ "rules": [
        { "name": "memory", "series": "process.memory.usage", "op": ">", "raise": 2e9, "for_s": 1.0 },
        { "name": "panics", "line": "*panic*", "source": "output", "times": 3, "within_s": 5.0 },
    ]})
}

/// One control while it goes on.
struct Control {
    name: &'static str,
    house: TestBox,
    before: u64,
    until: Instant,
}

/// How far the box went, each step nearer to acting than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    Nothing,
    Finding,
    Incident,
    Asked,
    Proposed,
    Acted,
}

impl Control {
    fn on(name: &'static str, house: TestBox) -> Self {
        let before = house.now();
        Self { name, house, before, until: Instant::now() + SPAN }
    }

    fn begin(name: &'static str) -> Self {
        let house = plan().raise();
        house.until_watched("digits");
        Self::on(name, house)
    }

    /// Does `step` over and over until the span is over.
    fn keep(&self, mut step: impl FnMut(&Self)) {
        while Instant::now() < self.until {
            step(self);
        }
    }

    #[track_caller]
    fn rest(&self) {
        self.goes_on(self.until.saturating_duration_since(Instant::now()));
    }

    /// So long, and all the while nothing is done.
    #[track_caller]
    fn goes_on(&self, span: Duration) {
        wait::stays(span, self.name, || self.untouched());
    }

    fn untouched(&self) -> Result<(), String> {
        let acted = self.house.events().into_iter().find(|record| {
            record.seq > self.before
                && matches!(record.event, Event::Permitted { origin: Origin::Healer { .. }, .. })
        });
        acted.map_or(Ok(()), |record| Err(format!("{record:?}")))
    }

    /// No healer's action was permitted, by the whole journal; how near it came
    /// is put down for the report.
    #[track_caller]
    fn end(self) {
        let records = self.house.check();
        let steps = records.iter().filter(|record| record.seq > self.before);
        let near = steps.map(|record| near(&record.event)).max().unwrap_or(Near::Nothing);
        let folder = program::target().join("controls");
        let _ = fs::create_dir_all(&folder);
        let line = format!("{near:?}").to_lowercase();
        fs::write(folder.join(self.name), line).expect("the target folder can be written");
        assert!(near < Near::Acted, "{}: the box acted\n{records:#?}", self.name);
    }
}

fn near(event: &Event) -> Near {
    match event {
        Event::Permitted { origin: Origin::Healer { .. }, .. } => Near::Acted,
        Event::Refused { origin: Origin::Healer { .. }, .. } => Near::Proposed,
        Event::HealerAsked { .. } => Near::Asked,
        Event::IncidentOpened { .. } => Near::Incident,
        Event::FindingRaised { .. } => Near::Finding,
        _ => Near::Nothing,
    }
}

/// Somebody else's work on this machine; it ends with the value.
struct Work(Child);

impl Work {
    fn shell(folder: &Path, script: &str) -> Self {
        // Never longer than the control, whatever becomes of the test.
        let limit = (SPAN.as_secs() + 30).to_string();
        let child = Process::new("timeout")
            .args(["--kill-after=1", &limit, "/bin/sh", "-c", script])
            .current_dir(folder)
            .env(process::MARK, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("a shell can be started"))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        process::signal(self.0.id(), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The control of the controls: this very box does act.
#[test]
fn the_same_box_heals_a_server_that_hangs() {
    let house = plan().raise();
    let pid = house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Hang);
    house.until_healed("digits", before);
    assert_ne!(house.until_serving("digits"), pid);
    house.check();
}

#[test]
fn a_steady_load() {
    let control = Control::begin("a steady load");
    let folder = control.house.folder().to_owned();
    let mut load = Load::on(control.house.servers(), 50, 2_000, &folder).expect("a client starts");
    control.keep(|control| {
        control.house.server("digits").answers_within(PATIENCE).expect("it serves under load")
    });
    load.end();
    control.end();
}

#[test]
fn nobody_asks_anything() {
    let control = Control::begin("an idle server");
    control.rest();
    control.end();
}

#[test]
fn a_backup_takes_the_processor_and_the_disk() {
    let control = Control::begin("a backup");
    let script = "dd if=/dev/zero of=data bs=1M count=64 2>/dev/null; \
                  while :; do tar cf copy data; gzip -1 -f -k copy; done";
    let _backup = Work::shell(control.house.folder(), script);
    control.rest();
    control.end();
}

#[test]
fn a_disk_that_others_keep_busy_is_slow() {
    let control = Control::begin("a slow disk");
    let script =
        "while :; do dd if=/dev/zero of=sync bs=4k count=200 oflag=dsync 2>/dev/null; done";
    let _writers = [
        Work::shell(control.house.folder(), script),
        Work::shell(control.house.folder(), &script.replace("sync bs", "other bs")),
    ];
    control.rest();
    control.end();
}

#[test]
fn a_storm_of_lines_that_say_nothing_bad() {
    let control = Control::begin("a storm of lines");
    let text = "request took longer than usual, retrying with another batch size".to_owned();
    control.keep(|control| {
        control.house.server("digits").breaks(Fault::ErrorLine { text: text.clone() });
    });
    control.end();
}

#[test]
fn a_bad_line_now_and_then() {
    let control = Control::begin("a bad line now and then");
    // Two in five seconds, where the rule wants three: how often is the point.
    control.keep(|control| {
        let text = "worker caught a panic and went on".to_owned();
        control.house.server("digits").breaks(Fault::ErrorLine { text });
        control.goes_on(Duration::from_millis(2_600));
    });
    control.end();
}

#[test]
fn an_operator_restarts_a_workload_as_planned() {
    let control = Control::begin("a planned restart");
    control.house.command(&Command::WorkloadStop { name: "digits".into() });
    control.house.command(&Command::WorkloadStart { name: "digits".into() });
    control.house.until_serving("digits");
    control.rest();
    assert_eq!(control.house.server("digits").starts().len(), 2, "once by the configuration");
    control.end();
}

#[test]
fn an_operator_leaves_a_workload_stopped() {
    let control = Control::begin("a planned stop");
    control.house.command(&Command::WorkloadStop { name: "digits".into() });
    control.rest();
    control.end();
}

#[test]
fn a_server_that_loads_its_model_for_seconds_after_boot() {
    let house = plan()
        .starts_with("digits", "sleep 4")
        .with(|settings| {
            let workload = settings.named("workload", "digits");
            workload.insert("start_grace_ms".into(), 30_000.into());
        })
        .raise();
    let control = Control::on("the first seconds after boot", house);
    control.house.until_serving("digits");
    control.rest();
    control.end();
}

#[test]
fn a_server_that_is_slow_and_in_time() {
    let control = Control::begin("a slow server");
    control.house.server("digits").breaks(Fault::Slow { ms: 300 });
    control.rest();
    control.end();
}

#[test]
fn a_single_probe_that_fails() {
    let house = plan()
        .with(|settings| {
            // So seldom that one reading at most falls into the lapse.
            settings.named("workload", "digits")["probe"][0]["period_ms"] = 5_000.into();
        })
        .raise();
    house.until_watched("digits");
    let control = Control::on("a single bad probe", house);
    control.house.server("digits").breaks(Fault::NotReady);
    control.house.server("digits").breaks(Fault::Heal);
    control.rest();
    control.end();
}

#[test]
fn a_blink_right_after_a_repair() {
    let house = plan()
        .with(|settings| {
            // Hastened until the repair was proven, and so seldom from then on.
            settings.named("workload", "digits")["probe"][0]["period_ms"] = 5_000.into();
        })
        .raise();
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", before);
    let control = Control::on("a blink after a repair", house);
    control.house.server("digits").breaks(Fault::NotReady);
    control.goes_on(Duration::from_millis(900));
    control.house.server("digits").breaks(Fault::Heal);
    control.rest();
    control.end();
}

#[test]
fn memory_that_grows_and_stays_within_its_limit() {
    let control = Control::begin("memory within its limit");
    let pid = control.house.pid("digits");
    let enough = process::resident_bytes(pid) + (64 << 20);
    control.house.server("digits").breaks(Fault::Leak { mb_per_s: 32 });
    wait_until(PATIENCE, "its memory to grow", || {
        let found = process::resident_bytes(pid);
        Seen::when(found >= enough, || format!("{found} of {enough} bytes"))
    });
    control.house.server("digits").breaks(Fault::Heal);
    control.rest();
    control.end();
}

#[test]
fn a_daemon_that_was_killed_and_comes_back() {
    let mut control = Control::begin("a new daemon");
    for _ in 0..2 {
        control.house.kill_daemon();
        control.house.start(&[]);
    }
    control.rest();
    control.end();
}

#[test]
fn a_daemon_that_slept() {
    let mut control = Control::begin("a daemon that slept");
    let pid = control.house.daemon().pid();
    control.house.daemon().signal(Signal::STOP);
    wait_until(PATIENCE, "the daemon to sleep", || {
        Seen::when(process::stopped(pid), || "it is awake".into())
    });
    // For longer than a fault would need to be seen: how long is the point.
    wait::stays(SEEN_AFTER, "a daemon that sleeps", || match process::stopped(pid) {
        true => Ok(()),
        false => Err("it is awake".into()),
    });
    control.house.daemon().signal(Signal::CONT);
    control.rest();
    control.end();
}

#[test]
fn healing_is_paused_and_resumed_while_all_is_well() {
    let control = Control::begin("a pause while all is well");
    control.house.command(&Command::Pause { for_ms: None });
    // Long enough for it to look at what it may not touch.
    control.house.until_watched("digits");
    assert!(control.house.view().paused.is_some());
    control.house.command(&Command::Resume {});
    control.rest();
    control.end();
}

/// A box whose server needs something upstream, which listens at `port`.
fn with_upstream(port: u16) -> TestBox {
    let house = plan()
        .with(|settings| {
            let probe = json!({
                "name": "port", "kind": "tcp", "address": format!("127.0.0.1:{port}"),
                "period_ms": 200, "timeout_ms": 1_000,
            });
            settings.push("external", json!({ "name": "camera", "probe": [probe] }));
            settings.named("workload", "digits").insert("needs".into(), json!(["external:camera"]));
        })
        .raise();
    house.until_watched("digits");
    house
}

#[test]
fn an_upstream_that_is_down() {
    let port = port::lease();
    let upstream = TcpListener::bind(("127.0.0.1", port.number)).expect("the port is ours");
    let house = with_upstream(port.number);
    drop(upstream);
    let control = Control::on("an upstream down", house);
    control.rest();
    control.end();
}

#[test]
fn a_link_upstream_that_flaps() {
    let port = port::lease();
    let listen = || TcpListener::bind(("127.0.0.1", port.number)).expect("the port is ours");
    let first = listen();
    let house = with_upstream(port.number);
    let camera = TargetId::new(TargetKind::External, "camera");
    let mut since = house.now();
    drop(first);
    let control = Control::on("a flapping link", house);
    control.keep(|control| {
        (since, ()) = control.house.until_event(since, "the link to be seen down", |event| {
            matches!(event, Event::FindingRaised { finding, .. } if finding.target == camera)
                .then_some(())
        });
        let up = listen();
        (since, ()) = control.house.until_event(since, "the link to be seen up", |event| {
            matches!(event, Event::FindingCleared { target, .. } if *target == camera).then_some(())
        });
        drop(up);
    });
    control.end();
}

#[test]
fn a_workload_whose_helpers_come_and_go() {
    let house = plan()
        .with(|settings| {
            let script = "while :; do sleep 0.1; (exit 1); done";
            settings
                .push("workload", json!({ "name": "busy", "command": ["/bin/sh", "-c", script] }));
        })
        .raise();
    house.until_watched("digits");
    let control = Control::on("helpers that come and go", house);
    control.rest();
    control.end();
}

#[test]
fn a_log_that_somebody_fills_on_the_boxs_own_disk() {
    let control = Control::begin("a log that grows");
    let file = control.house.folder().join("other.log");
    let mut log = fs::File::create(&file).expect("the story's folder can be written");
    for _ in 0..64 {
        log.write_all(&[b'x'; 1 << 20]).expect("there is room");
    }
    control.rest();
    control.end();
}
