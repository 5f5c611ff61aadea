use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::*;
use crate::clock::{Clock, SavedClock};
use crate::model::TargetId;
use crate::source::SourceEvent;
use crate::source::fixture::Proc;
use crate::source::halt::Halt;
use crate::source::outlet::Outlet;

const DEADLINE: Duration = Duration::from_secs(30);

fn channel(sys: &Proc, device: &str, channel: &str) -> Channel {
    Channel::new(sys.root(), device, channel)
}

fn adc(sys: &Proc, folder: &str, files: &[(&str, &str)]) {
    for (name, text) in files {
        sys.write(&format!("bus/iio/devices/{folder}/{name}"), text);
    }
}

#[test]
fn a_raw_channel_is_scaled_by_its_own_file_or_by_that_of_its_kind() {
    let sys = Proc::new();
    let files = [
        ("name", "mcp3008\n"),
        ("in_voltage0_raw", "100\n"),
        ("in_voltage1_raw", "100\n"),
        ("in_voltage1_scale", "0.5\n"),
        ("in_voltage_scale", "2.0\n"),
        ("in_voltage_offset", "-10\n"),
        ("in_accel_x_raw", "-3\n"),
        ("in_humidityrelative_input", "45500\n"),
    ];
    adc(&sys, "iio:device0", &files);
    for (name, expected) in [
        ("in_voltage0", 180.0),
        ("in_voltage1", 45.0),
        ("in_accel_x", -3.0),
        ("in_humidityrelative", 45_500.0),
    ] {
        assert_eq!(channel(&sys, "mcp3008", name).read().unwrap(), expected, "{name}");
        assert_eq!(channel(&sys, "iio:device0", name).read().unwrap(), expected, "{name}");
    }
    let error = channel(&sys, "mcp3008", "in_temp").read().unwrap_err();
    assert_eq!(error.to_string(), "mcp3008 has no channel in_temp");
    adc(&sys, "iio:device0", &[("in_voltage0_raw", "x\n")]);
    assert!(channel(&sys, "mcp3008", "in_voltage0").read().is_err());
}

#[test]
fn a_device_that_comes_later_or_under_another_number_is_found() {
    let sys = Proc::new();
    let mut temp = channel(&sys, "bme280", "in_temp");
    assert!(temp.read().is_err());
    adc(&sys, "iio:device0", &[("name", "bme280\n"), ("in_temp_input", "21000\n")]);
    assert_eq!(temp.read().unwrap(), 21_000.0);
    let devices = sys.path("bus/iio/devices");
    std::fs::rename(devices.join("iio:device0"), devices.join("iio:device1")).unwrap();
    assert!(temp.read().is_err());
    assert_eq!(temp.read().unwrap(), 21_000.0);
}

#[test]
fn a_number_is_plain_or_where_the_pointer_leads() {
    for (output, pointer, expected) in [
        (" 21.5 \n", None, Some(21.5)),
        ("-3e2", None, Some(-300.0)),
        ("21.5 C", None, None),
        ("", None, None),
        ("nan", None, None),
        (r#"{"a": [{"b": 7}]}"#, Some("/a/0/b"), Some(7.0)),
        (r#"{"a": "7.5"}"#, Some("/a"), Some(7.5)),
        (r#"{"a": [true, false]}"#, Some("/a/0"), Some(1.0)),
        (r#"{"a": [true, false]}"#, Some("/a/1"), Some(0.0)),
        (r#"{"a": null}"#, Some("/a"), None),
        ("true", None, None),
        (r#"{"a": 7}"#, Some("/b"), None),
        ("7", Some(""), Some(7.0)),
        ("not json", Some("/a"), None),
    ] {
        let found = parse(output.as_bytes(), pointer, "it").ok();
        assert_eq!(found, expected, "{output:?} at {pointer:?}");
    }
    let error = parse(b"{}", Some("/a/b"), "what its command wrote").unwrap_err().to_string();
    assert_eq!(error, "there is no number at /a/b in what its command wrote");
}

/// Sensors at work.
pub(super) struct Story {
    registry: Registry,
    halt: Arc<Halt>,
    stop: watch::Sender<bool>,
    events: mpsc::Receiver<SourceEvent>,
}

impl Story {
    fn start(sys: &Proc, kind: SensorKind) -> Self {
        Self::start_all(sys, &[("press", kind)])
    }

    pub(super) fn start_all(sys: &Proc, kinds: &[(&str, SensorKind)]) -> Self {
        let mut registry = Registry::default();
        let config = |name: &str, kind: &SensorKind| SensorConfig {
            name: name.into(),
            unit: "bar".into(),
            target: TargetId::workload("m"),
            period_ms: 20,
            factor: 0.5,
            kind: kind.clone(),
        };
        let sensor = |(name, kind): &(&str, SensorKind)| {
            Sensor::new(sys.root(), &config(name, kind), None, &mut registry)
        };
        let sensors = kinds.iter().map(sensor).collect();
        let halt = Arc::new(Halt::new().unwrap());
        let (sender, events) = mpsc::channel(64);
        let (stop, alive) = watch::channel(false);
        let around = Around {
            clock: Clock::resume(SavedClock::default(), "this boot", 0),
            outlet: Outlet::new(sender),
            halt: halt.clone(),
            alive,
        };
        assert!(Sensor::start_all(sensors, &around).is_empty());
        Self { registry, halt, stop, events }
    }

    pub(super) async fn reading(&mut self) -> String {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await;
        match event.expect("in time").expect("it runs") {
            SourceEvent::Batch(batch) => {
                let (id, value) = batch.values[0];
                format!("{} {value}", self.registry.describe(id))
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn end(self) {
        self.halt.end();
        self.stop.send_replace(true);
        tokio::time::timeout(DEADLINE, self.stop.closed()).await.expect("all of it ends");
    }
}

fn shell(script: String, pointer: Option<&str>) -> SensorKind {
    SensorKind::Command {
        command: vec!["/bin/sh".into(), "-c".into(), script],
        env: BTreeMap::new(),
        pointer: pointer.map(str::to_owned),
        timeout_ms: 20_000,
    }
}

#[tokio::test]
async fn a_commands_number_is_read_again_and_again() {
    let sys = Proc::new();
    sys.write("number", r#"{"bar": 7}"#);
    let script = format!("echo noise >&2; cat {}", sys.path("number").display());
    let mut story = Story::start(&sys, shell(script, Some("/bar")));
    assert_eq!(story.reading().await, "sensor.press 3.5");
    sys.write("next", r#"{"bar": 9}"#);
    std::fs::rename(sys.path("next"), sys.path("number")).unwrap();
    while story.reading().await != "sensor.press 4.5" {}
    story.end().await;
}

#[tokio::test]
async fn a_command_that_fails_gives_no_reading_and_is_asked_again() {
    let sys = Proc::new();
    let flag = sys.path("flag").display().to_string();
    let script = format!("echo 8; test -e {flag} || {{ touch {flag}; exit 1; }}");
    let mut story = Story::start(&sys, shell(script, None));
    assert_eq!(story.reading().await, "sensor.press 4");
    assert!(sys.path("flag").exists(), "the first one failed");
    story.end().await;
}

#[tokio::test]
async fn a_channel_is_read_by_a_thread_that_ends() {
    let sys = Proc::new();
    adc(&sys, "iio:device0", &[("in_temp_input", "21000\n")]);
    let kind = SensorKind::Iio { device: "iio:device0".into(), channel: "in_temp".into() };
    let mut story = Story::start(&sys, kind);
    assert_eq!(story.reading().await, "sensor.press 10500");
    story.end().await;
}
