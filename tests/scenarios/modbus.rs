//! What a device tells by Modbus TCP reaches a detector: a device made here by
//! hand, and one that others made.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use homeostat::model::{Event, Finding};
use homeostat_tests::plan::path;
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{Plan, TestBox, port, program, skip};
use serde_json::{Value, json};

/// One whose numbers are checked: its protocol is somebody else's reading of it.
const SIMULATOR: &str = "pymodbus==3.16.1";
/// Four tables of unit 3: coils, discrete inputs, holding and input registers.
const SIMULATION: &str = r#"
import sys
from pymodbus.server import StartTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

tables = (
    [SimData(8, values=[True] * 16, datatype=DataType.BITS)],
    [SimData(8, values=[True] * 16, datatype=DataType.BITS)],
    [SimData(100, values=7.5, datatype=DataType.FLOAT32)],
    [SimData(200, values=-12, datatype=DataType.INT16)],
)
StartTcpServer(SimDevice(id=3, simdata=tables), address=("127.0.0.1", int(sys.argv[1])))
"#;

fn sensor(name: &str, port: u16, keys: Value) -> Value {
    let mut sensor = json!({
        "name": name, "unit": "bar", "kind": "modbus", "address": format!("127.0.0.1:{port}"),
        "unit_id": 3, "period_ms": 100, "timeout_s": 20,
    });
    let (all, more) = (sensor.as_object_mut(), keys.as_object());
    let (all, more) = all.zip(more).expect("both are tables");
    all.extend(more.clone());
    sensor
}

fn raised(house: &TestBox, kind: &str) -> Finding {
    let raised = house.until_event(0, kind, |event| match event {
        Event::FindingRaised { finding, .. } if finding.kind == kind => Some(finding.clone()),
        _ => None,
    });
    raised.1
}

/// Holding register 4 of a device; ends with the test.
struct Press {
    port: u16,
    pressure: Arc<AtomicU16>,
}

impl Press {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it has one").port();
        let pressure = Arc::new(AtomicU16::new(30));
        let told = pressure.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The daemon closed it.
                let _ = Self::serve(stream, &told);
            }
        });
        Self { port, pressure }
    }

    fn serve(mut stream: TcpStream, pressure: &AtomicU16) -> io::Result<()> {
        loop {
            let mut request = [0; 12];
            stream.read_exact(&mut request)?;
            let [t0, t1, _, _, _, _, unit, function, rest @ ..] = request;
            let [high, low] = pressure.load(Ordering::Relaxed).to_be_bytes();
            match (unit, function, rest) {
                (3, 3, [0, 4, 0, 1]) => {
                    stream.write_all(&[t0, t1, 0, 0, 0, 5, unit, function, 2, high, low])?;
                }
                _ => stream.write_all(&[t0, t1, 0, 0, 0, 3, unit, function | 0x80, 2])?,
            }
        }
    }
}

#[test]
fn a_register_above_its_threshold_raises_a_finding_until_it_falls() {
    let press = Press::start();
    let high =
        json!({ "name": "high", "series": "sensor.pressure", "op": ">", "raise": 6, "clear": 5 });
    let register = json!({ "table": "holding", "type": "u16", "register": 4, "factor": 0.1 });
    // Of the same device, which knows no such register.
    let missing = json!({ "table": "input", "type": "i32", "register": 4 });
    let house = Plan::bare()
        .detector("threshold", json!({ "rules": [high] }))
        .with(|settings| {
            settings
                .push("sensor", sensor("pressure", press.port, register))
                .push("sensor", sensor("missing", press.port, missing));
        })
        .raise();
    let refused = "sensor missing cannot be read: it answered with exception 2";
    wait_until(homeostat_tests::PATIENCE, "the refusal in the log", || {
        let log = house.log_text();
        Seen::when(log.contains(refused), || log.clone())
    });
    assert!(house.view().findings.is_empty(), "{:?}", house.view().findings);
    press.pressure.store(75, Ordering::Relaxed);
    let finding = raised(&house, "threshold.high");
    assert!(finding.message.contains("is 7.5 bar"), "{}", finding.message);
    press.pressure.store(30, Ordering::Relaxed);
    house.until_event(0, "the end of the finding", |event| {
        matches!(event, Event::FindingCleared { kind, .. } if kind == "threshold.high")
            .then_some(())
    });
    assert_eq!(house.log_text().matches(refused).count(), 1, "it is said once");
    house.check();
}

/// The simulator at work; ends with this.
struct Simulator(Child);

impl Simulator {
    fn start(python: &Path, folder: &Path, port: u16) -> Self {
        let script = folder.join("simulation.py");
        fs::write(&script, SIMULATION).expect("the story's folder can be written");
        let log = fs::File::create(folder.join("simulation.log")).expect("as above");
        let child = Command::new(python)
            .arg(script)
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file has two handles"))
            .stderr(log)
            .spawn();
        let mut simulator = Self(child.expect("python ran before"));
        wait_until(Duration::from_secs(60), "the simulator", || {
            let said = || fs::read_to_string(folder.join("simulation.log")).unwrap_or_default();
            if let Ok(Some(status)) = simulator.0.try_wait() {
                panic!("it ended with {status}: {}", said());
            }
            Seen::when(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), said)
        });
        simulator
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Python that has the simulator, installed once per build folder.
fn python() -> Option<PathBuf> {
    let folder = program::target().join("pymodbus");
    let python = folder.join("bin/python");
    let run = |program: &Path, args: &[&str]| {
        let run = Command::new(program).args(args).stdin(Stdio::null()).output();
        run.is_ok_and(|output| output.status.success())
    };
    let version = SIMULATOR.split("==").last().unwrap_or_default();
    let has_it = format!("import pymodbus, sys; sys.exit(pymodbus.__version__ != '{version}')");
    let install = ["-m", "pip", "install", "-q", "--timeout", "10", "--retries", "1", SIMULATOR];
    let there = run(&python, &["-c", &has_it])
        || (run(Path::new("python3"), &["-m", "venv", &path(&folder)]) && run(&python, &install));
    there.then_some(python)
}

#[test]
fn a_simulator_that_others_made_is_read_in_all_four_tables() {
    let Some(python) = python() else {
        return skip::note("no python3 with venv, or no index to install pymodbus from");
    };
    let expected =
        BTreeMap::from([("coil", 1.0), ("input", 1.0), ("float", 7.5), ("short", -12.0)]);
    let rules: Vec<_> = expected
        .iter()
        .map(|(name, value)| {
            let series = format!("sensor.{name}");
            json!({ "name": name, "series": series, "op": ">", "raise": value - 0.25 })
        })
        .collect();
    let plan = Plan::bare().detector("threshold", json!({ "rules": rules }));
    let port = port::lease();
    let _simulator = Simulator::start(&python, plan.path(), port.number);
    let house = plan
        .with(|settings| {
            for (name, keys) in [
                ("coil", json!({ "table": "coil", "register": 8 })),
                ("input", json!({ "table": "discrete", "register": 9 })),
                ("float", json!({ "table": "holding", "type": "f32", "register": 100 })),
                ("short", json!({ "table": "input", "type": "i16", "register": 200 })),
            ] {
                settings.push("sensor", sensor(name, port.number, keys));
            }
        })
        .raise();
    for (name, value) in expected {
        let finding = raised(&house, &format!("threshold.{name}"));
        assert!(finding.message.contains(&format!("is {value} bar")), "{}", finding.message);
    }
    house.check();
}
