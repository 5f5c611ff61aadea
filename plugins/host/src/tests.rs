use homeostat_sdk::testkit::{
    FrameMaker, SeriesMaker, Session, frame, golden, refusal, resumable, series,
};
use homeostat_sdk::{CRITICAL, ERROR, WARNING};
use serde_json::{Value, json};

use super::*;

const COLUMNS: usize = 12;
const MEMORY: usize = 0;
const FILES: usize = 1;
const ZOMBIES: usize = 3;
const STUCK: usize = 4;
const ROOT: usize = 5;
const READ_ONLY: usize = 7;
const IMAGE_READ_ONLY: usize = 8;
const CLOCK: usize = 9;
const HEAT: usize = 10;

fn session(config: Value) -> Session<Host> {
    let state = |state| series("system.process.count").unit("{process}").label("state", state);
    let mounted = |name, point| series(name).label("mountpoint", point);
    let sensor = |name| series(name).unit("Cel").label("id", "cpu/temp1").label("name", "CPU");
    Session::new(config).bind([
        series("system.memory.utilization"),
        series("system.linux.file_handle.utilization"),
        series("system.linux.pid.utilization"),
        state("zombie"),
        state("uninterruptible"),
        mounted("system.filesystem.utilization", "/"),
        mounted("system.filesystem.utilization", "/snap"),
        mounted("system.filesystem.read_only", "/"),
        mounted("system.filesystem.read_only", "/snap"),
        series("system.clock.synchronized"),
        sensor("hw.temperature"),
        sensor("hw.temperature.limit").label("limit_type", "high.critical"),
    ])
}

/// A well box, but for some readings.
fn row(age_s: u64, but: &[(usize, f64)]) -> FrameMaker {
    let mut values: [f64; COLUMNS] =
        [0.5, 0.1, 0.1, 2.0, 0.0, 0.3, 1.0, 0.0, 1.0, 1.0, 45.0, 100.0];
    but.iter().for_each(|(column, value)| values[*column] = *value);
    frame(age_s * 1_000).row(values)
}

fn kmsg(age_s: u64, text: &str) -> FrameMaker {
    row(age_s, &[]).line_from("box", "kmsg", text).weighing(3)
}

fn told(text: &str) -> Vec<(String, u8)> {
    let report = session(Value::Null).observe(kmsg(1, text));
    report.findings.into_iter().map(|it| (it.kind, it.severity)).collect()
}

#[test]
fn the_kernels_words_are_known_one_kind_each() {
    for (text, kind, severity) in [
        ("Out of memory: Killed process 4312 (python3) total-vm:8123456kB", "oom-kill", ERROR),
        (
            "Memory cgroup out of memory: Killed process 9 (a) total-vm:1kB",
            "cgroup-oom-kill",
            WARNING,
        ),
        (
            "watchdog: BUG: soft lockup - CPU#2 stuck for 23s! [kworker/2:1]",
            "soft-lockup",
            CRITICAL,
        ),
        (
            "INFO: task jbd2/sda1-8:201 blocked for more than 120 seconds.",
            "kernel-hung-task",
            ERROR,
        ),
        (
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "kernel-oops",
            CRITICAL,
        ),
        ("Oops: 0002 [#1] SMP PTI", "kernel-oops", CRITICAL),
        ("kernel BUG at mm/slub.c:4023!", "kernel-oops", CRITICAL),
        ("Kernel panic - not syncing: Fatal exception", "kernel-panic", CRITICAL),
        ("EXT4-fs error (device sda1): ext4_lookup:1855: inode #2", "ext4-error", ERROR),
        ("XFS (sdb1): Corruption of in-memory data detected.", "xfs-error", CRITICAL),
        ("EXT4-fs (sda1): Remounting filesystem read-only", "remounted-read-only", CRITICAL),
        (
            "Buffer I/O error on dev sdb1, logical block 4, lost async page write",
            "disk-io-error",
            ERROR,
        ),
        ("blk_update_request: I/O error, dev sda, sector 12345", "disk-io-error", ERROR),
        ("EXT4-fs (sda1): I/O error while writing superblock", "superblock-error", CRITICAL),
        ("nvme nvme0: I/O 12 QID 4 timeout, aborting", "nvme-timeout", ERROR),
        ("nvme nvme0: Disabling device after reset failure: -19", "nvme-disabled", CRITICAL),
        ("md/raid1:md0: Disk failure on sdb1, disabling device.", "raid-failure", CRITICAL),
        ("attempt to access beyond end of device", "beyond-end-of-device", ERROR),
        ("nfs: server 10.0.0.2 not responding, still trying", "nfs-not-responding", WARNING),
        (
            "mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 4",
            "hardware-error",
            CRITICAL,
        ),
        (
            "mlx5_core 0000:3b:00.0: Detected insufficient power on the PCIe slot (27W).",
            "pcie-power",
            ERROR,
        ),
        ("nf_conntrack: nf_conntrack: table full, dropping packet", "conntrack-full", ERROR),
        ("VFS: file-max limit 9223 reached", "file-max-reached", ERROR),
        (
            "CPU0: Core temperature above threshold, cpu clock throttled (total events = 1)",
            "cpu-throttled",
            WARNING,
        ),
    ] {
        assert_eq!(told(text), [(format!("host.{kind}"), severity)], "{text}");
    }
}

#[test]
fn what_the_kernel_writes_on_a_good_day_is_nothing() {
    for text in [
        "EXT4-fs (sda1): mounted filesystem with ordered data mode",
        "EXT4-fs (sda1): re-mounted. Opts: (null)",
        "nvme nvme0: 8/0/0 default/read/poll queues",
        "traps: python3[3312] general protection fault ip:7f1 sp:7f2 error:0 in libc.so.6",
        "I/O error, dev sr0, sector 0 op 0x0:(READ)",
        "mce: [Hardware Error]: Corrected error, no action required.",
        "md/raid1:md0: active with 2 out of 2 mirrors",
        "XFS (sdb1): Mounting V5 Filesystem",
        "hung_task: no task",
    ] {
        assert!(told(text).is_empty(), "{text}");
    }
}

#[test]
fn only_the_kernel_is_believed_about_the_kernel() {
    let mut it = session(Value::Null);
    let text = "Kernel panic - not syncing";
    let said = row(1, &[]).line_from("box", "syslog", text).line_from("workload:x", "kmsg", text);
    assert_eq!(it.observe(said), Report::default());
}

#[test]
fn the_message_says_what_happened_and_what_to_do() {
    let report = session(Value::Null).observe(kmsg(1, "VFS: file-max limit 9223 reached"));
    assert_eq!(
        report.findings[0].message,
        "the box has no file handles left: VFS: file-max limit 9223 reached; \
         find who holds them with lsof, or raise fs.file-max"
    );
}

#[test]
fn an_event_is_over_when_it_was_quiet_and_damage_lasts_until_a_boot() {
    let mut it = session(Value::Null);
    it.observe(kmsg(1, "Out of memory: Killed process 1 (x)"));
    it.observe(kmsg(2, "EXT4-fs error (device sda1)"));
    let count = |report: Report| report.findings.len();
    assert_eq!(count(it.observe(row(599, &[]))), 2);
    assert_eq!(count(it.observe(row(602, &[]))), 1);
    assert_eq!(count(it.observe(row(1_000_000, &[]))), 1);
    let notified = row(1_000_001, &[]).mark_with("box", "action.ended", [("action", "notify")]);
    assert_eq!(count(it.observe(notified)), 1);
    let booted = row(1_000_002, &[]).mark("box", "box.booted").boot(2);
    assert_eq!(it.observe(booted), Report::default());
}

#[test]
fn corrected_errors_count_only_when_there_are_many() {
    let mut it = session(Value::Null);
    let text = "mce: [Hardware Error]: Corrected error, no action required.";
    for n in 1..10 {
        assert!(it.observe(kmsg(n * 60, text)).findings.is_empty(), "after {n}");
    }
    let report = it.observe(kmsg(600, text));
    assert_eq!(report.findings[0].kind, "host.hardware-error-corrected");
}

#[test]
fn a_level_warns_then_is_an_error_and_clears_only_well_below() {
    let mut it = session(Value::Null);
    let mut seen = |age_s: u64, value: f64| {
        // Each is held for a minute, longer than it must last.
        let report = (0..60).map(|n| it.observe(row(age_s + n, &[(FILES, value)]))).last();
        report.unwrap().findings.first().map(|it| it.severity)
    };
    assert_eq!(seen(60, 0.79), None);
    assert_eq!(seen(120, 0.82), Some(WARNING));
    assert_eq!(seen(180, 0.96), Some(ERROR));
    assert_eq!(seen(240, 0.93), Some(ERROR));
    assert_eq!(seen(300, 0.89), Some(WARNING));
    assert_eq!(seen(360, 0.76), Some(WARNING));
    assert_eq!(seen(420, 0.75), None);
}

#[test]
fn a_finding_stays_as_it_is_while_it_stands() {
    let mut it = session(Value::Null);
    (1..=31).for_each(|age_s| drop(it.observe(row(age_s, &[(FILES, 0.81)]))));
    let first = it.observe(row(32, &[(FILES, 0.82)]));
    assert_eq!(
        first.findings[0].message,
        "81 % of file handles in use, the limit is 80 %; \
         find who holds them with lsof, or raise fs.file-max"
    );
    assert_eq!(it.observe(row(33, &[(FILES, 0.9)])), first);
}

#[test]
fn each_level_has_its_limits() {
    for (column, value, for_s, kind) in [
        (MEMORY, 0.96, 120, "host.memory-full"),
        (ZOMBIES, 1_000.0, 30, "host.zombies"),
        (STUCK, 5.0, 600, "host.uninterruptible"),
        (ROOT, 0.91, 30, "host.filesystem-full"),
        (CLOCK, 0.0, 3_600, "host.clock-unsynchronized"),
        (HEAT, 96.0, 30, "host.temperature"),
    ] {
        let mut it = session(Value::Null);
        for age_s in 1..=for_s {
            let report = it.observe(row(age_s, &[(column, value)]));
            assert_eq!(report, Report::default(), "{kind} at {age_s} s");
        }
        let report = it.observe(row(for_s + 1, &[(column, value)]));
        assert_eq!(report.findings[0].kind, kind);
        assert_eq!(report.findings.len(), 1);
    }
}

#[test]
fn a_disk_is_judged_by_what_it_says_of_itself() {
    let on =
        |series: SeriesMaker| series.on("box").label("system.device", "sda").every_ms(3_600_000);
    let smart = |attribute: &str| {
        series("hw.physical_disk.smart")
            .unit("{sector}")
            .label("hw.physical_disk.smart_attribute", attribute)
    };
    let disk = [
        series("hw.status").label("hw.type", "physical_disk").label("state", "failed"),
        series("hw.physical_disk.endurance_utilization").label("state", "remaining"),
        smart("pending_sectors"),
        smart("uncorrectable_sectors"),
        smart("reallocated_sectors"),
    ];
    let mut it = Session::<Host>::new("").bind(disk.map(on));
    assert_eq!(it.observe(frame(1_000).row([0.0, 0.5, 0.0, 0.0, 8.0])), Report::default());
    for (at, (row, severity, told)) in [
        (
            [1.0, 0.5, 0.0, 0.0, 8.0],
            ERROR,
            "sda: the disk says of itself that it fails; copy what is needed off it, and replace it",
        ),
        (
            [0.0, 0.07, 0.0, 0.0, 8.0],
            WARNING,
            "sda: 7 % of its endurance left, the limit is 10 %; \
             plan its replacement, and look at what writes so much",
        ),
        (
            [0.0, 0.0, 0.0, 0.0, 8.0],
            ERROR,
            "sda: 0 % of its endurance left, the limit is 0 %; \
             plan its replacement, and look at what writes so much",
        ),
        (
            [0.0, 0.5, 16.0, 0.0, 8.0],
            WARNING,
            "sda: 16 sectors that do not read, the limit is 1; \
             copy what is needed off it; writing to them has them replaced",
        ),
        (
            [0.0, 0.5, 0.0, 2.0, 8.0],
            WARNING,
            "sda: 2 sectors that could not be corrected, the limit is 1; \
             copy what is needed off it, and replace it",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let hour_ms = 3_600_000 * (at as u64 + 1);
        let report = it.observe(frame(hour_ms).row(row));
        let [finding] = &report.findings[..] else { panic!("{told}: {report:?}") };
        assert_eq!((finding.severity, finding.message.as_str()), (severity, told));
        let well = it.observe(frame(hour_ms + 1_000).row([0.0, 0.5, 0.0, 0.0, 8.0]));
        assert_eq!(well, Report::default(), "{told}");
    }
}

#[test]
fn heat_is_measured_against_the_hardwares_own_limit() {
    let mut it = session(Value::Null);
    (1..=40).for_each(|age_s| drop(it.observe(row(age_s, &[(HEAT, 101.0)]))));
    let report = it.observe(row(41, &[(HEAT, 101.0)]));
    assert_eq!(report.findings[0].severity, ERROR);
    assert!(report.findings[0].message.starts_with("CPU: -1 °C left"), "{report:?}");
    // A sensor whose limit reads 0 has none.
    let mut it = session(Value::Null);
    for age_s in 1..100 {
        let report = it.observe(row(age_s, &[(HEAT, 101.0), (HEAT + 1, 0.0)]));
        assert_eq!(report, Report::default());
    }
}

#[test]
fn the_heat_of_an_accelerator_is_not_the_boxs() {
    let card = |name| series(name).on("accelerator:gpu0").label("id", "gpu0");
    let mut it = Session::<Host>::new(Value::Null)
        .bind([card("hw.temperature"), card("hw.temperature.limit")]);
    for age_s in 1..100 {
        assert!(it.observe(frame(age_s * 1_000).row([120.0, 90.0])).findings.is_empty());
    }
}

#[test]
fn read_only_is_wrong_only_where_it_was_writable_or_must_be() {
    let mut it = session(Value::Null);
    assert_eq!(it.observe(row(1, &[(READ_ONLY, 0.0), (IMAGE_READ_ONLY, 1.0)])), Report::default());
    it.resume();
    let report = it.observe(row(2, &[(READ_ONLY, 1.0), (IMAGE_READ_ONLY, 1.0)]));
    assert_eq!(report.findings.len(), 1);
    assert!(report.findings[0].message.starts_with("/: a filesystem that could be written"));
    assert_eq!(it.observe(row(3, &[(READ_ONLY, 0.0)])), Report::default());

    let mut it = session(json!({"writable": ["/"]}));
    assert_eq!(it.observe(row(1, &[(READ_ONLY, 1.0)])).findings.len(), 1);
    let mut it = session(Value::Null);
    assert_eq!(it.observe(row(1, &[(READ_ONLY, 1.0)])), Report::default());
}

#[test]
fn missing_readings_judge_nothing() {
    let mut it = session(Value::Null);
    (1..=40).for_each(|age_s| drop(it.observe(row(age_s, &[(FILES, 0.9)]))));
    let standing = it.observe(row(41, &[(FILES, 0.9)]));
    let nothing = Report { findings: vec![], unjudged: vec!["box".into()] };
    assert_eq!(it.observe(frame(42_000)), nothing);
    assert_eq!(it.observe(frame(43_000).row([None::<f64>; COLUMNS])), nothing);
    // One eye is enough to see the box; what stood stands.
    let one = (0..COLUMNS).map(|at| (at == MEMORY).then_some(0.5));
    assert_eq!(it.observe(frame(44_000).row(one)), standing);
}

#[test]
fn a_box_without_those_series_is_watched_by_its_kernel_alone() {
    let mut it = Session::<Host>::new(Value::Null).bind([] as [Series; 0]);
    let report = it.observe(frame(1_000).line_from("box", "kmsg", "Kernel panic - not syncing: x"));
    assert_eq!(report.findings[0].kind, "host.kernel-panic");
    assert_eq!(it.observe(frame(2_000)).unjudged, ["box"]);
}

#[test]
fn a_fresh_life_clears_nothing_before_it_has_seen_every_series() {
    let mut it = session(Value::Null);
    let one =
        |age_s: u64| frame(age_s * 1_000).row((0..COLUMNS).map(|at| (at == MEMORY).then_some(0.5)));
    assert_eq!(it.observe(one(1)).unjudged, ["box"]);
    assert_eq!(it.observe(row(2, &[])), Report::default());
}

#[test]
fn rules_can_be_turned_off_and_changed() {
    let config = json!({"rules": {"oom-kill": {"off": true}, "file-handles": {"warn": 0.5, "for_s": 0},
                        "nfs-not-responding": {"severity": 3, "times": 2}},
                        "mountpoints": ["/", "/snap"]});
    let mut it = session(config);
    assert!(it.observe(kmsg(1, "Out of memory: Killed process 1 (x)")).findings.is_empty());
    let text = "nfs: server a not responding";
    assert!(it.observe(kmsg(2, text)).findings.is_empty());
    assert_eq!(it.observe(kmsg(3, text)).findings[0].severity, CRITICAL);
    let kinds: Vec<_> =
        it.observe(row(4, &[(FILES, 0.5)])).findings.into_iter().map(|it| it.kind).collect();
    assert_eq!(kinds, ["host.nfs-not-responding", "host.file-handles"]);
    let full = (5..40).map(|age_s| it.observe(row(age_s, &[]))).last().unwrap();
    assert!(full.findings.iter().any(|it| it.key.ends_with("{mountpoint=/snap}")));
}

#[test]
fn a_change_that_makes_no_sense_is_refused() {
    for (config, word) in [
        (json!({"rules": {"oom": {}}}), "there is no rule \"oom\"; there are oom-kill,"),
        (json!({"rules": {"oom-kill": {"warn": 1}}}), "rules.oom-kill: `warn` is for levels"),
        (json!({"rules": {"pids": {"times": 1}}}), "rules.pids: `times` is for messages"),
        (json!({"rules": {"oom-kill": {"severity": 9}}}), "`severity` wants 0 to 3"),
        (json!({"rules": {"oom-kill": {"times": 0}}}), "`times` wants 1"),
        (json!({"rules": {"pids": {"warn": 0.99}}}), "`error` wants to be worse"),
        (json!({"rules": {"pids": {"for_s": -1}}}), "`for_s` wants seconds"),
        (json!({"rules": {"pids": {"margin": -1}}}), "`margin` wants 0"),
        (json!({"colour": 1}), "unknown field `colour`"),
    ] {
        let error = refusal::<Host>(config).message;
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn the_manifest_names_what_is_read() {
    let manifest = include_str!("../plugin.toml");
    let it = session(Value::Null);
    for name in it.detector().reads() {
        assert!(manifest.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn the_largest_memory_fits_into_a_checkpoint() {
    let many = (0..1_000).map(|n| {
        series("system.filesystem.read_only").label("mountpoint", &format!("/run/media/{n:060}"))
    });
    let mut it = Session::<Host>::new(Value::Null).bind(many);
    it.observe(frame(1_000).row([0.0; 1_000]));
    for fault in fault::ALL {
        let text = fault.patterns[0].replace('*', &"\u{1}\"".repeat(200));
        it.observe(frame(2_000).line_from("box", "kmsg", &text));
    }
    it.observe(frame(3_000).row([1.0; 1_000]));
    let state = serde_json::to_vec(&it.detector().save()).unwrap();
    assert!(state.len() < 256 << 10, "{} bytes", state.len());
}

#[test]
fn the_golden_recordings_replay() {
    golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), resumable::<Host>);
}

/// As in `liveness`.
#[test]
#[ignore = "writes the golden recordings"]
fn write_the_golden_recordings() {
    let write = |name: &str, about: &str, it: &Session<Host>| {
        let path = format!("{}/golden/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, it.recording("host", about).to_text()).unwrap();
    };
    let mut it = session(Value::Null);
    it.observe(row(1, &[]));
    it.observe(kmsg(2, "EXT4-fs error (device sda1): ext4_lookup:1855: inode #2: comm python3"));
    it.observe(kmsg(3, "EXT4-fs (sda1): Remounting filesystem read-only"));
    it.observe(row(4, &[(READ_ONLY, 1.0)]));
    it.resume();
    it.observe(frame(5_000));
    it.observe(row(6, &[(READ_ONLY, 1.0)]));
    it.observe(row(90, &[]).mark("box", "box.booted").marked_at(60_000).boot(2));
    write("disk", "a disk fails, its filesystem turns read-only, a boot mends it", &it);

    let mut it = session(Value::Null);
    for (age_s, share) in
        [(1, 0.7), (2, 0.91), (10, 0.92), (18, 0.92), (26, 0.92), (33, 0.92), (40, 0.89)]
    {
        it.observe(row(age_s, &[(ROOT, share)]));
    }
    it.observe(row(41, &[(ROOT, 0.88)]));
    write("full", "the root filesystem fills, and somebody makes room", &it);
}
