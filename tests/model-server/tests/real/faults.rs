//! Each fault does what its name says, and no more.

use std::time::{Duration, Instant};

use model_server::golden::Golden;
use rustix::process::Signal;

use crate::run::{Place, Server, ended, killed_by, until};

fn health_is(server: &Server, status: u16) {
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready"] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
}

#[test]
fn a_crash_is_an_abort() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    place.inject(&["crash"]);
    assert_eq!(killed_by(server.ended()), Some(Signal::ABORT.as_raw()));
}

#[test]
fn an_exit_has_the_code_asked_for() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    place.inject(&["exit", "--code", "42"]);
    assert_eq!(server.ended().code(), Some(42));
}

#[test]
fn a_hang_leaves_health_at_200_and_progress_flat_with_work_outstanding() {
    let place = Place::new();
    let server = place.serve(&[]);
    let golden = Golden::committed();
    let case = &golden.cases[..1];
    assert_eq!(server.infer(case).check(case), Ok(()));

    place.inject(&["hang"]);
    let hung = server.infer_later(case);
    until("the request is pending", || server.metric("pending_request_count") == 1);
    health_is(&server, 200);
    assert!(hung.try_recv().is_err());
    assert_eq!(server.metric("request_success"), 1);

    place.inject(&["heal"]);
    assert_eq!(hung.recv().unwrap().check(case), Ok(()));
    assert_eq!(server.metric("pending_request_count"), 0);
    assert_eq!(server.metric("request_success"), 2);
}

#[test]
fn more_requests_than_the_queue_holds_wait_and_are_all_answered() {
    let place = Place::new();
    let server = place.serve(&[]);
    let golden = Golden::committed();
    place.inject(&["hang"]);
    let hung: Vec<_> = (0..100).map(|_| server.infer_later(&golden.cases[..1])).collect();
    until("all are pending", || server.metric("pending_request_count") == 100);
    health_is(&server, 200);
    place.inject(&["heal"]);
    for answer in hung {
        assert_eq!(answer.recv().unwrap().check(&golden.cases[..1]), Ok(()));
    }
}

#[test]
fn a_hung_server_still_obeys_sigterm() {
    let place = Place::new();
    let mut server = place.serve(&["--drain-ms", "50"]);
    place.inject(&["hang"]);
    let _hung = server.infer_later(&Golden::committed().cases[..1]);
    until("the request is pending", || server.metric("pending_request_count") == 1);
    server.signal(Signal::TERM);
    server.lines.until("requests unanswered");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_hang_that_ignores_sigterm_ends_by_sigkill_alone() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    place.inject(&["hang-ignoring-sigterm"]);
    for _ in 0..3 {
        server.signal(Signal::TERM);
        server.lines.until("SIGTERM ignored");
    }
    health_is(&server, 200);
    assert!(server.child.try_wait().unwrap().is_none());
    server.signal(Signal::KILL);
    assert_eq!(killed_by(server.ended()), Some(Signal::KILL.as_raw()));
}

#[test]
fn after_healing_sigterm_is_obeyed_again() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    place.inject(&["hang-ignoring-sigterm"]);
    place.inject(&["heal"]);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_slow_server_takes_its_time_and_makes_progress() {
    let place = Place::new();
    let server = place.serve(&[]);
    let golden = Golden::committed();
    place.inject(&["slow", "--ms", "120"]);
    let began = Instant::now();
    assert_eq!(server.infer(&golden.cases[..1]).check(&golden.cases[..1]), Ok(()));
    assert!(began.elapsed() >= Duration::from_millis(120));
    assert_eq!(server.metric("request_success"), 1);
    assert!(server.metric("compute_infer_duration_us") >= 120_000);
}

#[test]
fn healing_reaches_a_request_that_is_being_slow() {
    let place = Place::new();
    let server = place.serve(&[]);
    let golden = Golden::committed();
    place.inject(&["slow", "--ms", "3600000"]);
    let slow = server.infer_later(&golden.cases[..1]);
    until("the request is pending", || server.metric("pending_request_count") == 1);
    place.inject(&["heal"]);
    assert_eq!(slow.recv().unwrap().check(&golden.cases[..1]), Ok(()));
}

#[test]
fn wrong_answers_are_wrong_for_every_case_and_right_after_healing() {
    let place = Place::new();
    let server = place.serve(&[]);
    let golden = Golden::committed();
    place.inject(&["wrong"]);
    for case in golden.cases.chunks(1) {
        assert!(server.infer(case).check(case).is_err(), "{}", case[0].name);
    }
    health_is(&server, 200);
    place.inject(&["heal"]);
    assert_eq!(server.infer(&golden.cases).check(&golden.cases), Ok(()));
}

#[test]
fn a_leak_grows_is_bounded_and_is_given_back_on_healing() {
    let place = Place::new();
    let server = place.serve(&["--leak-mb-max", "64"]);
    let before = server.resident_mb();
    place.inject(&["leak", "--mb-per-s", "2000"]);
    until("64 MB have leaked", || server.resident_mb() >= before + 60);
    assert!(server.resident_mb() < before + 128);
    place.inject(&["heal"]);
    until("they are given back", || server.resident_mb() < before + 32);
}

#[test]
fn an_error_line_is_on_standard_error_and_nothing_else_happens() {
    let place = Place::new();
    let server = place.serve(&[]);
    place.inject(&["error-line", "--text", "CUDA error 700: illegal memory access"]);
    assert_eq!(server.lines.until("CUDA"), "ERROR CUDA error 700: illegal memory access");
    health_is(&server, 200);
}

#[test]
fn not_ready_is_said_and_served_all_the_same() {
    let place = Place::new();
    let server = place.serve(&[]);
    let golden = Golden::committed();
    place.inject(&["not-ready"]);
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert_eq!(server.get("/v2/health/ready").status, 503);
    assert_eq!(server.get("/v2/models/digits/ready").json()["ready"], false);
    assert_eq!(server.infer(&golden.cases).check(&golden.cases), Ok(()));
    place.inject(&["heal"]);
    health_is(&server, 200);
}

#[test]
fn while_the_fail_file_is_there_each_start_ends_with_code_3_and_is_counted() {
    let place = Place::new();
    let path = place.write("fail", "");
    let arguments = ["--fail-file", path.to_str().unwrap()];
    for attempt in ["1", "2", "3"] {
        let mut child = place.spawn(&arguments, Some(attempt));
        assert_eq!(ended(&mut child).code(), Some(3));
    }
    assert_eq!(place.starts().len(), 3);
    std::fs::remove_file(&path).unwrap();
    place.serve(&arguments);
    assert_eq!(place.starts().len(), 4);
}

#[test]
fn until_a_slow_start_is_over_the_server_is_live_and_not_ready() {
    let place = Place::new();
    let server = place.start(&["--start-delay-ms", "3600000"], None);
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert_eq!(server.get("/v2/health/ready").status, 503);
    assert_eq!(server.get("/v2/models/digits/ready").status, 503);
    let answer = server.infer(&Golden::committed().cases);
    assert_eq!((answer.status, answer.error().as_str()), (503, "`digits` is loading"));
}

#[test]
fn a_start_delay_passes() {
    let began = Instant::now();
    let _server = Place::new().serve(&["--start-delay-ms", "150"]);
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[test]
fn the_fault_of_the_fault_file_comes_back_after_every_start() {
    let place = Place::new();
    let text = r#"{"after_ms":20,"fault":{"kind":"exit","code":9}}"#;
    let path = place.write("fault.json", text);
    let arguments = ["--fault-file", path.to_str().unwrap()];
    for _ in 0..2 {
        let mut server = place.start(&arguments, None);
        assert_eq!(server.ended().code(), Some(9));
    }
    std::fs::remove_file(&path).unwrap();
    let mut server = place.serve(&arguments);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
}
