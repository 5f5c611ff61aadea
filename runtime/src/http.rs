//! One HTTP/1.1 request to one server, for the rooms that need no more than that.
//!
//! Plain `http://` only, a fresh connection each time, redirects never followed.
//! Invariant: a request ends within its timeout, which covers name, connection,
//! headers and body together, and holds no more than its cap of the body.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The most that a response's status line and headers may take.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A request that was checked and can be sent any number of times.
#[derive(Clone, Debug)]
pub struct Request {
    template: hyper::Request<Full<Bytes>>,
    host: String,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// What came, up to the cap.
    pub body: Vec<u8>,
    /// The server had more to say than the cap.
    pub truncated: bool,
    /// From the first packet to the last byte that was read.
    pub took: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("{what} {text:?} cannot be sent: {why}")]
    Unsendable { what: &'static str, text: String, why: String },
    #[error("{host:?} does not resolve: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Protocol(String),
    #[error("no answer within {} ms ({during})", timeout.as_millis())]
    Timeout { timeout: Duration, during: Phase },
}

/// How far a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Resolving,
    Connecting,
    Headers,
    Body,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolving => "the name was not resolved",
            Self::Connecting => "it was not connected",
            Self::Headers => "it was connected, and no headers came",
            Self::Body => "headers came, and the body did not end",
        })
    }
}

/// Sends one request and reads the answer: everything within `timeout`, and at
/// most `cap` bytes of the body.
pub async fn request(
    method: &str,
    url: &str,
    headers: &BTreeMap<String, String>,
    body: &[u8],
    timeout: Duration,
    cap: usize,
) -> Result<Response, HttpError> {
    let request = Request::new(method, url, headers, body)?;
    let lookup = tokio::net::lookup_host((request.host(), request.port()));
    let resolve = async { lookup.await.map(Iterator::collect) };
    request.send(resolve, timeout, cap).await
}

impl Request {
    pub fn new(
        method: &str,
        url: &str,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Result<Self, HttpError> {
        let wrong = |what, text: &str, why: &dyn std::fmt::Display| HttpError::Unsendable {
            what,
            text: text.to_owned(),
            why: why.to_string(),
        };
        let uri: Uri = url.parse().map_err(|error| wrong("URL", url, &error))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong("URL", url, &"it does not begin with http://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("URL", url, &"it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("URL", url, &"a user name in it is not sent; use a header"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("") => 80,
            Some(port) => port
                .trim_start_matches(':')
                .parse()
                .map_err(|error| wrong("URL", url, &format_args!("its port: {error}")))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());

        let mut template = hyper::Request::new(Full::new(Bytes::copy_from_slice(body)));
        *template.method_mut() = Method::from_bytes(method.as_bytes())
            .map_err(|error| wrong("method", method, &error))?;
        *template.uri_mut() = path.parse().map_err(|error| wrong("URL", url, &error))?;
        let text = authority.as_str();
        let value = text.parse().map_err(|error| wrong("host", text, &error))?;
        template.headers_mut().insert(HOST, value);
        template.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in headers {
            let key: HeaderName = name.parse().map_err(|error| wrong("header", name, &error))?;
            let value = value.parse().map_err(|error| wrong("value of header", name, &error))?;
            template.headers_mut().insert(key, value);
        }
        Ok(Self { template, host, port })
    }

    /// The host as a resolver wants it: no brackets round an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends to the first of the addresses that takes the connection.
    /// `resolve` may be cancelled, and counts towards the timeout.
    pub async fn send(
        &self,
        resolve: impl Future<Output = io::Result<Vec<SocketAddr>>>,
        timeout: Duration,
        cap: usize,
    ) -> Result<Response, HttpError> {
        let mut phase = Phase::Resolving;
        let whole = async {
            let addresses = resolve
                .await
                .map_err(|source| HttpError::Resolve { host: self.host.clone(), source })?;
            phase = Phase::Connecting;
            let stream = TcpStream::connect(&*addresses).await.map_err(HttpError::Connect)?;
            phase = Phase::Headers;
            self.exchange(stream, &mut phase, cap).await
        };
        let began = Instant::now();
        let result = tokio::time::timeout(timeout, whole).await;
        match result {
            Ok(Ok(response)) => Ok(Response { took: began.elapsed(), ..response }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(HttpError::Timeout { timeout, during: phase }),
        }
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        phase: &mut Phase,
        cap: usize,
    ) -> Result<Response, HttpError> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(protocol)?;
        let talk = async {
            let response = sender.send_request(self.template.clone()).await.map_err(protocol)?;
            *phase = Phase::Body;
            let status = response.status().as_u16();
            let (body, truncated) = read_body(response.into_body(), cap).await?;
            Ok(Response { status, body, truncated, took: Duration::ZERO })
        };
        // The connection may end before all of its body was taken out of it, so
        // its end is not ours. What went wrong with it is told to `talk`.
        let drive = async move {
            let _ = connection.await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            result = talk => result,
            never = drive => match never {},
        }
    }
}

async fn read_body(mut body: Incoming, cap: usize) -> Result<(Vec<u8>, bool), HttpError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(protocol)?;
        let Some(data) = frame.data_ref() else { continue };
        let room = cap - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((bytes, true));
        }
    }
    Ok((bytes, false))
}

/// hyper says the most useful half in the error below its own.
fn protocol(error: hyper::Error) -> HttpError {
    use std::error::Error;
    HttpError::Protocol(match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;
