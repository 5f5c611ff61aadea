//! The disk is full, or cannot be written: the box says so, starts nothing it
//! could not write down, and recovers by itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use homeostat::model::{Event, View};
use homeostat_tests::plan::path;
use homeostat_tests::testbox::cli;
use homeostat_tests::{Plan, process, skip, wait};
use model_server::fault::Fault;

/// A small file system of its own, gone with the value.
struct Disk {
    at: PathBuf,
}

impl Disk {
    /// None, and a note, where one cannot be mounted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        if !process::is_root() {
            skip::note("only root can mount a small file system");
            return None;
        }
        fs::create_dir_all(at).expect("the story's folder can be written");
        let options = format!("size={size},mode=0700");
        if !run("mount", &["-t", "tmpfs", "-o", &options, "homeostat-story", &path(at)]) {
            skip::note("this machine does not let root mount a file system");
            return None;
        }
        Some(Self { at: at.to_owned() })
    }

    fn remount(&self, how: &str) {
        assert!(run("mount", &["-o", &format!("remount,{how}"), &path(&self.at)]));
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let file = self.at.join("filler");
        let mut filler = fs::File::create(&file).expect("an empty file still fits");
        let block = vec![0xAA; 4096];
        while std::io::Write::write_all(&mut filler, &block).is_ok() {}
        file
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy", &path(&self.at)]);
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn complains_of_the_store(view: &View) -> Option<String> {
    let found = view.conditions.iter().find(|condition| condition.name.starts_with("store."));
    found.map(|condition| condition.detail.clone())
}

#[test]
fn a_full_disk_is_shown_and_stops_healing_until_there_is_room_again() {
    let plan = Plan::usual();
    let Some(disk) = Disk::mount(&plan.path().join("state"), "48m") else { return };
    let house = plan.raise();
    house.until_serving("digits");
    let filler = disk.fill();
    house.server("digits").breaks(Fault::Crash);
    house.until_view("the condition to be shown", complains_of_the_store);
    wait::stays(Duration::from_secs(2), "no permit without a durable journal", || {
        match house.server("digits").starts().len() {
            1 => Ok(()),
            starts => Err(format!("{starts} starts")),
        }
    });
    fs::remove_file(filler).expect("the filler can be removed");
    house.until_serving("digits");
    house.until_view("the condition to be gone", |view| {
        complains_of_the_store(view).is_none().then_some(())
    });
    house.until_event(0, "the repair to be proven", |event| {
        matches!(event, Event::IncidentProven { .. }).then_some(())
    });
    house.check();
    drop(house);
}

#[test]
fn a_daemon_that_cannot_write_its_state_says_so_and_its_workloads_live_on() {
    let plan = Plan::usual();
    let Some(disk) = Disk::mount(&plan.path().join("state"), "48m") else { return };
    let mut house = plan.raise();
    let pid = house.until_serving("digits");
    house.stop_daemon();
    disk.remount("ro");
    let run = cli(&["run", "--config", &path(house.config())], &[]);
    assert!(!run.status.success(), "it cannot be a box without a state");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains(&path(&disk.at)), "{said}");
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    assert!(process::alive(pid), "the workload noticed nothing");

    disk.remount("rw");
    house.start(&[]);
    assert_eq!(house.until_serving("digits"), pid);
    house.check();
    drop(house);
}
