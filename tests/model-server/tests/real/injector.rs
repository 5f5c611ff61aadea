//! The injector's record, and what it does from outside.

use model_server::golden::Golden;
use model_server::record::Injection;
use rustix::process::Signal;
use serde_json::Value;

use crate::run::{Place, killed_by, lines_of, until};

#[test]
fn each_injection_is_a_line_with_the_victim_and_the_time() {
    let place = Place::new();
    let server = place.serve(&[]);
    for fault in [vec!["hang"], vec!["heal"], vec!["slow", "--ms", "5"]] {
        place.inject(&[&["--server", "left"], fault.as_slice()].concat());
    }
    let lines: Vec<Injection> = lines_of(&place.path("injections"));
    assert_eq!(lines.iter().map(|line| &line.fault).collect::<Vec<_>>(), ["hang", "heal", "slow"]);
    for line in &lines {
        assert_eq!((line.server.as_str(), line.pid), ("left", Some(server.child.id())));
        assert!(line.asked.mono_ns <= line.done.mono_ns && line.error.is_none());
    }
    assert!(lines.is_sorted_by_key(|line| line.asked.mono_ns));
}

#[test]
fn the_status_tells_which_faults_hold() {
    let place = Place::new();
    let server = place.serve(&[]);
    place.inject(&["wrong"]);
    place.inject(&["slow", "--ms", "7"]);
    let output = place.injector(&["status"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["done"]["pid"], server.child.id());
    assert_eq!(status["done"]["standing"]["wrong"], true);
    assert_eq!(status["done"]["standing"]["slow_ms"], 7);
    assert_eq!(status["done"]["standing"]["hang"], false);
}

#[test]
fn a_killed_process_is_gone_by_signal_9() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    place.inject(&["sigkill", "--pid", &server.child.id().to_string()]);
    assert_eq!(killed_by(server.ended()), Some(Signal::KILL.as_raw()));
}

#[test]
fn a_stopped_process_answers_nothing_until_it_goes_on() {
    let place = Place::new();
    let server = place.serve(&[]);
    let pid = server.child.id();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    };
    // No pid given: the control socket tells.
    place.inject(&["sigstop"]);
    until("it is stopped", || state() == 'T');
    let golden = Golden::committed();
    let answer = server.infer_later(&golden.cases[..1]);
    assert!(answer.try_recv().is_err());
    place.inject(&["sigcont", "--pid", &pid.to_string()]);
    assert_eq!(answer.recv().unwrap().check(&golden.cases[..1]), Ok(()));
}

#[test]
fn what_could_not_be_injected_fails_and_is_recorded_with_the_reason() {
    let place = Place::new();
    let output = place.injector(&["hang"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no server listens"));
    let lines: Vec<Injection> = lines_of(&place.path("injections"));
    assert_eq!((lines.len(), lines[0].pid), (1, None));
    assert!(lines[0].error.as_ref().unwrap().contains("control"));
}
