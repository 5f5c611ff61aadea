//! The socket as a caller meets it: real file, real kernel credentials, a
//! journal in memory.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::*;
use crate::config::RecordingConfig;
use crate::model::view::IncidentView;
use crate::model::{
    Command, CommandError, Event, Finding, IncidentId, Instant, Mode, Record, Series, Sighting,
    TargetId,
};
use crate::story::{Passage, Story};

const SOON: Duration = Duration::from_secs(20);

#[derive(Default)]
pub(crate) struct InMemory(Mutex<Vec<Record>>);

impl InMemory {
    fn add(&self, event: Event) -> Seq {
        let mut records = self.0.lock().unwrap();
        let seq = records.len() as Seq + 1;
        let at = Instant { age_ms: seq * 1000, boot: 1, unix_ms: None };
        records.push(Record { seq, at, event });
        seq
    }
}

impl History for InMemory {
    fn replay(&self, from: Seq, limit: usize) -> Result<Vec<Record>, HistoryError> {
        let records = self.0.lock().unwrap();
        Ok(records.iter().filter(|r| r.seq >= from).take(limit).cloned().collect())
    }

    fn incident(&self, id: IncidentId) -> Result<Vec<Record>, HistoryError> {
        if id == IncidentId(666) {
            return Err(HistoryError("a bad block".into()));
        }
        let records = self.0.lock().unwrap();
        Ok(records.iter().filter(|r| r.event.incident(r.seq) == Some(id)).cloned().collect())
    }
}

fn view() -> View {
    View {
        box_name: "press-7".into(),
        site: "hall-b".into(),
        version: "0.1.0".into(),
        birth: 7,
        now: Instant { age_ms: 90_000, boot: 1, unix_ms: None },
        mode: Mode::Enforce,
        paused: None,
        conditions: vec![],
        workloads: vec![],
        plugins: vec![],
        trust: Default::default(),
        unprotected: vec![],
        findings: BTreeMap::new(),
        incidents: vec![],
        journal_seq: 0,
        journal_durable: 0,
    }
}

/// A served socket, and the ends that the daemon would hold.
pub(crate) struct Served {
    dir: tempfile::TempDir,
    pub socket: PathBuf,
    journal: Arc<InMemory>,
    durable: watch::Sender<Seq>,
    view: watch::Sender<Arc<View>>,
    pub commands: Option<mpsc::Receiver<Request>>,
    pub handle: ApiHandle,
    pub tape: Tape,
    pub shelf: Shelf,
}

/// Of two series, and a folder beside the socket's.
fn tape(dir: &Path) -> (Tape, Shelf) {
    let config = RecordingConfig {
        keep_ms: 60_000,
        memory_max_bytes: 1 << 20,
        incidents_max: 2,
        disk_max_bytes: 1 << 20,
    };
    let series = |name: &str, target: &str| Series {
        name: name.into(),
        unit: "1".into(),
        target: TargetId::from_text(target),
        period_ms: 1_000,
        labels: vec![],
    };
    let series = [series("hw.temperature", "box"), series("probe.ok", "workload:digits")];
    let (tape, _) = Tape::new(&config, &series);
    (tape, Shelf::new(dir, "press-7", &config))
}

fn config(dir: &Path) -> ApiConfig {
    ApiConfig { socket: dir.join("run/h.sock"), operators: [].into(), group: None }
}

pub(crate) fn serve_in_memory() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let journal = Arc::new(InMemory::default());
    let (view, shown) = watch::channel(Arc::new(view()));
    let (durable, told) = watch::channel(0);
    let (sender, commands) = mpsc::channel(4);
    let (tape, shelf) = tape(dir.path());
    let outlets = Outlets {
        view: shown,
        history: journal.clone(),
        durable: told,
        commands: sender,
        tape: tape.clone(),
        shelf: shelf.clone(),
    };
    let handle = serve(&config, outlets).unwrap();
    let socket = config.socket;
    let commands = Some(commands);
    Served { dir, socket, journal, durable, view, commands, handle, tape, shelf }
}

impl Served {
    pub async fn get(&self, path: &str) -> (u16, String) {
        talk(&self.socket, &format!("GET {path} HTTP/1.0\r\n\r\n")).await
    }

    /// Until somebody else waits for records to become durable.
    pub async fn wait_for_a_follower(&self) {
        timeout(SOON, async {
            while self.durable.receiver_count() < 2 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("a follower in time");
    }

    async fn post(&self, body: &str) -> (u16, String) {
        talk(&self.socket, &post(body)).await
    }

    pub fn add(&self, event: Event) -> Seq {
        let seq = self.journal.add(event);
        self.durable.send_replace(seq);
        seq
    }
}

fn post(body: &str) -> String {
    format!("POST /v1/commands HTTP/1.0\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// HTTP/1.0, so that an answer of unknown length ends where the connection does.
async fn talk(socket: &Path, request: &str) -> (u16, String) {
    let talk = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        // A server that refuses early need not read it all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        parse(&answer)
    };
    timeout(SOON, talk).await.expect("an answer in time")
}

fn parse(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn opened() -> [Event; 2] {
    let finding = Finding {
        key: "gone".into(),
        kind: "process.gone".into(),
        target: TargetId::workload("digits"),
        severity: 3,
        series: vec![],
        message: "exit code 139".into(),
        evidence: vec![],
    };
    let sighting = Sighting { detector: "liveness".into(), finding: finding.clone() };
    [
        Event::FindingRaised { detector: "liveness".into(), finding },
        Event::IncidentOpened {
            root: TargetId::workload("digits"),
            kind: "process.gone".into(),
            signature: "s".into(),
            findings: vec![sighting],
        },
    ]
}

#[tokio::test]
async fn what_may_be_read_is_read_and_the_rest_is_refused_with_words() {
    let served = serve_in_memory();
    let (status, body) = served.get("/v1/status").await;
    assert_eq!((status, serde_json::from_str::<View>(&body).unwrap()), (200, view()));
    assert_eq!(served.get("/v1/incidents").await, (200, "[]\n".into()));
    assert_eq!(served.get("/v1/plugins").await, (200, "[]\n".into()));
    for (request, expected, word) in [
        ("GET /v1/nothing HTTP/1.0\r\n\r\n", 404, "no-such-path"),
        ("GET / HTTP/1.0\r\n\r\n", 404, "no-such-path"),
        ("POST /v1/status HTTP/1.0\r\ncontent-length: 0\r\n\r\n", 405, "wrong-method"),
        ("GET /v1/commands HTTP/1.0\r\n\r\n", 405, "wrong-method"),
        ("GET /v1/incidents/x HTTP/1.0\r\n\r\n", 400, "bad-request"),
        ("GET /v1/incidents/i9 HTTP/1.0\r\n\r\n", 404, "no-such-incident"),
        ("GET /v1/incidents/666 HTTP/1.0\r\n\r\n", 500, "a bad block"),
        ("GET /v1/events?from=x HTTP/1.0\r\n\r\n", 400, "wants a number"),
        ("GET /v1/events?form=1 HTTP/1.0\r\n\r\n", 400, "from=SEQ"),
    ] {
        let (status, body) = talk(&served.socket, request).await;
        assert_eq!(status, expected, "{request}");
        let refusal: Refusal = serde_json::from_str(&body).unwrap();
        assert!(format!("{refusal:?}").contains(word), "{request}: {refusal:?}");
    }
}

#[tokio::test]
async fn an_incident_is_told_with_what_was_seen_before_it_opened() {
    let served = serve_in_memory();
    for event in opened() {
        served.add(event);
    }
    let (status, body) = served.get("/v1/incidents/i2").await;
    assert_eq!(status, 200, "{body}");
    let story: Story = serde_json::from_str(&body).unwrap();
    let Passage::Seen { finding, .. } = &story.chapters[0].passage else { panic!("{story:?}") };
    assert_eq!((finding.message.as_str(), story.phase.as_str()), ("exit code 139", "open"));
}

#[tokio::test]
async fn a_finding_whose_own_record_is_gone_is_told_all_the_same() {
    let served = serve_in_memory();
    let [raised, opened] = opened();
    let Event::FindingRaised { finding, .. } = raised else { panic!() };
    let id = IncidentId(served.add(opened));
    let at = Instant { age_ms: 1000, boot: 1, unix_ms: None };
    let incident = IncidentView {
        id,
        root: finding.target.clone(),
        kind: finding.kind.clone(),
        signature: "s".into(),
        phase: "waiting".into(),
        detail: String::new(),
        opened: at,
        changed: at,
        findings: vec![finding.clone()],
        attempts: vec![],
    };
    served.view.send_replace(Arc::new(View { incidents: vec![incident], ..view() }));
    let (_, body) = served.get("/v1/incidents/1").await;
    let story: Story = serde_json::from_str(&body).unwrap();
    let Passage::Seen { finding: told, .. } = &story.chapters[0].passage else {
        panic!("{story:?}")
    };
    assert_eq!((told, story.phase.as_str()), (&finding, "waiting"));
}

#[tokio::test]
async fn a_command_reaches_the_driver_with_the_callers_uid_and_its_answer_comes_back() {
    let mut served = serve_in_memory();
    let mut commands = served.commands.take().unwrap();
    let driver = tokio::spawn(async move {
        let answers = [
            Ok("digits is stopped".to_owned()),
            Err(CommandError::NoSuchWorkload { name: "x".into() }),
            Err(CommandError::Refused { rule: "lease".into(), detail: "busy".into() }),
            Err(CommandError::Failed { detail: "no".into() }),
        ];
        let mut asked = Vec::new();
        for answer in answers {
            let request = commands.recv().await.unwrap();
            asked.push((request.uid, request.command));
            request.reply.send(answer).unwrap();
        }
        asked
    });
    let stop = r#"{"command":"workload-stop","name":"digits"}"#;
    assert_eq!(served.post(stop).await, (200, "{\"done\":\"digits is stopped\"}\n".into()));
    for (expected, word) in [(404, "homeostat status"), (409, "rule lease: busy"), (500, "no")] {
        let (status, body) = served.post(stop).await;
        let refusal: Refusal = serde_json::from_str(&body).unwrap();
        assert_eq!(status, expected, "{refusal:?}");
        assert!(refusal.text.contains(word), "{refusal:?}");
    }
    let asked = driver.await.unwrap();
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(asked[0], (uid, Command::WorkloadStop { name: "digits".into() }));

    // The driver is gone: the daemon stops.
    let (status, body) = served.post(stop).await;
    assert_eq!(status, 503, "{body}");
}

#[tokio::test]
async fn a_body_too_large_or_no_command_is_refused() {
    let served = serve_in_memory();
    let (status, body) = served.post("{\"command\":\"dance\"}").await;
    assert_eq!(status, 400);
    assert!(body.contains("workload-stop"), "{body}");
    let (status, _) = served.post(&" ".repeat((64 << 10) + 1)).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn events_are_told_from_a_place_or_the_newest_and_only_when_durable() {
    let served = serve_in_memory();
    for _ in 0..300 {
        served.add(Event::DaemonStopped {});
    }
    served.journal.add(Event::DaemonStopped {});
    let seqs = |body: &str| -> Vec<Seq> {
        body.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().seq).collect()
    };
    let (status, body) = served.get("/v1/events?from=1").await;
    assert_eq!(status, 200);
    assert_eq!(seqs(&body), (1..=300).collect::<Vec<_>>());
    let (_, body) = served.get("/v1/events?last=2").await;
    assert_eq!(seqs(&body), [299, 300]);
    assert_eq!(seqs(&served.get("/v1/events").await.1).len(), 100);
    assert_eq!(served.get("/v1/events?from=301").await, (200, String::new()));
}

#[tokio::test]
async fn a_follower_is_told_each_record_when_it_is_durable_and_let_go_when_the_daemon_stops() {
    let served = serve_in_memory();
    served.add(Event::DaemonStopped {});
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    stream.write_all(b"GET /v1/events?from=1&follow=1 HTTP/1.0\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = async || {
        loop {
            let line = timeout(SOON, lines.next_line()).await.expect("a line in time").unwrap()?;
            if let Ok(record) = serde_json::from_str::<Record>(&line) {
                return Some(record.seq);
            }
        }
    };
    assert_eq!(next().await, Some(1));
    // Written, and not yet durable: the next one makes both so.
    assert_eq!(served.journal.add(Event::DaemonStopped {}), 2);
    assert_eq!(served.add(Event::DaemonStopped {}), 3);
    assert_eq!(next().await, Some(2));
    assert_eq!(next().await, Some(3));
    timeout(SOON, served.handle.close()).await.expect("it closes in time");
    assert_eq!(next().await, None);
    assert!(!served.socket.exists());
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group_and_a_live_one_is_not_taken_away() {
    let served = serve_in_memory();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&served.socket), 0o660);

    let outlets = || {
        let (_, view) = watch::channel(Arc::new(view()));
        let (_, durable) = watch::channel(0);
        let (commands, _) = mpsc::channel(1);
        let (tape, shelf) = tape(served.dir.path());
        Outlets { view, history: Arc::new(InMemory::default()), durable, commands, tape, shelf }
    };
    let config = config(served.dir.path());
    assert!(matches!(serve(&config, outlets()), Err(ApiError::InUse { .. })));

    // What a daemon killed with -9 leaves behind is.
    let stale = ApiConfig { socket: served.dir.path().join("stale.sock"), ..config.clone() };
    drop(std::os::unix::net::UnixListener::bind(&stale.socket).unwrap());
    let handle = serve(&stale, outlets()).unwrap();
    assert_eq!(talk(&stale.socket, "GET /v1/status HTTP/1.0\r\n\r\n").await.0, 200);
    handle.close().await;

    let file = ApiConfig { socket: served.dir.path().join("file"), ..config };
    std::fs::write(&file.socket, "precious").unwrap();
    assert!(matches!(serve(&file, outlets()), Err(ApiError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&file.socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_caller_too_many_is_told_so_and_a_seat_that_is_left_is_free_again() {
    let served = serve_in_memory();
    let mut seats = Vec::new();
    for _ in 0..32 {
        seats.push(UnixStream::connect(&served.socket).await.unwrap());
    }
    let mut late = String::new();
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    timeout(SOON, stream.read_to_string(&mut late)).await.expect("a word in time").unwrap();
    let (status, body) = parse(&late);
    assert_eq!(status, 503);
    // Its length is said, since the caller may not see the end of the connection.
    assert!(late.contains(&format!("content-length: {}\r\n", body.len())), "{late}");
    drop(seats);
    let again = async {
        loop {
            let mut stream = UnixStream::connect(&served.socket).await.unwrap();
            let _ = stream.write_all(b"GET /v1/status HTTP/1.0\r\n\r\n").await;
            let mut answer = String::new();
            // A seat is free when the server has seen that it was left.
            if stream.read_to_string(&mut answer).await.is_ok() && answer.contains(" 200 OK") {
                return;
            }
        }
    };
    timeout(SOON, again).await.expect("a free seat in time");
}

#[tokio::test]
async fn a_caller_that_never_finishes_its_question_is_let_go() {
    let served = serve_in_memory();
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    stream.write_all(b"GET /v1/status HTTP/1.0\r\nx: ").await.unwrap();
    let mut rest = Vec::new();
    // 5 s for the header, and no sooner ended by us.
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is let go in time");
}

#[tokio::test]
async fn another_user_may_read_and_not_command() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: not root, so no caller can be another user");
        return;
    }
    let served = serve_in_memory();
    // Let it in, as an operator's group would.
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(served.dir.path(), 0o755);
    open(&served.socket, 0o666);
    let socket = served.socket.clone();
    // The system call, unlike the C library's, changes this thread alone.
    let asked = std::thread::spawn(move || {
        use std::io::{Read, Write};
        rustix::thread::set_thread_uid(rustix::thread::Uid::from_raw(NOBODY)).unwrap();
        let ask = |request: &str| {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            parse(&answer)
        };
        (ask("GET /v1/status HTTP/1.0\r\n\r\n"), ask(&post("{\"command\":\"resume\"}")))
    });
    let (read, commanded) =
        tokio::task::spawn_blocking(move || asked.join().unwrap()).await.unwrap();
    assert_eq!(read.0, 200);
    assert_eq!(commanded.0, 403);
    let refusal: Refusal = serde_json::from_str(&commanded.1).unwrap();
    assert_eq!(refusal.error, "not-allowed");
    assert!(refusal.text.contains("user 65534 may read here and not command"), "{refusal:?}");
}
