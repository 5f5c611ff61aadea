//! What others write: a log file of somebody else's, and the kernel.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use homeostat::model::{Event, Finding, TargetId};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox};
use model_server::fault::Fault;
use serde_json::{Value, json};

fn rule(source: &str, line: &str) -> Value {
    json!({ "rules": [{ "name": "disk", "source": source, "line": line, "target": "box" }] })
}

fn until_raised(house: &TestBox) -> Finding {
    let raised = house.until_event(0, "the finding", |event| match event {
        Event::FindingRaised { detector, finding } if detector == "threshold" => {
            Some(finding.clone())
        }
        _ => None,
    });
    raised.1
}

#[test]
fn a_line_of_a_log_that_was_rotated_meanwhile_raises_a_finding() {
    let plan = Plan::bare().detector("threshold", rule("driver", "I/O error"));
    let log = plan.path().join("driver.log");
    fs::write(&log, "all is well\n").expect("the story's folder can be written");
    let house = plan
        .with(|settings| {
            settings.push("log", json!({ "name": "driver", "path": path(&log), "from": "start" }));
        })
        .raise();
    house.until_view("the detector at work", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "threshold")?;
        (found.calls > 0).then_some(())
    });
    fs::rename(&log, log.with_extension("log.1")).expect("it can be renamed");
    fs::write(&log, "sda: I/O error, sector 7\n").expect("the story's folder can be written");
    let finding = until_raised(&house);
    assert_eq!((finding.kind.as_str(), finding.target), ("threshold.disk", TargetId::the_box()));
    assert!(finding.message.contains("sda: I/O error, sector 7"), "{}", finding.message);
    house.check();
}

/// A pretend `/dev/kmsg`, and who writes to it. It is a reader too, so that what
/// is written waits in it.
fn device(path: &Path) -> File {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).expect("a FIFO can be made");
    File::options().read(true).write(true).open(path).expect("a FIFO can be opened")
}

#[test]
fn what_the_kernel_said_before_the_detector_came_is_heard_by_it() {
    let plan = Plan::bare().detector("threshold", rule("kmsg", "I/O error"));
    let kmsg = plan.path().join("kmsg");
    let mut kernel = device(&kmsg);
    kernel
        .write_all(
            b"6,1,1000,-;booting\n3,2,2000,-;vda: I/O error\\x5c sector 7\n SUBSYSTEM=block\n",
        )
        .expect("it has room");
    let house = plan
        .with(|settings| {
            settings.set("source.kmsg", path(&kmsg));
        })
        .raise();
    let finding = until_raised(&house);
    assert_eq!(finding.target, TargetId::the_box());
    assert!(finding.message.contains("vda: I/O error\\ sector 7"), "{}", finding.message);
    house.check();
}

#[test]
fn what_a_line_said_outlives_the_daemon_that_heard_it() {
    let rule = |name: &str, line: &str| {
        json!({
            "name": name, "source": "output", "line": line, "target": "workload:*",
            "release": ["incident.closed"],
        })
    };
    let rules = json!({ "rules": [rule("cuda", "CUDA error"), rule("nccl", "NCCL error")] });
    let mut house = Plan::bare().server("digits").detector("threshold", rules).raise();
    house.until_serving("digits");
    house.server("digits").breaks(Fault::ErrorLine { text: "CUDA error: device lost".into() });
    until_raised(&house);
    house.kill_daemon();
    house.start(&[]);
    // Whatever the next instance has forgotten, the report that carries this
    // one takes back.
    house.until_serving("digits");
    house.server("digits").breaks(Fault::ErrorLine { text: "NCCL error: timeout".into() });
    house.until_event(0, "the second finding", |event| match event {
        Event::FindingRaised { finding, .. } => (finding.kind == "threshold.nccl").then_some(()),
        _ => None,
    });
    let cleared = house
        .check()
        .into_iter()
        .find(|record| matches!(record.event, Event::FindingCleared { .. }));
    assert_eq!(cleared, None, "the line does not come twice");
}

/// A pretend `journalctl`: it says one line and ends; asked for what is behind
/// that line, it says another and stays.
fn journalctl(folder: &Path) -> PathBuf {
    let path = folder.join("journalctl");
    let text = "#!/bin/sh\ncase \"$*\" in\n\
        *--unit=disk.service*--after-cursor=*|*--after-cursor=c1*--unit=disk.service*)\n\
        echo '{\"__CURSOR\":\"c2\",\"PRIORITY\":\"3\",\"MESSAGE\":\"sdb: I/O error\"}'\n\
        exec sleep 1000;;\n\
        *--lines=0*) echo '{\"__CURSOR\":\"c1\",\"PRIORITY\":\"6\",\"MESSAGE\":\"sda: all is well\"}';;\n\
        esac\n";
    fs::write(&path, text).expect("the story's folder can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

#[test]
fn what_journalctl_tells_is_heard_and_goes_on_behind_its_end() {
    let plan = Plan::bare().detector("threshold", rule("disks", "I/O error"));
    let program = journalctl(plan.path());
    let house = plan
        .with(|settings| {
            settings
                .set("source.journalctl", path(&program))
                .push("journal", json!({ "name": "disks", "units": ["disk.service"] }));
        })
        .raise();
    let finding = until_raised(&house);
    assert_eq!(finding.target, TargetId::the_box());
    assert!(finding.message.contains("sdb: I/O error"), "{}", finding.message);
    house.check();
}
