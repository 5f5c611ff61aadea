//! A workload that is a unit of a real systemd: an instance of it that the story
//! starts for itself, with a runtime directory and a bus of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use homeostat::model::view::WorkloadState;
use homeostat::model::{Event, Origin, Outcome};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, journal, process, skip, wait};
use model_server::fault::Fault;
use rustix::process::Signal;
use serde_json::{Value, json};

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
const UNIT: &str = "digits.service";
/// The bus as distributions have it for a user.
const BUS: [(&str, &str); 2] = [
    ("dbus.socket", "[Socket]\nListenStream=%t/bus\n"),
    (
        "dbus.service",
        "[Service]\nType=notify\nExecStart=/usr/bin/dbus-daemon --session --address=systemd: \
         --nofork --nopidfile --systemd-activation --syslog-only\n",
    ),
];

/// `systemd --user`, which believes that it was booted: it looks for a folder
/// of `/run`, so it is given a `/run` of its own.
struct Systemd {
    folder: PathBuf,
    child: Child,
}

impl Systemd {
    fn raise(folder: &Path) -> Option<Self> {
        let home = folder.join("home");
        let units = home.join(".config/systemd/user");
        let runtime = folder.join("xdg");
        for dir in [&units, &runtime] {
            fs::create_dir_all(dir).expect("the story's folder can be written");
        }
        for (name, text) in BUS {
            fs::write(units.join(name), text).expect("the story's folder can be written");
        }
        // Units of two instances must not share a control group of the same name.
        let group = folder.file_name().and_then(|it| it.to_str()).expect("a folder of ours");
        let script = format!(
            "for d in {GROUPS}; do if [ -e $d/cgroup.procs ]; then mkdir $d/{group} && \
             echo $$ > $d/{group}/cgroup.procs || exit 1; fi; done; mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec {SYSTEMD} --user"
        );
        let child = Command::new("unshare")
            .args(["--mount", "/bin/sh", "-c", &script])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &home)
            .env("XDG_RUNTIME_DIR", &runtime)
            .env(process::MARK, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut systemd = Self { folder: folder.to_owned(), child: child.ok()? };
        let socket = runtime.join("bus");
        let up = wait::look_until(Duration::from_secs(10), || match systemd.child.try_wait() {
            Ok(Some(status)) => wait::Seen::Yes(Err(status)),
            _ if systemd
                .ctl(&["start", "dbus.socket", "dbus.service"])
                .is_some_and(|it| it.status.success())
                && socket.exists() =>
            {
                wait::Seen::Yes(Ok(()))
            }
            _ => wait::Seen::Not("no socket yet".into()),
        });
        match up {
            Ok(Ok(())) => Some(systemd),
            _ => {
                skip::note("no systemd can be started here");
                None
            }
        }
    }

    fn address(&self) -> String {
        format!("unix:path={}", path(&self.folder.join("xdg/bus")))
    }

    /// What somebody else does; none when systemd is not reached.
    fn ctl(&self, args: &[&str]) -> Option<Output> {
        let output = Command::new("systemctl")
            .arg("--user")
            .args(args)
            .env("XDG_RUNTIME_DIR", self.folder.join("xdg"))
            .output()
            .ok()?;
        let unreached = String::from_utf8_lossy(&output.stderr).contains("Failed to connect");
        (!unreached).then_some(output)
    }

    fn keeps(&self, name: &str, text: &str) {
        let file = self.folder.join("home/.config/systemd/user").join(name);
        let folder = file.parent().expect("a file lies in a folder");
        fs::create_dir_all(folder).expect("the story's folder can be written");
        fs::write(file, text).expect("the story's folder can be written");
    }

    #[track_caller]
    fn does(&self, args: &[&str]) {
        let output = self.ctl(args).expect("systemd is up");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.ctl(&["kill", "--signal=KILL", UNIT]);
        process::signal(self.child.id(), Signal::TERM);
        let ended = wait::look_until(Duration::from_secs(10), || match self.child.try_wait() {
            Ok(Some(_)) => wait::Seen::Yes(()),
            _ => wait::Seen::Not("it runs".into()),
        });
        if ended.is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let group = self.folder.file_name().expect("a folder of ours");
        GROUPS.split(' ').for_each(|root| remove_groups(&Path::new(root).join(group)));
    }
}

/// Where control groups are, of either version or both.
const GROUPS: &str = "/sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified";

/// They are removed one by one, the inner ones first.
fn remove_groups(group: &Path) {
    for inner in fs::read_dir(group).into_iter().flatten().flatten() {
        if inner.path().is_dir() {
            remove_groups(&inner.path());
        }
    }
    let _ = fs::remove_dir(group);
}

struct Story {
    house: TestBox,
    systemd: Systemd,
}

impl Story {
    /// The usual box, its server a unit with this line in `[Service]`.
    fn raise(service: &str) -> Option<Self> {
        Self::raise_beside(service, &[])
    }

    /// Beside other units.
    fn raise_beside(service: &str, others: &[(&str, &str)]) -> Option<Self> {
        let plan = Plan::bare();
        let systemd = Systemd::raise(plan.path())?;
        for (name, text) in others {
            systemd.keeps(name, text);
        }
        let mut unit = String::new();
        let plan = plan
            .server_with("digits", |workload| {
                unit = unit_file(workload, service);
                for key in ["command", "env"] {
                    workload.remove(key);
                }
                workload.insert("kind".into(), "systemd".into());
                workload.insert("unit".into(), UNIT.into());
                workload.insert("start_grace_ms".into(), 10_000.into());
                for probe in workload["probe"].as_array_mut().into_iter().flatten() {
                    probe["period_ms"] = 200.into();
                    probe["timeout_ms"] = 500.into();
                }
            })
            .detector("liveness", json!({}))
            .healer("ladder", Plan::ladder(4, 0.3))
            .with(|settings| {
                settings.set("systemd.address", systemd.address());
            });
        let file = systemd.folder.join("home/.config/systemd/user").join(UNIT);
        fs::write(file, unit).expect("the story's folder can be written");
        systemd.does(&["daemon-reload"]);
        Some(Self { house: plan.raise(), systemd })
    }

    /// Until the server serves and the detector has seen it do so.
    fn until_watched(&self) -> u32 {
        let house = &self.house;
        house.until_view("the unit to be watched", |view| {
            view.workloads.first()?.pid?;
            let watching = view.plugins.iter().find(|it| it.name == "liveness")?.calls > 5;
            (watching && house.server("digits").answers().is_ok()).then_some(())
        });
        house.until_watched("digits")
    }

    fn check(&self) {
        journal::check(&self.house.journal());
    }
}

fn unit_file(workload: &serde_json::Map<String, Value>, service: &str) -> String {
    let words = workload["command"].as_array().expect("a command").iter();
    let words: Vec<_> = words.filter_map(Value::as_str).collect();
    let env = workload["env"].as_object().expect("an environment").iter();
    let env: String = env
        .map(|(name, value)| format!("Environment={name}={}\n", value.as_str().unwrap_or_default()))
        .collect();
    format!("[Service]\nExecStart={}\n{env}{service}\n", words.join(" "))
}

#[test]
fn a_unit_that_crashes_is_restarted_through_systemd_and_proven() {
    let Some(story) = Story::raise("") else { return };
    let pid = story.until_watched();
    let before = story.house.now();
    story.house.server("digits").breaks(Fault::Crash);
    story.house.until_healed("digits", before);
    let another = story.house.until_serving("digits");
    assert_ne!(another, pid);
    let starts = story.house.server("digits").starts();
    assert_eq!(starts.len(), 2);
    let shown = story.systemd.ctl(&["show", "-p", "MainPID", "--value", UNIT]);
    let shown = String::from_utf8(shown.expect("systemd is up").stdout).expect("a number");
    assert_eq!(shown.trim(), another.to_string(), "it is systemd's own");
    story.check();
}

#[test]
fn a_unit_that_hangs_behind_a_200_is_ended_by_systemd_and_started_again() {
    let Some(story) = Story::raise("TimeoutStopSec=1") else { return };
    story.until_watched();
    let before = story.house.now();
    story.house.server("digits").breaks(Fault::Hang);
    story.house.until_healed("digits", before);
    story.check();
}

#[test]
fn what_somebody_does_to_a_unit_through_systemd_is_their_word() {
    let Some(story) = Story::raise("") else { return };
    story.until_watched();
    let before = story.house.now();
    story.systemd.does(&["stop", UNIT]);
    story.house.until_view("the box to take the hint", |view| {
        let digits = view.workloads.first()?;
        let stopped = !matches!(digits.state, WorkloadState::Running | WorkloadState::Stopping);
        (!digits.desired_running && stopped).then_some(())
    });
    wait::stays(Duration::from_secs(2), "nobody starts it", || {
        match story.house.server("digits").starts().len() {
            1 => Ok(()),
            starts => Err(format!("{starts} starts\n{}", journal::show(&story.house.journal()))),
        }
    });
    story.systemd.does(&["start", UNIT]);
    story.house.until_view("the box to take that hint as well", |view| {
        view.workloads.first()?.desired_running.then_some(())
    });
    story.house.until_serving("digits");

    story.systemd.does(&["restart", UNIT]);
    wait::wait_until(Duration::from_secs(20), "the third run", || {
        let starts = story.house.server("digits").starts().len();
        wait::Seen::when(starts == 3, || format!("{starts} starts"))
    });
    story.house.until_serving("digits");
    let after: Vec<_> = story.house.journal().into_iter().filter(|it| it.seq > before).collect();
    let opened = after.iter().any(|it| matches!(it.event, Event::IncidentOpened { .. }));
    assert!(!opened, "none of it was a fault\n{}", journal::show(&after));
    let by_others = |wanted: bool| {
        after.iter().any(|it| {
            matches!(&it.event, Event::WorkloadDesired { running, by: Origin::Others, .. }
                if *running == wanted)
        })
    };
    assert!(by_others(false) && by_others(true), "{}", journal::show(&after));
    story.check();
}

#[test]
fn what_became_of_a_unit_while_no_daemon_was_there_is_told_by_the_next() {
    let Some(mut story) = Story::raise("") else { return };
    story.until_watched();
    let before = story.house.now();
    story.house.kill_daemon();
    story.house.server("digits").breaks(Fault::Crash);
    wait::wait_until(Duration::from_secs(20), "systemd to see the crash", || {
        let state = story.systemd.ctl(&["is-failed", UNIT]);
        let failed = state.is_some_and(|it| it.stdout.starts_with(b"failed"));
        wait::Seen::when(failed, || format!("{:?}", story.systemd.ctl(&["status", UNIT])))
    });
    story.house.start(&[]);
    story.house.until_healed("digits", before);
    assert_eq!(story.house.server("digits").starts().len(), 2);
    story.check();
}

#[test]
fn a_unit_that_runs_already_is_found_and_not_started_again() {
    let Some(mut story) = Story::raise("") else { return };
    let pid = story.until_watched();
    story.house.kill_daemon();
    // Nothing is left of what that daemon knew.
    fs::remove_dir_all(story.house.folder().join("run/units")).expect("it is there");
    story.house.start(&[]);
    assert_eq!(story.house.until_serving("digits"), pid);
    assert_eq!(story.house.server("digits").starts().len(), 1);
    story.check();
}

#[test]
fn a_unit_that_systemd_restarts_by_itself_is_refused_with_what_to_do() {
    let Some(story) = Story::raise("Restart=always") else { return };
    let (_, outcome) = story.house.until_event(0, "the start to fail", |event| match event {
        Event::AttemptEnded { outcome, .. } => Some(outcome.clone()),
        _ => None,
    });
    let Outcome::Failed { detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("Restart=always") && detail.contains("systemctl edit"), "{detail}");
    assert!(story.house.server("digits").starts().is_empty());
}

#[test]
fn a_unit_that_systemd_came_to_restart_by_itself_is_not_stopped_for_a_start_that_would_fail() {
    let Some(story) = Story::raise("") else { return };
    let pid = story.until_watched();
    story.systemd.keeps(&format!("{UNIT}.d/restart.conf"), "[Service]\nRestart=always\n");
    story.systemd.does(&["daemon-reload"]);
    let before = story.house.now();
    // It runs and is ill: a restart would begin with a stop.
    story.house.server("digits").breaks(Fault::NotReady);
    let (_, outcome) =
        story.house.until_event(before, "the restart to fail", |event| match event {
            Event::AttemptEnded { outcome, .. } => Some(outcome.clone()),
            _ => None,
        });
    let Outcome::Failed { detail } = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("Restart=always"), "{detail}");
    assert!(process::alive(pid), "it was not touched");
    assert_eq!(story.house.server("digits").starts().len(), 1);
}

#[test]
fn a_unit_that_prepares_for_long_is_let_come_up() {
    // Longer than a start without a sign of life may take.
    let Some(story) = Story::raise("ExecStartPre=/bin/sleep 9") else { return };
    let pid = story.until_watched();
    story.house.until_serving("digits");
    assert_eq!(story.house.server("digits").starts().len(), 1, "{pid}");
    let records = story.house.journal();
    let failed = records
        .iter()
        .any(|it| matches!(&it.event, Event::AttemptEnded { outcome: Outcome::Failed { .. }, .. }));
    assert!(!failed, "{}", journal::show(&records));
    story.check();
}

#[test]
fn a_unit_that_what_it_needs_took_along_is_started_again_and_nobodys_word() {
    let needs = "\n[Unit]\nBindsTo=needed.service\nAfter=needed.service";
    let needed = [("needed.service", "[Service]\nExecStart=/bin/sleep infinity\n")];
    let Some(story) = Story::raise_beside(needs, &needed) else { return };
    story.until_watched();
    let before = story.house.now();
    story.systemd.does(&["stop", "needed.service"]);
    story.house.until_healed("digits", before);
    assert_eq!(story.house.server("digits").starts().len(), 2);
    let records = story.house.journal();
    let desired = records.iter().any(|it| {
        matches!(&it.event, Event::WorkloadDesired { by: Origin::Others, running: false, .. })
    });
    assert!(!desired, "{}", journal::show(&records));
    story.check();
}

#[test]
fn a_crash_is_seen_after_systemd_was_executed_anew() {
    let Some(story) = Story::raise("") else { return };
    story.until_watched();
    story.systemd.does(&["daemon-reexec"]);
    // Another systemd, which knows the unit: the box has to find it again.
    story.house.until_looked("liveness");
    let before = story.house.now();
    story.house.server("digits").breaks(Fault::Crash);
    story.house.until_healed("digits", before);
    assert_eq!(story.house.server("digits").starts().len(), 2);
    story.check();
}

#[test]
fn a_persons_stop_is_theirs_though_what_the_unit_needs_has_done_its_work() {
    let needs = "\n[Unit]\nRequires=migrate.service\nAfter=migrate.service";
    let needed = [("migrate.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")];
    let Some(story) = Story::raise_beside(needs, &needed) else { return };
    story.until_watched();
    story.systemd.does(&["stop", UNIT]);
    story.house.until_view("the box to take the hint", |view| {
        (!view.workloads.first()?.desired_running).then_some(())
    });
    assert_eq!(story.house.server("digits").starts().len(), 1);
    story.check();
}
