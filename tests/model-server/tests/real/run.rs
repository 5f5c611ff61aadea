//! A server process of one test, and the plainest client there is: no line of it
//! is shared with the programs under test, but for the protocol's own types.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use model_server::golden::{Case, Golden};
use model_server::oip::InferResponse;
use model_server::record::{self, Start};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    pub lines: Lines,
}

/// The folder of one test: ledger, control socket, records.
pub struct Place {
    folder: TempDir,
}

/// What a process prints, both streams in one, as it comes.
pub struct Lines {
    lines: mpsc::Receiver<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// A server that is ready.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        let mut server = self.start(arguments, None);
        server.lines.until("ready after");
        server.await_status("/v2/health/ready", 200);
        server
    }

    /// A server that listens.
    pub fn start(&self, arguments: &[&str], attempt: Option<&str>) -> Server {
        let mut child = self.spawn(arguments, attempt);
        let lines = Lines::of(&mut child);
        let listening = lines.until("listening on ");
        let address = listening.rsplit(' ').next().unwrap().parse().unwrap();
        Server { child, address, lines }
    }

    pub fn spawn(&self, arguments: &[&str], attempt: Option<&str>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_model-server"));
        command.arg("--ledger").arg(self.path("ledger"));
        command.arg("--control").arg(self.path("control"));
        command.args(arguments).env_remove("HOMEOSTAT_ATTEMPT");
        command.envs(attempt.map(|attempt| ("HOMEOSTAT_ATTEMPT", attempt)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn starts(&self) -> Vec<Start> {
        record::read(&self.path("ledger")).unwrap()
    }

    /// Runs the injector against this place's server.
    pub fn inject(&self, arguments: &[&str]) {
        let status = self.injector(arguments).status().unwrap();
        assert!(status.success(), "injector {arguments:?}: {status}");
    }

    pub fn injector(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_injector"));
        command.arg("--control").arg(self.path("control"));
        command.arg("--record").arg(self.path("injections"));
        command.args(arguments);
        command
    }
}

impl Server {
    pub fn get(&self, path: &str) -> Answer {
        request(self.address, "GET", path, "")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        request(self.address, "POST", path, body)
    }

    pub fn infer(&self, cases: &[Case]) -> Answer {
        self.post("/v2/models/digits/infer", &body_of(cases))
    }

    /// Asks in a thread of its own, for a request that may hang.
    pub fn infer_later(&self, cases: &[Case]) -> mpsc::Receiver<Answer> {
        let (address, body) = (self.address, body_of(cases));
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            send.send(request(address, "POST", "/v2/models/digits/infer", &body))
        });
        receive
    }

    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").body;
        let name = format!("nv_inference_{name}{{");
        let line = text.lines().find(|line| line.starts_with(&name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    }

    pub fn await_status(&mut self, path: &str, status: u16) {
        until(path, || self.get(path).status == status);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    pub fn resident_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    pub fn of(child: &mut Child) -> Self {
        let (send, lines) = mpsc::channel();
        forward(child.stdout.take().unwrap(), send.clone());
        forward(child.stderr.take().unwrap(), send);
        Self { lines }
    }

    /// The first line from here on that contains `text`.
    pub fn until(&self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(rest) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {text:?}: {error}; seen {seen:#?}"),
            }
        }
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    /// Whether it is the committed answer, and else what differs.
    pub fn check(&self, cases: &[Case]) -> Result<(), String> {
        assert_eq!(self.status, 200, "{self:?}");
        let answer: InferResponse = serde_json::from_str(&self.body).unwrap();
        Golden::committed().check(cases, &answer)
    }
}

/// Polls what gives no event of its own.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        thread::park_timeout(PAUSE);
    }
}

pub fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    until("the process ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

pub fn killed_by(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// The record's lines, none where there is no file yet.
pub fn lines_of<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    if path.exists() { record::read(path).unwrap() } else { Vec::new() }
}

pub fn body_of(cases: &[Case]) -> String {
    serde_json::to_string(&Golden::committed().request(cases)).unwrap()
}

fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A server may refuse a body before it has read all of it.
    let _ = stream.write_all(body.as_bytes());
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let status = text.split(' ').nth(1).unwrap_or_else(|| panic!("{method} {path}: {text:?}"));
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { status: status.parse().unwrap(), body: body.into() }
}

fn forward(stream: impl Read + Send + 'static, to: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            if to.send(line).is_err() {
                return;
            }
        }
    });
}
