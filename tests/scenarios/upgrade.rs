//! The programs are replaced under running workloads, as a package does it:
//! each file by a rename, the daemon restarted, nothing else.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use homeostat::model::Event;
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, program};
use model_server::fault::Fault;

const PROGRAMS: [&str; 3] = ["homeostat", "homeostat-shim", "homeostat-compile"];

/// Puts the programs into `folder`, each with `mark` behind its end, so that two
/// versions differ.
fn install(folder: &Path, mark: &str) {
    fs::create_dir_all(folder).expect("the story's folder can be written");
    for name in PROGRAMS {
        let new = folder.join(format!("{name}.new"));
        fs::copy(program::program(name), &new).expect("a program can be copied");
        let mut file = File::options().append(true).open(&new).expect("it was just made");
        file.write_all(mark.as_bytes()).expect("the disk has room");
        drop(file);
        fs::rename(&new, folder.join(name)).expect("it lies beside it");
    }
}

/// Two workloads, and a daemon from a folder of its own.
fn raise() -> (TestBox, PathBuf) {
    let plan = Plan::usual().server("bystander");
    let programs = plan.path().join("programs");
    install(&programs, "one");
    let plan = plan.with(|settings| {
        settings.set("paths.programs", path(&programs));
    });
    let mut house = TestBox::new(plan);
    house.install(programs.join("homeostat"));
    house.start(&[]);
    (house, programs)
}

/// What a process executes; the kernel says when it was replaced.
fn executes(pid: u32) -> String {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).expect("a process of ours");
    exe.display().to_string()
}

#[test]
fn an_upgrade_leaves_every_workload_running() {
    let (mut house, programs) = raise();
    let before = ["digits", "bystander"].map(|name| house.until_watched(name));
    let shim = house.workload("digits").shim_pid.expect("a running workload has a shim");
    install(&programs, "two");
    house.stop_daemon();
    house.start(&[]);
    let after = ["digits", "bystander"].map(|name| house.until_watched(name));
    assert_eq!(before, after);
    assert_eq!(house.workload("digits").shim_pid, Some(shim), "the old shim goes on");
    assert!(executes(shim).ends_with("homeostat-shim (deleted)"), "{}", executes(shim));
    let daemon = house.daemon().pid();
    assert_eq!(executes(daemon), path(&programs.join("homeostat")));

    // The next attempt has the new one.
    let seq = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", seq);
    house.until_serving("digits");
    let shim = house.workload("digits").shim_pid.expect("a running workload has a shim");
    assert_eq!(executes(shim), path(&programs.join("homeostat-shim")));
    house.check();
}

#[test]
fn an_upgrade_amid_an_incident_heals_it_once_and_touches_nothing_else() {
    let (mut house, programs) = raise();
    let [digits, bystander] = ["digits", "bystander"].map(|name| house.until_watched(name));
    let seq = house.now();
    house.server("digits").breaks(Fault::HangIgnoringSigterm);
    house.until_event(seq, "the permit", |event| {
        matches!(event, Event::Permitted { .. }).then_some(())
    });
    // The stop waits for its deadline meanwhile.
    install(&programs, "two");
    house.stop_daemon();
    house.start(&[]);
    house.until_healed("digits", seq);
    assert_ne!(house.until_serving("digits"), digits);
    assert_eq!(house.until_serving("bystander"), bystander);
    assert_eq!(house.server("digits").starts().len(), 2, "restarted once");
    house.check();
}
