//! Asks the daemon over its socket.
//!
//! Invariant: it waits for nothing without a limit, and what it cannot reach or
//! understand is a [`Failure`] with its own exit code.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Failure;
use crate::api::Refusal;

/// The daemon answers or refuses within 30 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);
/// A stream that is alive says something every 10 s.
const SILENCE_MAX: Duration = Duration::from_secs(35);
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub fn get(&self, path: &str) -> Result<String, Failure> {
        self.block_on(self.whole(Method::GET, path, String::new()))
    }

    pub fn post(&self, path: &str, body: String) -> Result<String, Failure> {
        self.block_on(self.whole(Method::POST, path, body))
    }

    /// Hands on each line as it comes, until the daemon ends the stream.
    pub fn lines(
        &self,
        path: &str,
        each: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        self.block_on(self.stream(path, each))
    }

    /// The same, until `limit` has passed.
    pub fn lines_for(
        &self,
        path: &str,
        limit: Option<Duration>,
        each: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(limit) = limit else { return self.lines(path, each) };
        self.block_on(async { timeout(limit, self.stream(path, each)).await.unwrap_or(Ok(())) })
    }

    pub fn no_daemon(&self, why: impl ToString) -> Failure {
        Failure::NoDaemon { socket: self.socket.clone(), why: why.to_string() }
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Daemon(error.into()))?
            .block_on(work)
    }

    async fn whole(&self, method: Method, path: &str, body: String) -> Result<String, Failure> {
        let exchange = async {
            let response = self.ask(method, path, body).await?;
            self.text(response).await
        };
        timeout(ANSWER_TIMEOUT, exchange).await.map_err(|_| self.no_daemon("it does not answer"))?
    }

    async fn stream(
        &self,
        path: &str,
        mut each: impl FnMut(&str) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let asked = self.ask(Method::GET, path, String::new());
        let silent = |_| self.no_daemon("it fell silent");
        let mut body = timeout(ANSWER_TIMEOUT, asked).await.map_err(silent)??.into_body();
        let mut partial = Vec::new();
        while let Some(frame) = timeout(SILENCE_MAX, body.frame()).await.map_err(silent)? {
            let frame = frame.map_err(|error| self.no_daemon(error))?;
            let Some(bytes) = frame.data_ref() else { continue };
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                partial.extend_from_slice(piece);
                if piece.ends_with(b"\n") {
                    let line = String::from_utf8_lossy(&partial);
                    if !line.trim().is_empty() {
                        each(line.trim_end()).map_err(Failure::Output)?;
                    }
                    partial.clear();
                } else if partial.len() > ANSWER_BYTES_MAX {
                    return Err(Failure::Foreign("a line without an end".into()));
                }
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Response<Incoming>, Failure> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    Failure::NotLetIn { socket: self.socket.clone() }
                }
                _ => self.no_daemon(error),
            })?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "homeostat")
            .header("connection", "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Foreign(error.to_string()))?;
        let foreign = |error: hyper::Error| self.no_daemon(error);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(foreign)?;
        // Its end is seen as the end of the answer.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(foreign)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let text = self.text(response).await?;
        Err(match serde_json::from_str::<Refusal>(&text) {
            Ok(refusal) => Failure::Refused(refusal.text),
            Err(_) => Failure::Foreign(text),
        })
    }

    async fn text(&self, response: Response<Incoming>) -> Result<String, Failure> {
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.no_daemon(error))?.to_bytes();
        String::from_utf8(bytes.into()).map_err(|error| Failure::Foreign(error.to_string()))
    }
}
