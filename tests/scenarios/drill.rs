//! A drill: the fault is staged, the repair is real, and the tale says so.

use homeostat::model::drill::DrillFault;
use homeostat::model::{Command, Event, IncidentId, Origin, TargetId};
use homeostat_tests::{Plan, TestBox};
use rustix::process::geteuid;

fn allowed() -> Plan {
    Plan::usual().with(|settings| {
        settings.set("drill.allow", true).set("drill.hang_max_s", 60);
    })
}

fn inject(house: &TestBox, args: &[&str]) -> (Option<i32>, String) {
    let run = house.cli(&[&["inject"], args].concat());
    let said = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8_lossy(&said).into_owned())
}

fn healed_as_a_drill(house: &TestBox, before: u64, fault: DrillFault) -> IncidentId {
    let uid = geteuid().as_raw();
    let digits = TargetId::workload("digits");
    let (drill, ()) = house.until_event(before, "the drill", |event| match event {
        Event::DrillBegan { target, fault: found, by } => {
            let ours = *target == digits && *found == fault && *by == Origin::Operator { uid };
            ours.then_some(())
        }
        _ => None,
    });
    let id = house.until_healed("digits", before);
    house.until_event(drill, "the incident to be called a drill", |event| match event {
        Event::IncidentDrilled { incident, drill: of, .. } => {
            (*incident == id && *of == drill).then_some(())
        }
        _ => None,
    });
    let told = house.cli(&["explain", &id.to_string()]);
    let told = String::from_utf8_lossy(&told.stdout);
    assert!(told.contains("DRILL") && told.contains(&format!("staged a {fault}")), "{told}");
    id
}

#[test]
fn a_staged_crash_is_healed_like_a_real_one_and_told_as_a_drill() {
    let house = allowed().raise();
    let first = house.until_watched("digits");
    let before = house.now();
    let (code, said) = inject(&house, &["crash", "digits"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("crash of workload:digits, pid {first}")), "{said}");
    healed_as_a_drill(&house, before, DrillFault::Crash {});
    assert_ne!(house.until_serving("digits"), first);
    house.check();
}

#[test]
fn a_staged_hang_is_healed_before_it_would_have_ended() {
    let house = allowed().raise();
    let first = house.until_watched("digits");
    let before = house.now();
    let (code, said) = inject(&house, &["hang", "workload:digits", "--for", "60s"]);
    assert_eq!(code, Some(0), "{said}");
    healed_as_a_drill(&house, before, DrillFault::Hang { ms: 60_000 });
    assert_ne!(house.until_serving("digits"), first);
    house.check();
}

#[test]
fn a_real_fault_is_not_called_a_drill() {
    let house = allowed().raise();
    house.until_watched("digits");
    let before = house.now();
    house.server("digits").breaks(model_server::fault::Fault::Crash);
    let id = house.until_healed("digits", before);
    let drilled = |event: &Event| matches!(event, Event::IncidentDrilled { .. });
    assert!(!house.check().iter().any(|record| drilled(&record.event)));
    let told = house.cli(&["explain", &id.to_string()]);
    assert!(!String::from_utf8_lossy(&told.stdout).contains("DRILL"));
}

#[test]
fn a_drill_that_is_not_allowed_touches_nothing() {
    let house = Plan::usual().raise();
    let first = house.until_watched("digits");
    for (args, code, words) in [
        (["crash", "digits"], 1, "`allow = true` under [drill]"),
        (["crash", "nobody"], 1, "no workload is called \"nobody\""),
        (["crash", "external:x"], 1, "only those can be drilled"),
        (["flood", "digits"], 2, "crash, hang"),
    ] {
        let (found, said) = inject(&house, &args);
        assert_eq!(found, Some(code), "{args:?}: {said}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
    assert_eq!(house.pid("digits"), first);
    let drilled = |event: &Event| matches!(event, Event::DrillBegan { .. });
    assert!(!house.journal().iter().any(|record| drilled(&record.event)));
}

#[test]
fn a_drill_has_its_bound_and_waits_for_no_repair_of_its_own() {
    let house = allowed()
        .with(|settings| {
            settings.set("box.mode", "observe");
        })
        .raise();
    house.until_watched("digits");
    let (code, said) = inject(&house, &["hang", "digits", "--for", "61s"]);
    assert!(code == Some(1) && said.contains("a hang may last 60 s"), "{said}");
    // In observe nothing heals it: it goes on by itself.
    let before = house.now();
    let (code, said) = inject(&house, &["hang", "digits", "--for", "15s"]);
    assert_eq!(code, Some(0), "{said}");
    let root = TargetId::workload("digits");
    let opened = |event: &Event| match event {
        Event::IncidentOpened { root: found, .. } => (*found == root).then_some(()),
        _ => None,
    };
    house.until_event(before, "the hang to be seen", opened);
    house.until_serving("digits");
    house.command(&Command::WorkloadStop { name: "digits".into() });
    house.until_view("digits to be stopped", |view| view.workloads[0].pid.is_none().then_some(()));
    let (code, said) = inject(&house, &["crash", "digits"]);
    assert!(code == Some(1) && said.contains("digits does not run"), "{said}");
}
