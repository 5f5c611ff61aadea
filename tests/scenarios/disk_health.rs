//! What disks say of their own health reaches a person.
//!
//! This machine's disk is a virtual one that says nothing, so a script answers
//! in smartctl's name; `source/smart` has the answers themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use homeostat::model::Event;
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox};
use serde_json::{Value, json};

/// A box with an NVMe disk and one of ATA, and what each says.
struct Disks {
    folder: PathBuf,
}

impl Disks {
    fn on(plan: Plan) -> (Self, Plan) {
        let folder = plan.path().join("disks");
        for disk in ["nvme0n1", "sda"] {
            let block = folder.join("sys/block").join(disk);
            fs::create_dir_all(&block).expect("the story's folder can be written");
        }
        let disks = Self { folder };
        disks.says("nvme0n1", &nvme(3, true));
        disks.says("sda", &ata(0));
        // The disk is the last of its words.
        disks.script("for disk; do :; done; cat \"$(dirname $0)/$(basename $disk)\"");
        let (sys, smartctl) = (disks.folder.join("sys"), disks.smartctl());
        let plan = plan.with(|settings| {
            settings
                .set("source.sys_root", path(&sys))
                .set("source.smart", true)
                .set("source.smartctl", path(&smartctl))
                .set("source.smart_period_s", 1);
        });
        (disks, plan)
    }

    fn smartctl(&self) -> PathBuf {
        self.folder.join("smartctl")
    }

    fn script(&self, line: &str) {
        replace(&self.smartctl(), &format!("#!/bin/sh\n{line}\n"));
    }

    fn says(&self, disk: &str, answer: &Value) {
        replace(&self.folder.join(disk), &answer.to_string());
    }
}

/// Whole or not at all: somebody may be reading it.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("the story's folder can be written");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::rename(&new, file).expect("it can be renamed");
}

fn nvme(used: u32, passed: bool) -> Value {
    json!({
        "smart_status": { "passed": passed },
        "nvme_smart_health_information_log": {
            "critical_warning": if passed { 0 } else { 4 },
            "available_spare": 100, "percentage_used": used, "media_errors": 0,
        },
    })
}

fn ata(pending: u32) -> Value {
    json!({
        "smart_status": { "passed": true },
        "ata_smart_attributes": { "table": [
            { "name": "Current_Pending_Sector", "value": 100, "raw": { "value": pending } },
        ]},
    })
}

fn until_over(house: &TestBox, after: u64, kind: &str) {
    house.until_event(after, &format!("the end of {kind}"), |event| {
        matches!(event, Event::FindingCleared { kind: found, .. } if found == kind).then_some(())
    });
}

#[test]
fn a_disk_that_wears_out_loses_sectors_or_fails_is_an_incident_and_a_healthy_one_is_none() {
    let (disks, plan) = Disks::on(Plan::bare().detector("host", json!({})));
    let house = plan.raise();
    house.until_looked("host");
    assert!(house.view().findings.is_empty(), "{:?}", house.view().findings);

    let before = house.now();
    disks.says("nvme0n1", &nvme(93, true));
    let worn = house.until_raised(before, "host.disk-worn");
    assert!(worn.message.starts_with("nvme0n1: 7 % of its endurance left"), "{}", worn.message);
    disks.says("sda", &ata(16));
    let pending = house.until_raised(before, "host.disk-sectors-pending");
    assert!(pending.message.starts_with("sda: 16 sectors"), "{}", pending.message);
    disks.says("nvme0n1", &nvme(93, false));
    let failing = house.until_raised(before, "host.disk-failing");
    assert!(failing.message.contains("copy what is needed off it"), "{}", failing.message);
    house.until_event(before, "an incident of it", |event| {
        matches!(event, Event::IncidentOpened { kind, .. } if kind == "host.disk-failing")
            .then_some(())
    });

    let after = house.now();
    disks.says("sda", &ata(0));
    until_over(&house, after, "host.disk-sectors-pending");
    house.check();
}

#[test]
fn a_disk_that_gives_no_answer_is_said_once_and_costs_no_other_reading() {
    let high = json!({ "name": "high", "series": "hw.physical_disk.endurance_utilization",
                       "op": "<", "raise": 0.5 });
    let (disks, plan) = Disks::on(Plan::bare().detector("threshold", json!({ "rules": [high] })));
    disks.says("nvme0n1", &nvme(80, true));
    // What smartctl says to who has no right to ask, and its exit status.
    let denied = json!({ "smartctl": { "messages": [{ "string": "Permission denied" }] } });
    disks.says("denied", &denied);
    disks.script(
        "for disk; do :; done; here=$(dirname $0)\n\
         case $disk in */sda) cat $here/denied; exit 2;; *) cat $here/$(basename $disk);; esac",
    );
    let house = plan.raise();
    let finding = house.until_raised(0, "threshold.high");
    assert!(finding.message.contains("0.2") || finding.message.contains("20 %"), "{finding:?}");
    house.until_looked("threshold");
    house.until_looked("threshold");
    let log = house.log_text();
    let said = log.lines().filter(|line| line.contains("SMART of sda cannot be read"));
    assert_eq!(said.count(), 1, "{log}");
    assert!(log.contains("Permission denied"), "{log}");
    house.check();
}
