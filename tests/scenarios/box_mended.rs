//! What the box does to itself where its file allows it: room is made, a link is
//! bounced, the clock is set, the box boots. Each is proven by what it was done
//! about.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use homeostat::model::action::Rule;
use homeostat::model::{Event, IncidentId, Outcome};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, program, skip, wait};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

/// A box with a number of its own, `sensor.level`, that a command writes; beyond
/// `raise` it is trouble of `target`, and `action` is what the ladder has for it.
fn box_with(target: &str, level: &Value, op: &str, raise: f64, action: &str) -> Plan {
    let rule = json!({
        "name": "level", "series": "sensor.level", "op": op, "raise": raise, "target": target,
    });
    let ladder = json!({
        "ladder": [{ "kind": "threshold.level", "steps": [
            { "action": action, "attempts": 5, "backoff_s": 0.1 },
        ]}],
        "blocked_wait_s": 0.1,
    });
    Plan::bare()
        .plugin("threshold", json!({ "config": { "rules": [rule] } }))
        .plugin("ladder", json!({ "config": ladder, "grants": [action] }))
        .with(|settings| {
            settings
                .push(
                    "sensor",
                    json!({
                        "name": "level", "unit": "1", "target": target, "kind": "command",
                        "command": level, "period_ms": 100, "timeout_s": 5,
                    }),
                )
                .push("incident.route", json!({ "kind": "*", "healers": ["ladder"] }));
        })
}

fn sh(script: &str) -> Value {
    json!(["/bin/sh", "-c", script])
}

/// Waits until an incident that `action` was permitted for is proven.
#[track_caller]
fn until_mended(house: &TestBox, action: &str) -> IncidentId {
    let (seq, id) = house.until_event(0, "the permit", |event| match event {
        Event::Permitted { incident: Some(id), proposal, .. } if proposal.action == action => {
            Some(*id)
        }
        _ => None,
    });
    house.until_event(seq, "the proof", |event| {
        matches!(event, Event::IncidentProven { incident, .. } if *incident == id).then_some(())
    });
    id
}

#[test]
fn room_is_made_on_a_disk_that_fills() {
    let plan = Plan::bare();
    let logs = plan.path().join("logs");
    fs::create_dir(&logs).expect("the story's folder can be written");
    for n in 0..4 {
        fs::write(logs.join(format!("app.log.{n}")), vec![b'x'; MIB]).expect("there is room");
    }
    let kib = sh(&format!("du -sk {} | cut -f1", path(&logs)));
    let house = box_with("box", &kib, ">", 3000.0, "disk.reclaim")
        .with(|settings| {
            settings.push(
                "reclaim",
                json!({
                    "name": "app", "dir": path(&logs), "evict": "app.log.*", "older_than_s": 0,
                    "keep": 1,
                }),
            );
        })
        .raise();
    let id = until_mended(&house, "disk.reclaim");
    assert_eq!(fs::read_dir(&logs).expect("it is there").count(), 1);
    let told = house.cli(&["explain", &id.to_string()]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("3 files removed, 0 cut, 3 MiB freed"), "{told}");
    house.check();
}

#[test]
fn a_clock_that_is_off_is_set_by_its_service() {
    let plan = Plan::bare();
    let offset = plan.path().join("offset");
    fs::write(&offset, "90\n").expect("the story's folder can be written");
    let level = json!(["/bin/cat", path(&offset)]);
    let house = box_with("box", &level, ">", 1.0, "time.resync")
        .with(|settings| {
            let command = sh(&format!("echo 0 > {}", path(&offset)));
            settings.set("resync.command", command);
        })
        .raise();
    until_mended(&house, "time.resync");
    assert_eq!(fs::read_to_string(&offset).expect("it is there"), "0\n");
    house.check();
}

/// The daemon in a network of its own, with a pair of links, and a view of them
/// in `sys`. None where this machine allows no such thing.
fn in_a_network_of_its_own(folder: &Path) -> Option<PathBuf> {
    let script = "set -e; mount -t sysfs none \"$1\"; ip link add v0 type veth peer name v1; \
                  ip link set v0 up; ip link set v1 up; shift; exec \"$@\"";
    let sys = folder.join("sys");
    fs::create_dir(&sys).expect("the story's folder can be written");
    let inside = ["--net", "--mount", "/bin/sh", "-c", script, "sh", &path(&sys)];
    let works = Command::new("unshare").args(inside).arg("/bin/true").status();
    if !works.is_ok_and(|status| status.success()) {
        skip::note("no network namespace with a pair of links can be made here");
        return None;
    }
    let wrapper = folder.join("homeostat");
    let daemon = path(&program::program("homeostat"));
    let text = format!(
        "#!/bin/sh\nexec unshare --net --mount /bin/sh -c '{script}' sh {} {daemon} \"$@\"\n",
        path(&sys)
    );
    fs::write(&wrapper, text).expect("the story's folder can be written");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("it is ours");
    Some(wrapper)
}

#[test]
fn a_link_is_taken_down_and_up_again() {
    let plan = Plan::bare();
    let Some(wrapper) = in_a_network_of_its_own(plan.path()) else { return };
    let sys = plan.path().join("sys");
    let ups = json!(["/bin/cat", path(&sys.join("class/net/v0/carrier_up_count"))]);
    let programs = program::program("homeostat");
    let plan = box_with("link:v0", &ups, "<", 2.0, "link.bounce").with(|settings| {
        settings
            .set("source.sys_root", path(&sys))
            .set("paths.programs", path(programs.parent().expect("it lies in a folder")))
            .push("link", json!({ "name": "v0", "bounce": true }));
    });
    let mut house = TestBox::new(plan);
    house.install(wrapper);
    house.start(&[]);
    until_mended(&house, "link.bounce");
    house.check();
}

/// A box in trouble that only a reboot mends: its level falls to zero when it
/// was booted so often.
fn until_it_boots(folder: &Path, boots_wanted: u32) -> Plan {
    let boots = path(&folder.join("boots"));
    let level = sh(&format!("test $(cat {boots} | wc -l) -ge {boots_wanted} && echo 0 || echo 1"));
    box_with("box", &level, ">", 0.5, "system.reboot").with(|settings| {
        let command = sh(&format!("echo boot >> {boots}"));
        settings.set("reboot.allow", true).set("reboot.max", 2).set("reboot.command", command);
    })
}

fn boots(folder: &Path) -> usize {
    fs::read_to_string(folder.join("boots")).unwrap_or_default().lines().count()
}

/// Waits for the box to be told to boot, and boots it: the daemon dies, and the
/// next one finds another boot.
fn boot(house: &mut TestBox, folder: &Path, nth: usize) {
    wait::wait_until(Duration::from_secs(30), "the box to be told to boot", || {
        wait::Seen::when(boots(folder) == nth, || format!("{} boots", boots(folder)))
    });
    house.kill_daemon();
    house.start(&[("HOMEOSTAT_BOOT_ID", &format!("boot-{nth}"))]);
}

#[test]
fn a_reboot_is_judged_by_the_boot_that_follows_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut house = TestBox::new(until_it_boots(folder.path(), 1));
    house.start(&[("HOMEOSTAT_BOOT_ID", "boot-0")]);
    boot(&mut house, folder.path(), 1);
    let (_, outcome) = house.until_event(0, "what came of it", |event| match event {
        Event::EffectObserved { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    assert!(matches!(&outcome, Outcome::Done { detail } if detail.contains("the box booted")));
    until_mended(&house, "system.reboot");
    assert_eq!(boots(folder.path()), 1);
    house.check();
}

#[test]
fn a_box_that_boots_into_the_same_trouble_stops_even_when_its_journal_is_lost() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let plan = until_it_boots(folder.path(), 100).with(|settings| {
        settings.set("guard.cooldown_ms", 0);
        // Each pretended boot puts the age ahead by the uptime of this machine.
        settings.set("reboot.window_s", 30 * 24 * 3_600);
    });
    let mut house = TestBox::new(plan);
    house.start(&[("HOMEOSTAT_BOOT_ID", "boot-0")]);
    for nth in 1..=2 {
        boot(&mut house, folder.path(), nth);
        // What was learnt is lost with the disk's database; the count is not.
        house.stop_daemon();
        fs::remove_dir_all(house.folder().join("state/store")).expect("it is there");
        house.start(&[("HOMEOSTAT_BOOT_ID", &format!("boot-{nth}"))]);
    }
    let refused = house.until_event(0, "the refusal", |event| match event {
        Event::Refused { refusal, .. } if refusal.rule == Rule::Reboot => {
            Some(refusal.detail.clone())
        }
        Event::Decided { decision, .. } => {
            let why = format!("{decision:?}");
            why.contains("(reboot: ").then_some(why)
        }
        _ => None,
    });
    assert!(refused.1.contains("it is a person's turn"), "{}", refused.1);
    assert_eq!(boots(folder.path()), 2);
    house.check();
}
