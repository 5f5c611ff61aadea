use std::sync::atomic::Ordering;

use super::server::{Manner, Server};
use super::*;

const CAP: usize = 64 * 1024;
/// For what is expected to end by itself.
const LONG: Duration = Duration::from_secs(20);
/// For what is not.
const SHORT: Duration = Duration::from_secs(1);

async fn get(server: &Server, path: &str, timeout: Duration) -> Result<Response, HttpError> {
    request("GET", &server.url(path), &BTreeMap::new(), b"", timeout, CAP).await
}

#[tokio::test]
async fn method_path_headers_and_body_reach_the_server_and_its_answer_comes_back() {
    let server = Server::start(Manner::Echoes).await;
    let headers = BTreeMap::from([("X-Asked-By".to_owned(), "a test".to_owned())]);
    let url = server.url("/v2/models/m/infer?trace=1");
    let response = request("POST", &url, &headers, b"{\"a\":1}", LONG, CAP).await.unwrap();
    assert_eq!((response.status, response.truncated), (200, false));
    assert_eq!(
        String::from_utf8(response.body).unwrap(),
        format!(
            "POST /v2/models/m/infer?trace=1 host={} x-asked-by=a test {{\"a\":1}}",
            server.address
        )
    );
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let server = Server::start(Manner::Answers(302, "over there")).await;
    assert_eq!(get(&server, "/", LONG).await.unwrap().status, 302);
    assert_eq!(server.taken.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn each_request_has_a_connection_of_its_own() {
    let server = Server::start(Manner::Answers(200, "ok")).await;
    for _ in 0..3 {
        get(&server, "/", LONG).await.unwrap();
    }
    assert_eq!(server.taken.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_timeout_covers_headers_and_body_and_says_how_far_it_came() {
    for (manner, expected) in [(Manner::Silent, Phase::Headers), (Manner::Trickles, Phase::Body)] {
        let server = Server::start(manner).await;
        let error = get(&server, "/", SHORT).await.unwrap_err();
        let HttpError::Timeout { during, .. } = error else { panic!("{manner:?}: {error}") };
        assert_eq!(during, expected);
    }
}

#[tokio::test]
async fn the_timeout_covers_the_name() {
    let request = Request::new("GET", "http://slow.example/", &BTreeMap::new(), b"").unwrap();
    let error = request.send(std::future::pending(), SHORT, CAP).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout { during: Phase::Resolving, .. }), "{error}");
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_cap() {
    let server = Server::start(Manner::Endless).await;
    let response = get(&server, "/", LONG).await.unwrap();
    assert_eq!((response.status, response.body.len(), response.truncated), (200, CAP, true));
}

#[tokio::test]
async fn garbage_and_a_body_that_ends_early_are_protocol_errors() {
    for manner in [Manner::Garbage, Manner::ClosesEarly] {
        let server = Server::start(manner).await;
        let error = get(&server, "/", LONG).await.unwrap_err();
        assert!(matches!(error, HttpError::Protocol(_)), "{manner:?}: {error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = request("GET", &url, &BTreeMap::new(), b"", LONG, CAP).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error}");
}

#[test]
fn what_cannot_be_sent_is_refused_before_a_packet_leaves() {
    let bad_header = BTreeMap::from([("no spaces".to_owned(), "x".to_owned())]);
    let none = BTreeMap::new();
    for (method, url, headers) in [
        ("GET", "https://127.0.0.1/", &none),
        ("GET", "/no-host", &none),
        ("GET", "http://user:word@127.0.0.1/", &none),
        ("GET", "http://127.0.0.1:99999/", &none),
        ("GE T", "http://127.0.0.1/", &none),
        ("GET", "http://127.0.0.1/", &bad_header),
    ] {
        let result = Request::new(method, url, headers, b"");
        assert!(matches!(result, Err(HttpError::Unsendable { .. })), "{method} {url}");
    }
}

#[test]
fn host_and_port_are_what_a_resolver_wants() {
    for (url, host, port) in [
        ("http://127.0.0.1:8080/x", "127.0.0.1", 8080),
        ("http://model.local", "model.local", 80),
        ("http://[::1]:81/", "::1", 81),
    ] {
        let request = Request::new("GET", url, &BTreeMap::new(), b"").unwrap();
        assert_eq!((request.host(), request.port()), (host, port), "{url}");
    }
}
