//! The disk is full, or cannot be written: the box says so, starts nothing it
//! could not write down, and recovers by itself.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use homeostat::model::{self, Event, View};
use homeostat_tests::journal;
use homeostat_tests::plan::path;
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{PATIENCE, Plan, TestBox, process, skip, wait};
use model_server::fault::Fault;

/// A small file system of its own, seen as a story's state folder. Gone with
/// the value.
struct Disk {
    medium: PathBuf,
    state: PathBuf,
}

impl Disk {
    /// None, and a note, where one cannot be mounted.
    fn mount(story: &Path) -> Option<Self> {
        if !process::is_root() {
            skip::note("only root can mount a small file system");
            return None;
        }
        let disk = Self { medium: story.join("medium"), state: story.join("state") };
        for folder in [&disk.medium, &disk.state] {
            fs::create_dir_all(folder).expect("the story's folder can be written");
        }
        let tmpfs = ["-t", "tmpfs", "-o", "size=48m,mode=0700", "homeostat-story"];
        if !run("mount", &[&tmpfs[..], &[&path(&disk.medium)]].concat()) {
            skip::note("this machine does not let root mount a file system");
            return None;
        }
        disk.show();
        Some(disk)
    }

    fn show(&self) {
        assert!(run("mount", &["--bind", &path(&self.medium), &path(&self.state)]));
    }

    /// The state folder cannot be written any more, by whoever opens it anew.
    fn turn_read_only(&self) {
        self.cover();
        self.show();
        assert!(run("mount", &["-o", "remount,bind,ro", &path(&self.state)]));
    }

    fn turn_writable(&self) {
        self.cover();
        self.show();
    }

    /// What is open there stays open: a workload's log goes on.
    fn cover(&self) {
        assert!(run("umount", &["--lazy", &path(&self.state)]));
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let filler = fs::File::options().create(true).append(true).open(self.filler());
        let mut filler = filler.expect("an empty file still fits");
        for block in [[0xAA; 4096].as_slice(), &[0xAA]] {
            while filler.write_all(block).is_ok() {}
        }
    }

    fn filler(&self) -> PathBuf {
        self.medium.join("filler")
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("the filler can be removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for mounted in [&self.state, &self.medium] {
            run("umount", &["--lazy", &path(mounted)]);
        }
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn condition(view: &View, name: &str) -> Option<String> {
    let found = view.conditions.iter().find(|condition| condition.name == name);
    found.map(|condition| condition.detail.clone())
}

/// Makes the journal grow a little, if it can.
fn scribble(house: &TestBox) {
    for command in [model::Command::Pause { for_ms: None }, model::Command::Resume {}] {
        let _ = house.client.command(&command);
    }
}

#[test]
fn on_a_full_disk_the_box_says_so_and_heals_while_its_reserve_lasts() {
    let plan = Plan::usual();
    let Some(disk) = Disk::mount(plan.path()) else { return };
    let house = plan.raise();
    let pid = house.until_serving("digits");
    disk.fill();
    wait_until(PATIENCE, "the reserve to be given up", || {
        scribble(&house);
        let view = house.view();
        Seen::some(condition(&view, "store.low-space"), || format!("{:?}", view.conditions))
    });
    house.server("digits").breaks(Fault::Crash);
    house.until_another_serves("digits", pid);
    house.until_quiet();
    house.check();
    drop(house);
}

#[test]
fn with_no_room_left_nothing_is_touched_but_what_a_durable_permit_names() {
    let plan = Plan::usual();
    let Some(disk) = Disk::mount(plan.path()) else { return };
    let house = plan.raise();
    house.until_serving("digits");
    wait_until(PATIENCE, "the journal to fail, its reserve used up", || {
        disk.fill();
        scribble(&house);
        let view = house.view();
        Seen::some(condition(&view, "store.failing"), || format!("{:?}", view.conditions))
    });
    let before = house.now();
    house.server("digits").breaks(Fault::Crash);
    // The store may find a little room of its own, and then a repair is right;
    // the socket tells of durable records alone.
    wait::stays(Duration::from_secs(2), "every start has a durable permit", || {
        disk.fill();
        let starts = house.server("digits").starts();
        let permits = journal::permits(&house.journal());
        let named = |attempt: &String| permits.iter().any(|it| it.to_string() == *attempt);
        match starts.iter().filter_map(|it| it.attempt.as_ref()).find(|it| !named(it)) {
            None => Ok(()),
            Some(attempt) => Err(format!("attempt {attempt} began without one")),
        }
    });
    disk.make_room();
    house.until_serving("digits");
    house.until_view("the condition to be gone", |view| {
        condition(view, "store.failing").is_none().then_some(())
    });
    house.until_event(before, "the repair to be proven", |event| {
        matches!(event, Event::IncidentProven { .. }).then_some(())
    });
    house.check();
    drop(house);
}

#[test]
fn a_daemon_that_cannot_write_its_state_says_so_and_its_workloads_live_on() {
    let plan = Plan::usual();
    let Some(disk) = Disk::mount(plan.path()) else { return };
    let mut house = plan.raise();
    let pid = house.until_serving("digits");
    house.stop_daemon();
    disk.turn_read_only();
    house.spawn(&[]);
    let status = house.daemon().until_ended(PATIENCE);
    assert!(house.died());
    assert!(!status.success(), "it cannot be a box without a state");
    let said = house.log_text();
    assert!(said.contains(&path(&disk.state)), "{said}");
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    assert!(process::alive(pid), "the workload noticed nothing");

    disk.turn_writable();
    house.start(&[]);
    assert_eq!(house.until_serving("digits"), pid);
    house.check();
    drop(house);
}
