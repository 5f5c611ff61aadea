//! The kinds of probes, and what each calls good.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Verdict;
use super::command::CommandProbe;
use crate::config::ProbeKind;
use crate::http;
use crate::source::resolve::Resolver;

/// A body is looked at up to here.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) enum Prober {
    Http(Box<HttpProbe>),
    Tcp(Resolver),
    Command(CommandProbe),
    /// Cannot be asked at all, and why.
    Broken(String),
    #[cfg(test)]
    NeverReturns,
}

pub(super) struct HttpProbe {
    request: http::Request,
    resolver: Resolver,
    expect_status: u16,
    expect_text: Option<String>,
}

impl Prober {
    /// `alive` is held by what may outlive the probe's own task.
    pub(super) fn new(kind: &ProbeKind, alive: &watch::Receiver<bool>) -> Self {
        match kind {
            ProbeKind::Http { method, url, headers, body, expect_status, expect_text } => {
                let body = body.as_deref().unwrap_or_default().as_bytes();
                match http::Request::new(method, url, headers, body) {
                    Ok(request) => Self::Http(Box::new(HttpProbe {
                        resolver: Resolver::new(request.host(), request.port()),
                        request,
                        expect_status: *expect_status,
                        expect_text: expect_text.clone(),
                    })),
                    Err(error) => Self::Broken(error.to_string()),
                }
            }
            ProbeKind::Tcp { address } => match Resolver::from_address(address) {
                Some(resolver) => Self::Tcp(resolver),
                None => Self::Broken(format!("wanted HOST:PORT, found {address:?}")),
            },
            ProbeKind::Command { command, env } => {
                Self::Command(CommandProbe::new(command, env, alive))
            }
        }
    }

    pub(super) async fn ask(&mut self, timeout: Duration) -> Verdict {
        match self {
            Self::Http(probe) => probe.ask(timeout).await,
            Self::Tcp(resolver) => connect(resolver, timeout).await,
            Self::Command(probe) => probe.ask(timeout).await,
            Self::Broken(why) => Verdict::none(why.clone()),
            #[cfg(test)]
            Self::NeverReturns => std::future::pending().await,
        }
    }
}

impl HttpProbe {
    async fn ask(&mut self, timeout: Duration) -> Verdict {
        let sent = self.request.send(self.resolver.resolve(), timeout, BODY_BYTES_MAX).await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Verdict::bad(error.to_string()),
        };
        let status = response.status;
        if status != self.expect_status {
            return Verdict::bad(format!("status {status}, wanted {}", self.expect_status));
        }
        if let Some(text) = &self.expect_text
            && !contains(&response.body, text.as_bytes())
        {
            return Verdict::bad(format!("status {status}, and no {text:?} in the body"));
        }
        Verdict::good(format!("status {status}"))
    }
}

async fn connect(resolver: &mut Resolver, timeout: Duration) -> Verdict {
    let connected = tokio::time::timeout(timeout, async {
        let addresses = resolver.resolve().await.map_err(|e| format!("no address: {e}"))?;
        TcpStream::connect(&*addresses).await.map_err(|e| format!("no connection: {e}"))
    });
    match connected.await {
        Ok(Ok(_)) => Verdict::good("connected"),
        Ok(Err(why)) => Verdict::bad(why),
        Err(_) => Verdict::bad(format!("no connection within {} ms", timeout.as_millis())),
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests;
