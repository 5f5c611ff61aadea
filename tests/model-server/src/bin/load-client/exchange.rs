//! One request over a connection of its own, and the verdict on its answer.

use std::future::{Future, pending};
use std::io;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use model_server::golden::Golden;
use model_server::oip;
use model_server::record::Outcome;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

const ANSWER_LEN_MAX: usize = 1 << 20;

/// A server under its name in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    /// HOST:PORT
    pub authority: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = || format!("`{text}` is not NAME=http://HOST:PORT");
        let (name, url) = text.split_once('=').ok_or_else(wanted)?;
        let uri = url.parse::<Uri>().map_err(|error| format!("{}: {error}", wanted()))?;
        let authority = uri.authority().filter(|authority| authority.port().is_some());
        let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
        match authority {
            Some(authority) if plain && !name.is_empty() => {
                Ok(Self { name: name.into(), authority: authority.to_string() })
            }
            _ => Err(wanted()),
        }
    }
}

pub struct Verdict {
    pub result: Outcome,
    pub status: Option<u16>,
    pub detail: String,
}

/// What is the same for every request.
pub struct Exchange {
    golden: Golden,
    /// One for each golden case.
    bodies: Vec<Bytes>,
    path: String,
    timeout: Duration,
}

impl Exchange {
    pub fn new(golden: Golden, model: &str, timeout: Duration) -> Self {
        let body = |case| {
            let request = golden.request(std::slice::from_ref(case));
            serde_json::to_vec(&request).expect("a request of finite numbers is JSON").into()
        };
        let bodies = golden.cases.iter().map(body).collect();
        Self { golden, bodies, path: format!("/v2/models/{model}/infer"), timeout }
    }

    /// Ends at the latest when the timeout, counted from `due`, is over. The
    /// `n`-th request asks for the `n`-th case, round and round.
    pub async fn run(&self, target: &Target, n: u64, due: Instant) -> Verdict {
        let case = (n - 1) as usize % self.bodies.len();
        let (status, body) = match timeout_at(due + self.timeout, self.post(target, case)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return failure,
            Err(_) => return verdict(Outcome::Timeout, None, "no answer in time"),
        };
        if status != StatusCode::OK {
            let body = String::from_utf8_lossy(&body);
            return verdict(Outcome::Status, Some(status), body.trim());
        }
        match self.judge(case, &body) {
            Ok(()) => verdict(Outcome::Good, Some(status), ""),
            Err(why) => verdict(Outcome::Wrong, Some(status), &why),
        }
    }

    async fn post(&self, target: &Target, case: usize) -> Result<(StatusCode, Bytes), Verdict> {
        let stream = TcpStream::connect(&target.authority).await.map_err(|error| {
            let refused = error.kind() == io::ErrorKind::ConnectionRefused;
            let result = if refused { Outcome::Refused } else { Outcome::Broken };
            verdict(result, None, &error.to_string())
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::post(&self.path)
            .header("host", &target.authority)
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(self.bodies[case].clone()))
            .expect("the path comes from a model's name, the rest is constant");
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LEN_MAX).collect().await;
            let body = body.map_err(|error| verdict(Outcome::Broken, None, &error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        driven(connection, answer).await
    }

    fn judge(&self, case: usize, body: &[u8]) -> Result<(), String> {
        let answer: oip::InferResponse = serde_json::from_slice(body)
            .map_err(|error| format!("no inference answer: {error}"))?;
        self.golden.check(std::slice::from_ref(&self.golden.cases[case]), &answer)
    }
}

/// Waits for the answer while the connection is driven beside it. How the
/// connection ends is told by the answer.
async fn driven<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let drive = async {
        connection.await;
        pending::<()>().await
    };
    tokio::select! {
        answer = answer => answer,
        () = drive => unreachable!("it is pending for ever"),
    }
}

fn broken(error: hyper::Error) -> Verdict {
    verdict(Outcome::Broken, None, &error.to_string())
}

fn verdict(result: Outcome, status: Option<StatusCode>, detail: &str) -> Verdict {
    Verdict { result, status: status.map(|status| status.as_u16()), detail: detail.into() }
}
