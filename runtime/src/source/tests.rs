use std::path::PathBuf;
use std::time::Duration;

use super::fixture::{Pretend, Proc};
use super::*;
use crate::clock::SavedClock;
use crate::config::{
    KmsgConfig, LimitsConfig, LinkConfig, LogConfig, LogStart, ProbeConfig, ProbeKind,
    SensorConfig, SensorKind, WorkloadKind,
};
use crate::http::server::{Manner, Server};
use crate::model::SeriesId;
use crate::model::view::WorkloadState;

const DEADLINE: Duration = Duration::from_secs(20);

fn workload(name: &str, probes: Vec<ProbeConfig>) -> WorkloadConfig {
    WorkloadConfig {
        kind: WorkloadKind::Process,
        name: name.to_owned(),
        command: vec!["/bin/true".to_owned()],
        env: BTreeMap::new(),
        dir: None,
        user: None,
        limits: LimitsConfig::default(),
        replicas: None,
        needs: vec![],
        desired_running: true,
        stop_deadline_ms: 1000,
        start_grace_ms: 1000,
        log_max_bytes: 1,
        log_files: 1,
        probes,
    }
}

fn command(name: &str, timeout_ms: u64, words: &[&str]) -> ProbeConfig {
    let command = words.iter().map(|word| (*word).to_owned()).collect();
    let kind = ProbeKind::Command { command, env: BTreeMap::new(), perfdata: vec![] };
    ProbeConfig { name: name.to_owned(), kind, period_ms: 20, timeout_ms }
}

fn tcp(name: &str, server: &Server) -> ProbeConfig {
    let kind = ProbeKind::Tcp { address: server.address.to_string() };
    ProbeConfig { name: name.to_owned(), kind, period_ms: 20, timeout_ms: 1000 }
}

/// A pretend box, and the room at work on it.
struct Story {
    proc: Proc,
    series: Vec<Series>,
    control: SourceControl,
    statuses: watch::Sender<BTreeMap<String, WorkloadStatus>>,
    events: mpsc::Receiver<SourceEvent>,
}

impl Story {
    fn start(workloads: &[WorkloadConfig], externals: &[ExternalConfig], room: usize) -> Self {
        let proc = Proc::new();
        proc.write("loadavg", "0.25 0 0 1/1 1\n");
        proc.write("kmsg", "6,1,1,-;from the kernel\n");
        proc.write("app.log", "from a log\n");
        let config = SourceConfig {
            proc_root: proc.root().to_owned(),
            sys_root: proc.path("sys"),
            smart: None,
            interlocks: vec![],
            period_ms: 20,
            filesystems: vec![PathBuf::from("/")],
            kmsg: Some(KmsgConfig { path: proc.path("kmsg"), place: proc.path("place") }),
            journals: vec![],
            journalctl: "/nowhere/journalctl".into(),
            logs: vec![LogConfig {
                name: "app".to_owned(),
                path: proc.path("app.log"),
                target: TargetId::the_box(),
                from: LogStart::Start,
            }],
            links: vec![LinkConfig {
                name: "eth0".to_owned(),
                hosts: vec!["127.0.0.1:9".to_owned()],
                period_ms: 20,
                timeout_ms: 20_000,
                bounce: false,
            }],
            sensors: vec![SensorConfig {
                name: "oil".to_owned(),
                unit: "Cel".to_owned(),
                target: TargetId::the_box(),
                period_ms: 20,
                factor: 1.0,
                kind: SensorKind::Iio { device: "d".to_owned(), channel: "in_temp".to_owned() },
            }],
        };
        let sources = Sources::new(&config, workloads, externals, None);
        let series = sources.series().to_vec();
        let clock = Clock::resume(SavedClock::default(), "this boot", 0);
        let (statuses, snapshot) = watch::channel(BTreeMap::new());
        let (sender, events) = mpsc::channel(room);
        let control = sources.run(clock, snapshot, sender);
        Self { proc, series, control, statuses, events }
    }

    async fn next(&mut self) -> SourceEvent {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        event.expect("an event in time").expect("it runs")
    }

    async fn result(&mut self, probe: &str) -> ProbeResult {
        loop {
            match self.next().await {
                SourceEvent::Probe(result) if result.probe == probe => return result,
                _ => {}
            }
        }
    }

    async fn next_probe(&mut self) -> String {
        loop {
            if let SourceEvent::Probe(result) = self.next().await {
                return result.probe;
            }
        }
    }

    /// The next reading of the first series with this name.
    async fn reading(&mut self, name: &str) -> f64 {
        let index = self.series.iter().position(|series| series.name == name).unwrap();
        let wanted = SeriesId(u32::try_from(index).unwrap());
        loop {
            if let SourceEvent::Batch(batch) = self.next().await
                && let Some((_, value)) = batch.values.iter().find(|(id, _)| *id == wanted)
            {
                return *value;
            }
        }
    }

    /// Takes all that was under way until nothing can come any more.
    async fn drained(&mut self) {
        let drain = async { while self.events.recv().await.is_some() {} };
        tokio::time::timeout(DEADLINE, drain).await.expect("all of it ends");
    }
}

fn running(pid: u32) -> WorkloadStatus {
    WorkloadStatus {
        state: WorkloadState::Running,
        attempt: None,
        pid: Some(pid),
        shim_pid: None,
        cgroup: None,
        starts: 1,
        detail: String::new(),
    }
}

#[tokio::test]
async fn the_box_and_its_workloads_are_read_as_they_change() {
    let mut story = Story::start(&[workload("m", vec![])], &[], 64);
    assert_eq!(story.reading("system.cpu.load_average.1m").await, 0.25);
    assert!(story.reading("system.filesystem.usage").await > 0.0);

    story.proc.process(Pretend { pid: 100, threads: 7, ..Pretend::default() });
    story.statuses.send_replace(BTreeMap::from([("m".to_owned(), running(100))]));
    assert_eq!(story.reading("homeostat.workload.running").await, 1.0);
    assert_eq!(story.reading("process.thread.count").await, 7.0);

    story.statuses.send_modify(|statuses| {
        let status = statuses.get_mut("m").unwrap();
        (status.state, status.pid) = (WorkloadState::Exited, None);
    });
    while story.reading("homeostat.workload.running").await != 0.0 {}
}

#[tokio::test]
async fn lines_links_and_sensors_are_read_too() {
    let mut story = Story::start(&[], &[], 64);
    let mut heard = Vec::new();
    while heard.len() < 2 {
        if let SourceEvent::Lines(lines) = story.next().await {
            heard.extend(lines.into_iter().map(|line| format!("{}: {}", line.source, line.text)));
        }
    }
    heard.sort();
    assert_eq!(heard, ["app: from a log", "kmsg: from the kernel"]);
    assert_eq!(story.reading("homeostat.link.loss").await, 0.0);

    story.proc.write("sys/class/net/eth0/carrier", "1\n");
    assert_eq!(story.reading("hw.network.up").await, 1.0);
    story.proc.write("sys/bus/iio/devices/d/in_temp_input", "42\n");
    assert_eq!(story.reading("sensor.oil").await, 42.0);
}

#[tokio::test]
async fn targets_of_both_kinds_are_probed() {
    let server = Server::start(Manner::Silent).await;
    let external =
        ExternalConfig { name: "db".to_owned(), needs: vec![], probes: vec![tcp("port", &server)] };
    let check = command("check", 10_000, &["/bin/sh", "-c", "exit 2"]);
    let mut story = Story::start(&[workload("m", vec![check])], &[external], 64);
    let result = story.result("port").await;
    assert_eq!((result.target.as_str(), result.good), ("external:db", Some(true)));
    let result = story.result("check").await;
    assert_eq!((result.target.as_str(), result.good), ("workload:m", Some(false)));
}

#[tokio::test]
async fn a_probe_that_hangs_holds_up_neither_others_nor_the_box() {
    let server = Server::start(Manner::Silent).await;
    let hangs = command("hangs", 3_600_000, &["/bin/sleep", "1000"]);
    let probes = vec![hangs, tcp("port", &server)];
    let mut story = Story::start(&[workload("m", probes)], &[], 64);
    for _ in 0..5 {
        assert_eq!(story.result("port").await.good, Some(true));
        story.reading("system.cpu.load_average.1m").await;
    }
}

#[tokio::test]
async fn haste_is_for_its_own_target() {
    let server = Server::start(Manner::Silent).await;
    let slow = |name: &str| ProbeConfig { period_ms: 3_600_000, ..tcp(name, &server) };
    let workloads = [workload("a", vec![slow("a")]), workload("b", vec![slow("b")])];
    let mut story = Story::start(&workloads, &[], 64);
    // Each once, in the order of their jitter; then none for an hour.
    let mut seen = [story.next_probe().await, story.next_probe().await];
    seen.sort();
    assert_eq!(seen, ["a", "b"]);
    story.control.hasten(&TargetId::workload("a"), u64::MAX);
    story.control.hasten(&TargetId::workload("nobody"), u64::MAX);
    for _ in 0..3 {
        assert_eq!(story.next_probe().await, "a");
    }
    story.control.calm(&TargetId::workload("a"));
    story.control.calm(&TargetId::workload("nobody"));
    story.control.hasten(&TargetId::workload("b"), u64::MAX);
    let mut seen = Vec::new();
    while seen.iter().filter(|name| *name == "b").count() < 5 {
        seen.push(story.next_probe().await);
    }
    // One that was due, and one that was told already.
    assert!(seen.len() <= 7, "{seen:?}");
}

#[tokio::test]
async fn nobody_taking_events_costs_batches_and_no_probe_result() {
    let server = Server::start(Manner::Silent).await;
    let mut story = Story::start(&[workload("m", vec![tcp("port", &server)])], &[], 1);
    while story.control.dropped() == 0 {
        tokio::task::yield_now().await;
    }
    let mut last = 0;
    for _ in 0..5 {
        let result = story.result("port").await;
        assert!(result.began_age_ms >= last);
        last = result.age_ms;
    }
}

#[tokio::test]
async fn stop_ends_all_of_it() {
    let hangs = command("hangs", 3_600_000, &["/bin/sleep", "1000"]);
    let mut story = Story::start(&[workload("m", vec![hangs])], &[], 64);
    story.reading("system.cpu.load_average.1m").await;
    story.control.stop();
    story.control.stop();
    tokio::time::timeout(DEADLINE, story.control.stopped()).await.expect("all of it ends");
    story.drained().await;
}

#[tokio::test]
async fn dropping_the_last_control_ends_all_of_it() {
    let server = Server::start(Manner::Silent).await;
    let mut story = Story::start(&[workload("m", vec![tcp("port", &server)])], &[], 64);
    story.result("port").await;
    let other = story.control.clone();
    story.control = Story::start(&[], &[], 1).control;
    story.result("port").await;
    drop(other);
    story.drained().await;
}

#[test]
fn series_are_the_same_for_the_same_configuration() {
    let config = SourceConfig {
        proc_root: PathBuf::from("/proc"),
        interlocks: vec![],
        period_ms: 1000,
        filesystems: vec![PathBuf::from("/"), PathBuf::from("/data")],
        kmsg: None,
        journals: vec![],
        journalctl: "/nowhere/journalctl".into(),
        logs: vec![],
        sys_root: PathBuf::from("/sys"),
        smart: None,
        links: vec![],
        sensors: vec![],
    };
    let check = command("check", 1000, &["/bin/true"]);
    let workloads = [workload("m", vec![check])];
    let series = || Sources::new(&config, &workloads, &[], None).series().to_vec();
    assert_eq!(series(), series());

    let mut keys: Vec<_> = series();
    let count = keys.len();
    keys.sort_by(|a, b| (&a.name, &a.target, &a.labels).cmp(&(&b.name, &b.target, &b.labels)));
    keys.dedup_by(|a, b| (&a.name, &a.target, &a.labels) == (&b.name, &b.target, &b.labels));
    assert_eq!(keys.len(), count, "no two series are named alike");
    let found = |name: &str| series().into_iter().find(|series| series.name == name).unwrap();
    assert_eq!(found("system.process.count").period_ms, 5000);
    assert_eq!(found("system.clock.synchronized").period_ms, 1000);
    let up = found("homeostat.probe.up");
    assert_eq!((up.target.as_str(), up.period_ms), ("workload:m", 20));
    assert_eq!(up.labels, [("probe".to_owned(), "check".to_owned())]);
}
