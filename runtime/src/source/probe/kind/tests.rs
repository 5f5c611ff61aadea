use std::collections::BTreeMap;

use super::*;
use crate::http::server::{Manner, Server};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(1);

fn http(url: &str, text: Option<&str>) -> ProbeKind {
    ProbeKind::Http {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: BTreeMap::new(),
        body: None,
        expect_status: 200,
        expect_text: text.map(str::to_owned),
    }
}

async fn ask(kind: &ProbeKind, timeout: Duration) -> Verdict {
    let (_stop, alive) = watch::channel(false);
    Prober::new(kind, &alive).ask(timeout).await
}

#[tokio::test]
async fn http_is_good_when_status_and_text_are_as_expected() {
    for (manner, text, good, detail) in [
        (Manner::Answers(200, "all ready"), None, true, "status 200"),
        (Manner::Answers(200, "all ready"), Some("ready"), true, "status 200"),
        (Manner::Answers(200, "all ready"), Some("Ready"), false, "no \"Ready\" in the body"),
        (Manner::Answers(503, "ready"), Some("ready"), false, "status 503, wanted 200"),
        (Manner::Answers(302, ""), None, false, "status 302, wanted 200"),
        (Manner::Endless, Some("xxx"), true, "status 200"),
        (Manner::Garbage, None, false, "invalid"),
        (Manner::ClosesEarly, None, false, "end of file"),
    ] {
        let server = Server::start(manner).await;
        let verdict = ask(&http(&server.url("/health"), text), LONG).await;
        assert_eq!(verdict.good, Some(good), "{manner:?}: {}", verdict.detail);
        assert!(verdict.detail.contains(detail), "{manner:?}: {}", verdict.detail);
    }
}

#[tokio::test]
async fn http_that_does_not_end_in_time_is_bad_even_after_a_200() {
    for (manner, detail) in [(Manner::Silent, "no headers"), (Manner::Trickles, "the body")] {
        let server = Server::start(manner).await;
        let verdict = ask(&http(&server.url("/"), None), SHORT).await;
        assert_eq!(verdict.good, Some(false));
        assert!(verdict.detail.contains(detail), "{manner:?}: {}", verdict.detail);
    }
}

#[tokio::test]
async fn tcp_is_good_when_somebody_takes_the_connection() {
    let server = Server::start(Manner::Silent).await;
    let address = server.address.to_string();
    let verdict = ask(&ProbeKind::Tcp { address: address.clone() }, LONG).await;
    assert_eq!(verdict, Verdict::good("connected"));

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let verdict = ask(&ProbeKind::Tcp { address }, LONG).await;
    assert_eq!(verdict.good, Some(false));
    assert!(verdict.detail.contains("refused"), "{}", verdict.detail);
}

#[tokio::test]
async fn a_probe_that_cannot_be_asked_has_no_reading() {
    for kind in [
        http("https://127.0.0.1/", None),
        ProbeKind::Tcp { address: "nowhere".to_owned() },
        ProbeKind::Command { command: vec![], env: BTreeMap::new(), perfdata: vec![] },
    ] {
        assert_eq!(ask(&kind, LONG).await.good, None, "{kind:?}");
    }
}

#[tokio::test]
async fn a_file_is_good_while_it_says_what_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("idle");
    let alive = watch::channel(false).1;
    let ask = async |expect: FileExpect| {
        let kind = ProbeKind::File { path: path.clone(), expect };
        Prober::new(&kind, &alive).ask(Duration::from_secs(30)).await.good
    };
    let says = |text: &str| FileExpect::Present(Some(text.into()));
    assert_eq!(ask(FileExpect::Present(None)).await, Some(false));
    assert_eq!(ask(FileExpect::Absent).await, Some(true));
    std::fs::write(&path, "state=idle\n").unwrap();
    assert_eq!(ask(FileExpect::Present(None)).await, Some(true));
    assert_eq!(ask(FileExpect::Absent).await, Some(false));
    assert_eq!(ask(says("idle")).await, Some(true));
    assert_eq!(ask(says("busy")).await, Some(false));
    // A folder is there and cannot be read: nothing is known.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(ask(FileExpect::Present(None)).await, None);
}
