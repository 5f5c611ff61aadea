//! A server that nobody breaks.

use std::net::TcpStream;
use std::path::Path;

use model_server::golden::Golden;
use model_server::record;
use rustix::process::Signal;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::run::{Lines, Place, body_of, ended, killed_by, until};

#[test]
fn every_committed_picture_gets_the_committed_answer_alone_and_in_a_batch() {
    let server = Place::new().serve(&[]);
    let golden = Golden::committed();
    for case in golden.cases.chunks(1) {
        assert_eq!(server.infer(case).check(case), Ok(()), "{}", case[0].name);
    }
    let all = server.infer(&golden.cases);
    assert_eq!(all.check(&golden.cases), Ok(()));
    assert_eq!(all.json()["outputs"][0]["shape"], json!([10, 10]));
}

#[test]
fn the_readme_names_the_model_it_describes() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let digest = Sha256::digest(std::fs::read(home.join("model/digits.onnx")).unwrap());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let readme = std::fs::read_to_string(home.join("README.md")).unwrap();
    assert!(readme.contains(&digest), "{digest}");
}

#[test]
fn the_protocol_tells_what_is_served() {
    let server = Place::new().serve(&["--name", "left"]);
    assert_eq!(server.get("/v2").json()["name"], "left");
    let model = json!({
        "name": "digits", "versions": ["1"], "platform": "onnx_onnxv1",
        "inputs": [{ "name": "pixels", "datatype": "FP32", "shape": [-1, 64] }],
        "outputs": [{ "name": "probabilities", "datatype": "FP32", "shape": [-1, 10] }],
    });
    assert_eq!(server.get("/v2/models/digits").json(), model);
    assert_eq!(server.get("/v2/models/digits/versions/1").json(), model);
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/models/digits/ready"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
}

#[test]
fn an_answer_carries_the_id_of_its_question() {
    let server = Place::new().serve(&[]);
    let golden = Golden::committed();
    let mut request = golden.request(&golden.cases[..1]);
    request.id = Some("line-4/17".into());
    let body = serde_json::to_string(&request).unwrap();
    let answer = server.post("/v2/models/digits/versions/1/infer", &body).json();
    assert_eq!(answer["id"], "line-4/17");
    assert_eq!(answer["model_name"], "digits");
}

#[test]
fn what_is_no_request_gets_an_error_object_that_says_why() {
    let server = Place::new().serve(&[]);
    let tensor = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut body: serde_json::Value =
            serde_json::from_str(&body_of(&Golden::committed().cases[..1])).unwrap();
        change(&mut body);
        body.to_string()
    };
    let infer = "/v2/models/digits/infer";
    let cases = [
        ("POST", infer, "{".into(), 400, "no inference request"),
        ("POST", infer, r#"{"inputs":[]}"#.into(), 400, "0 inputs, wanted 1"),
        ("POST", infer, tensor(&|body| body["inputs"][0]["name"] = json!("x")), 400, "`pixels`"),
        (
            "POST",
            infer,
            tensor(&|body| body["outputs"][0]["name"] = json!("x")),
            400,
            "no output `x`",
        ),
        (
            "POST",
            infer,
            tensor(&|body| body["inputs"][0]["datatype"] = json!("INT64")),
            400,
            "FP32",
        ),
        (
            "POST",
            infer,
            tensor(&|body| body["inputs"][0]["shape"] = json!([1, 63])),
            400,
            "[-1, 64]",
        ),
        ("POST", infer, tensor(&|body| body["inputs"][0]["shape"] = json!([64])), 400, "[-1, 64]"),
        (
            "POST",
            infer,
            tensor(&|body| body["inputs"][0]["shape"] = json!([2, 64])),
            400,
            "wanted 128",
        ),
        (
            "POST",
            infer,
            tensor(&|body| body["inputs"][0]["shape"] = json!([0, 64])),
            400,
            "batch of 0",
        ),
        (
            "POST",
            infer,
            tensor(&|body| body["inputs"][0]["data"][5] = json!("7")),
            400,
            "no number",
        ),
        ("POST", infer, " ".repeat(2 << 20), 413, "cannot be taken"),
        ("GET", infer, String::new(), 405, "takes POST"),
        ("POST", "/v2/health/live", String::new(), 405, "takes GET"),
        ("GET", "/v2/models/cats", String::new(), 404, "no model `cats`"),
        ("GET", "/v2/models/digits/versions/2", String::new(), 404, "there is no"),
        ("GET", "/v1", String::new(), 404, "there is no /v1"),
    ];
    for (method, path, body, status, says) in &cases {
        let answer = if *method == "GET" { server.get(path) } else { server.post(path, body) };
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        assert!(answer.error().contains(says), "{method} {path}: {answer:?}");
    }
    assert_eq!(server.metric("request_failure"), 11);
    assert_eq!(server.metric("pending_request_count"), 0);
}

#[test]
fn metrics_count_what_was_answered_and_for_how_long() {
    let server = Place::new().serve(&[]);
    let golden = Golden::committed();
    assert_eq!(server.metric("request_success"), 0);
    for case in golden.cases.chunks(1) {
        server.infer(case);
    }
    assert_eq!(server.metric("request_success"), 10);
    assert_eq!(server.metric("request_failure"), 0);
    assert!(server.metric("compute_infer_duration_us") > 0);
    assert!(
        server.metric("request_duration_us")
            >= server.metric("queue_duration_us") + server.metric("compute_infer_duration_us")
    );
}

#[test]
fn each_start_is_a_line_in_the_ledger_and_a_doubled_attempt_shows() {
    let place = Place::new();
    let mut pids = Vec::new();
    for attempt in [Some("7-1"), Some("7-2"), None, Some("7-1")] {
        pids.push(place.start(&["--name", "left"], attempt).child.id());
    }
    let starts = place.starts();
    assert_eq!(starts.iter().map(|start| start.pid).collect::<Vec<_>>(), pids);
    let attempts: Vec<_> = starts.iter().map(|start| start.attempt.as_deref()).collect();
    assert_eq!(attempts, [Some("7-1"), Some("7-2"), None, Some("7-1")]);
    assert!(starts.iter().all(|start| start.server == "left"));
    assert!(starts.is_sorted_by_key(|start| start.unix_ns));
    assert_eq!(record::doubled(&starts), ["7-1"]);
}

#[test]
fn the_port_taken_is_in_the_port_file() {
    let place = Place::new();
    let path = place.path("port");
    let server = place.start(&["--port-file", path.to_str().unwrap()], None);
    assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{}\n", server.address.port()));
}

#[test]
fn a_stop_answers_what_is_in_flight_and_takes_nothing_new() {
    let place = Place::new();
    let mut server = place.serve(&["--drain-ms", "30000"]);
    let golden = Golden::committed();
    place.inject(&["hang"]);
    let answer = server.infer_later(&golden.cases[..1]);
    until("the request is pending", || server.metric("pending_request_count") == 1);

    server.signal(Signal::TERM);
    server.lines.until("SIGTERM: stopping");
    until("nobody listens", || TcpStream::connect(server.address).is_err());
    place.inject(&["heal"]);
    assert_eq!(answer.recv().unwrap().check(&golden.cases[..1]), Ok(()));
    server.lines.until("stopped");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_model_file_that_is_none_ends_the_start_with_its_name() {
    let place = Place::new();
    let path = place.write("bad.onnx", "not a model");
    let mut child = place.spawn(&["--model", path.to_str().unwrap()], None);
    let line = Lines::of(&mut child).until("ERROR");
    assert!(line.contains("bad.onnx"), "{line}");
    assert_eq!(ended(&mut child).code(), Some(1));
}

#[test]
fn a_port_in_use_ends_the_start_after_its_line_in_the_ledger() {
    let place = Place::new();
    let first = place.serve(&[]);
    let mut second = place.spawn(&["--listen", &first.address.to_string()], None);
    let status = ended(&mut second);
    assert_eq!((status.code(), killed_by(status)), (Some(1), None));
    assert_eq!(place.starts().len(), 2);
}
