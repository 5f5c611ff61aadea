//! A model server as a workload: how it is declared, broken, and asked for the
//! truth behind the daemon's back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model_server::control::{self, Reply, Request};
use model_server::fault::{Fault, FaultFile};
use model_server::golden::Golden;
use model_server::oip::InferResponse;
use model_server::record::{self, Start};
use serde_json::{Value, json};

use crate::http::{self, Address};
use crate::port::{self, Port};
use crate::process::MARK;
use crate::program;

pub struct Server {
    pub name: String,
    folder: PathBuf,
    port: Port,
}

impl Server {
    pub fn new(name: &str, folder: &Path) -> Self {
        Self { name: name.into(), folder: folder.into(), port: port::lease() }
    }

    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Where the server takes faults.
    pub fn control(&self) -> PathBuf {
        self.file("control")
    }

    fn file(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.name))
    }

    /// The workload as the configuration declares it, at the pace of the box's
    /// profile. Health is asked, and the truth: an inference whose answer is
    /// looked at.
    pub fn workload(&self) -> Value {
        let url = |path: &str| format!("http://127.0.0.1:{}{path}", self.port.number);
        let golden = Golden::committed();
        let question = serde_json::to_string(&golden.request(&golden.cases[3..4]));
        json!({
            "name": self.name,
            "command": [
                program::program("model-server"),
                "--listen", format!("127.0.0.1:{}", self.port.number),
                "--name", self.name,
                "--ledger", self.file("ledger"),
                "--control", self.control(),
                "--fail-file", self.file("fail"),
                "--fault-file", self.file("fault"),
            ],
            "env": { MARK: self.folder },
            "stop_deadline_ms": 2_000,
            "probe": [
                { "name": "health", "kind": "http", "url": url("/v2/health/ready") },
                {
                    "name": "infer", "kind": "http", "method": "POST",
                    "url": url("/v2/models/digits/infer"),
                    "headers": { "content-type": "application/json" },
                    "body": question.expect("a question serialises"),
                    "expect_text": golden.output,
                },
            ],
        })
    }

    /// Breaks the server that runs now.
    #[track_caller]
    pub fn breaks(&self, fault: Fault) {
        let asked = Request::Apply(fault.clone());
        match control::ask(&self.control(), &asked, Duration::from_secs(5)) {
            Ok(Reply::Done { .. }) => {}
            // Who dies at once may not get its answer out.
            Err(_) if fault.is_fatal() => {}
            other => panic!("{} did not take {fault:?}: {other:?}", self.name),
        }
    }

    /// From now on each start breaks by itself after a while.
    pub fn breaks_after_start(&self, after: Duration, fault: Fault) {
        let after_ms = u64::try_from(after.as_millis()).expect("a story is short");
        let text = serde_json::to_vec(&FaultFile { after_ms, fault }).expect("a fault serialises");
        std::fs::write(self.file("fault"), text).expect("the story's folder can be written");
    }

    /// From now on each start ends at once with exit code 3.
    pub fn fails_to_start(&self) {
        std::fs::write(self.file("fail"), "").expect("the story's folder can be written");
    }

    /// Starts go well again.
    pub fn starts_well(&self) {
        for what in ["fail", "fault"] {
            let _ = std::fs::remove_file(self.file(what));
        }
    }

    /// The server's own record of its starts.
    pub fn starts(&self) -> Vec<Start> {
        let path = self.file("ledger");
        if !path.exists() {
            return Vec::new();
        }
        record::read(&path).expect("the ledger is whole")
    }

    /// An inference with the right answer, asked by us.
    pub fn answers(&self) -> Result<(), String> {
        let golden = Golden::committed();
        let cases = &golden.cases[7..8];
        let body = serde_json::to_string(&golden.request(cases)).map_err(|e| e.to_string())?;
        let address = Address::Port(SocketAddr::from(([127, 0, 0, 1], self.port.number)));
        let path = "/v2/models/digits/infer";
        let reply = http::send(&address, "POST", path, &body, Duration::from_secs(2))
            .map_err(|error| error.to_string())?;
        if reply.status != 200 {
            return Err(format!("status {}: {}", reply.status, reply.text()));
        }
        let answer: InferResponse = reply.json().map_err(|error| error.to_string())?;
        golden.check(cases, &answer)
    }

    /// What the health endpoint says, lies included.
    pub fn health(&self) -> Option<u16> {
        let address = Address::Port(SocketAddr::from(([127, 0, 0, 1], self.port.number)));
        let path = "/v2/health/ready";
        http::get(&address, path, Duration::from_secs(2)).ok().map(|reply| reply.status)
    }
}
