//! Real servers on the loopback, each with its own manners. For tests.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Answers with this status and body.
    Answers(u16, &'static str),
    /// Answers with the request's method, path, one header and body.
    Echoes,
    /// Headers with 200 at once, then a byte of the body now and then, for ever.
    Trickles,
    /// Takes the connection and says nothing.
    Silent,
    /// 200, and a body that never ends.
    Endless,
    /// Speaks no HTTP.
    Garbage,
    /// Promises more than it sends.
    ClosesEarly,
}

pub(crate) struct Server {
    pub address: SocketAddr,
    /// Connections taken so far.
    pub taken: Arc<AtomicU32>,
}

impl Server {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(AtomicU32::new(0));
        let counter = taken.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(talk(stream, manner));
            }
        });
        Self { address, taken }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn talk(stream: TcpStream, manner: Manner) {
    match manner {
        Manner::Answers(..) | Manner::Echoes => {
            let service = service_fn(move |request| answer(request, manner));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
        _ => {
            let _ = misbehave(stream, manner).await;
        }
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    manner: Manner,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let (status, text) = match manner {
        Manner::Answers(status, text) => (status, text.to_owned()),
        _ => {
            let line = format!("{} {}", request.method(), request.uri());
            let header = |name: &str| {
                let value = request.headers().get(name).map(|value| value.to_str().unwrap());
                format!("{name}={}", value.unwrap_or("none"))
            };
            let headers = format!("{} {}", header("host"), header("x-asked-by"));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            (200, format!("{line} {headers} {}", String::from_utf8_lossy(&body)))
        }
    };
    let mut response = hyper::Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status.try_into().unwrap();
    if status / 100 == 3 {
        response.headers_mut().insert("location", "/elsewhere".try_into().unwrap());
    }
    Ok(response)
}

async fn misbehave(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await?;
    match manner {
        Manner::Garbage => stream.write_all(b"220 mail.example ESMTP ready\r\n\r\n").await?,
        Manner::ClosesEarly => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await?;
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'x'; 8192]).await?;
            }
        }
        Manner::Trickles => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let mut now_and_then = tokio::time::interval(std::time::Duration::from_millis(5));
            loop {
                now_and_then.tick().await;
                stream.write_all(b".").await?;
            }
        }
        // Until the client gives up.
        _ => while stream.read(&mut request).await? > 0 {},
    }
    Ok(())
}
