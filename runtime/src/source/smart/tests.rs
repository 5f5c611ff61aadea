//! Answers in smartctl's format, written for these stories.

use serde_json::json;

use super::*;
use crate::source::fixture::Proc;

fn told(output: &serde_json::Value, status: i32) -> Health {
    health(output.to_string().as_bytes(), Some(status)).unwrap()
}

fn attributes(attributes: &[(&'static str, f64)]) -> BTreeMap<&'static str, f64> {
    attributes.iter().copied().collect()
}

fn ata(table: &[(&str, u64, u64)]) -> serde_json::Value {
    let row = |(name, value, raw): &(&str, u64, u64)| json!({ "name": name, "value": value, "worst": value, "raw": { "value": raw } });
    json!({
        "smart_status": { "passed": true },
        "ata_smart_attributes": { "table": table.iter().map(row).collect::<Vec<_>>() },
    })
}

fn nvme(used: u64) -> serde_json::Value {
    json!({
        "smartctl": { "exit_status": 0 },
        "smart_status": { "passed": true, "nvme": { "value": 0 } },
        "nvme_smart_health_information_log": {
            "critical_warning": 0, "temperature": 41, "available_spare": 100,
            "available_spare_threshold": 10, "percentage_used": used, "media_errors": 0,
        },
    })
}

#[test]
fn an_nvme_disk_says_how_much_of_it_is_used_and_more_than_all_leaves_nothing() {
    let health = told(&nvme(3), 0);
    assert_eq!((health.failed, health.remaining), (Some(false), Some(0.97)));
    assert_eq!(health.attributes, attributes(&[(SPARE, 100.0), (MEDIA_ERRORS, 0.0)]));
    assert_eq!(told(&nvme(130), 0).remaining, Some(0.0));
}

#[test]
fn an_nvme_disk_fails_by_its_warning_and_heat_alone_is_no_failure() {
    let warns = |warning: u64| {
        let mut output = nvme(3);
        output["smart_status"]["passed"] = json!(warning == 0);
        output["nvme_smart_health_information_log"]["critical_warning"] = json!(warning);
        told(&output, 8).failed
    };
    for (warning, failed) in [(0, false), (0b10, false), (0b1, true), (0b1000, true), (0b110, true)]
    {
        assert_eq!(warns(warning), Some(failed), "{warning:#b}");
    }
}

#[test]
fn an_ata_disk_says_what_its_attributes_say_and_nothing_of_its_wear_where_none_does() {
    let spinning = ata(&[
        ("Reallocated_Sector_Ct", 100, 8),
        ("Current_Pending_Sector", 100, 16),
        ("Offline_Uncorrectable", 100, 2),
        ("Power_On_Hours", 90, 9_000),
    ]);
    let health = told(&spinning, 0);
    assert_eq!(health.remaining, None);
    let counts =
        [("reallocated_sectors", 8.0), ("pending_sectors", 16.0), ("uncorrectable_sectors", 2.0)];
    assert_eq!(health.attributes, attributes(&counts));

    for name in LIFE_LEFT {
        assert_eq!(told(&ata(&[(name, 42, 1_234)]), 0).remaining, Some(0.42), "{name}");
    }
    let mut newer = ata(&[("Wear_Leveling_Count", 42, 1)]);
    newer["endurance_used"] = json!({ "current_percent": 10 });
    assert_eq!(told(&newer, 0).remaining, Some(0.9), "the standard's own word comes first");
}

#[test]
fn the_exit_status_speaks_of_the_disk_and_only_its_first_bits_of_no_answer() {
    let mut failing = ata(&[]);
    failing["smart_status"]["passed"] = json!(false);
    // Failing; below a threshold; errors in its log.
    for status in [0b1000, 0b1_1000, 0b0100_0000, 0b1100_1100] {
        assert_eq!(told(&failing, status).failed, Some(true), "{status:#b}");
    }
    let no_answer = json!({ "smartctl": {
        "messages": [{ "string": "Smartctl open device: /dev/sda failed: Permission denied",
                       "severity": "error" }],
        "exit_status": 2,
    }});
    for status in [Some(1), Some(2), Some(3), None] {
        let error = health(no_answer.to_string().as_bytes(), status).unwrap_err().to_string();
        assert!(error.contains("Permission denied"), "{error}");
    }
}

#[test]
fn a_disk_that_sleeps_or_says_nothing_has_no_reading_and_no_error() {
    let asleep = json!({ "smartctl": {
        "messages": [{ "string": "Device is in STANDBY mode, exit(0)", "severity": "information" }],
        "exit_status": 0,
    }});
    assert_eq!(told(&asleep, 0), Health::default());
    for garbage in ["", "no JSON", "[1]", "{\"smart_status\": 1}"] {
        let error = health(garbage.as_bytes(), Some(0)).unwrap_err().to_string();
        assert!(error.starts_with("wanted smartctl's JSON, found"), "{error}");
    }
}

#[test]
fn disks_are_asked_and_neither_partitions_shadows_nor_sticks() {
    let sys = Proc::new();
    for (name, removable) in [
        ("nvme0n1", 0),
        ("sda", 0),
        ("sdb", 1),
        ("sdaa", 0),
        ("vda", 0),
        ("mmcblk0", 0),
        ("dm-0", 0),
    ] {
        sys.write(&format!("block/{name}/removable"), &format!("{removable}\n"));
    }
    let mut registry = Registry::default();
    let config = SmartConfig { smartctl: "/usr/sbin/smartctl".into(), period_ms: 3_600_000 };
    let smart = Smart::new(sys.root(), &config, &mut registry);
    let names: Vec<_> = smart.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["nvme0n1", "sda", "sdaa"]);

    let values = smart.disks[0].values(&told(&nvme(3), 0));
    let shown: Vec<_> =
        values.iter().map(|(id, value)| format!("{} {value}", registry.describe(*id))).collect();
    let device = "system.device=nvme0n1";
    let attribute = "hw.physical_disk.smart{hw.physical_disk.smart_attribute";
    assert_eq!(
        shown,
        [
            format!("hw.status{{hw.type=physical_disk,{device},state=failed}} 0"),
            format!("hw.physical_disk.endurance_utilization{{{device},state=remaining}} 0.97"),
            format!("{attribute}=available_spare,{device}}} 100"),
            format!("{attribute}=media_errors,{device}}} 0"),
        ]
    );
}
