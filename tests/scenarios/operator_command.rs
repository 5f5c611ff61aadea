//! An operator's own command is an action like any other: permitted, proven,
//! taken back when it did not help, and not done twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use homeostat::model::catalogue::NOTIFY;
use homeostat::model::{Event, Outcome};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, wait};
use serde_json::{Value, json};

/// A box with a gate that is good while a file is there. `actions` are in the
/// file, and on the ladder in their order, once each.
struct Gate {
    house: TestBox,
    open: PathBuf,
}

fn script(text: &str, args: &[&Path]) -> Value {
    let args = args.iter().map(|it| path(it));
    json!(
        ["/bin/sh", "-ec", text, "sh"]
            .map(str::to_owned)
            .into_iter()
            .chain(args)
            .collect::<Vec<_>>()
    )
}

impl Gate {
    fn raise(actions: impl Fn(&Path, &Path) -> Vec<Value>) -> Self {
        let plan = Plan::bare();
        let folder = plan.path().to_owned();
        let open = folder.join("open");
        fs::write(&open, "").expect("the story's folder can be written");
        let actions = actions(&folder, &open);
        let names: Vec<String> = actions
            .iter()
            .map(|it| format!("command.{}", it["name"].as_str().expect("it has a name")))
            .collect();
        let steps: Vec<Value> = names
            .iter()
            .zip(&actions)
            .map(|(name, it)| json!({ "action": name, "params": it["with"], "backoff_s": 0.1 }))
            .collect();
        let ladder = json!({
            "ladder": [{ "kind": "*", "target": "workload:gate", "steps": steps }],
            "blocked_wait_s": 0.1,
        });
        let grants: Vec<_> = names.iter().map(String::as_str).chain([NOTIFY]).collect();
        let probe = json!({
            "kind": "file", "name": "open", "path": path(&open), "period_ms": 100, "timeout_ms": 500,
        });
        let house =
            plan.detector("liveness", json!({}))
                .plugin("ladder", json!({ "config": ladder, "grants": grants }))
                .with(|settings| {
                    settings.push("incident.route", json!({ "kind": "*", "healers": ["ladder"] }));
                    settings.push("workload", json!({
                    "name": "gate", "command": ["/bin/sleep", "100000"], "start_grace_ms": 0,
                    "probe": [probe],
                }));
                    for mut action in actions {
                        action.as_object_mut().expect("a table").remove("with");
                        settings.push("action", action);
                    }
                })
                .raise();
        house.until_view("the gate to be watched", |view| {
            let running = view.workloads.first().is_some_and(|it| it.pid.is_some());
            let watching = view.plugins.iter().find(|it| it.name == "liveness")?.calls > 3;
            (running && watching).then_some(())
        });
        Self { house, open }
    }

    fn closes(&self) -> u64 {
        let before = self.house.now();
        fs::remove_file(&self.open).expect("it was open");
        before
    }

    /// Waits for the end of the next attempt.
    fn until_ended(&self, after: u64) -> (u64, Outcome) {
        self.house.until_event(after, "the end of an attempt", |event| match event {
            Event::AttemptEnded { incident: Some(_), outcome, .. }
            | Event::EffectObserved { incident: Some(_), outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
    }
}

#[test]
fn a_command_with_a_parameter_within_its_bounds_mends_and_is_proven() {
    let gate = Gate::raise(|folder, open| {
        vec![json!({
            "name": "lift", "targets": ["workload:gate"], "with": { "height": 3 },
            "command": ["/bin/sh", "-ec", "echo \"$1 $2\" > \"$3\"; touch \"$4\"", "sh",
                        "{target}", "--by={height}", path(&folder.join("said")), path(open)],
            "param": [{ "name": "height", "min": 1, "max": 8 }],
        })]
    });
    let before = gate.closes();
    gate.house.until_healed("gate", before);
    let said = fs::read_to_string(gate.house.folder().join("said")).expect("it was run");
    assert_eq!(said, "gate --by=3\n");
    gate.house.check();
}

#[test]
fn a_parameter_beyond_its_bounds_is_refused_and_nothing_is_run() {
    let gate = Gate::raise(|folder, _| {
        vec![json!({
            "name": "lift", "targets": ["workload:gate"], "with": { "height": 9 },
            "command": script("touch \"$1\"", &[&folder.join("said")]),
            "param": [{ "name": "height", "min": 1, "max": 8 }],
        })]
    });
    let before = gate.closes();
    gate.house.until_event(before, "the refusal", |event| match event {
        Event::Refused { refusal, .. } if refusal.detail.contains("from 1 to 8, found 9") => {
            Some(())
        }
        _ => None,
    });
    assert!(!gate.house.folder().join("said").exists());
    gate.house.check();
}

#[test]
fn without_its_precondition_a_command_is_not_run_and_the_next_step_is() {
    let gate = Gate::raise(|folder, open| {
        vec![
            json!({
                "name": "lift", "targets": ["workload:gate"],
                "precondition": script("echo somebody is below; exit 1", &[]),
                "command": script("touch \"$1\"", &[&folder.join("lifted")]),
            }),
            json!({
                "name": "call", "targets": ["workload:gate"],
                "command": script("touch \"$1\"", &[open]),
            }),
        ]
    });
    let before = gate.closes();
    let (_, outcome) = gate.until_ended(before);
    let Outcome::Lapsed { detail } = outcome else { panic!("it was not to be: {outcome:?}") };
    assert!(detail.contains("somebody is below"), "{detail}");
    gate.house.until_healed("gate", before);
    assert!(!gate.house.folder().join("lifted").exists());
    gate.house.check();
}

#[test]
fn what_did_not_help_is_taken_back_before_the_next_step() {
    let gate = Gate::raise(|folder, open| {
        let diary = folder.join("diary");
        vec![
            json!({
                "name": "tune", "targets": ["workload:gate"], "proof": "cleared", "settle_s": 0.5,
                "command": script("echo tuned >> \"$1\"", &[&diary]),
                "undo": script("echo back >> \"$1\"", &[&diary]),
            }),
            json!({
                "name": "lift", "targets": ["workload:gate"],
                "command": script("echo lifted >> \"$1\"; touch \"$2\"", &[&diary, open]),
            }),
        ]
    });
    let before = gate.closes();
    gate.house.until_healed("gate", before);
    let diary = fs::read_to_string(gate.house.folder().join("diary")).expect("it was written");
    assert_eq!(diary, "tuned\nback\nlifted\n");
    gate.house.check();
}

#[test]
fn a_command_that_outlives_the_daemon_is_waited_for_and_not_run_twice() {
    let mut gate = Gate::raise(|folder, open| {
        let (ran, go) = (folder.join("ran"), folder.join("go"));
        vec![json!({
            "name": "lift", "targets": ["workload:gate"], "timeout_s": 30,
            "command": script(
                // It speaks after its reader is gone, and lives to do its last step.
                "echo once >> \"$1\"; while ! [ -e \"$2\" ]; do sleep 0.05; done; \
                 echo nearly; echo done >&2; touch \"$3\"",
                &[&ran, &go, open],
            ),
            "observe": script("test -e \"$1\"", &[open]),
        })]
    });
    let before = gate.closes();
    let ran = gate.house.folder().join("ran");
    wait::wait_until(Duration::from_secs(30), "the command to run", || {
        wait::Seen::when(ran.exists(), || "it has not begun".into())
    });
    gate.house.kill_daemon();
    gate.house.start(&[]);
    gate.house.until_view("the daemon to look at what was left", |view| {
        view.incidents.iter().any(|it| it.phase == "acting").then_some(())
    });
    fs::write(gate.house.folder().join("go"), "").expect("the story's folder can be written");
    let (_, outcome) = gate.until_ended(before);
    assert!(
        matches!(&outcome, Outcome::Done { detail } if detail.contains("it was done")),
        "{outcome:?}"
    );
    gate.house.until_healed("gate", before);
    assert_eq!(fs::read_to_string(&ran).expect("it ran"), "once\n");
    gate.house.check();
}
