//! The kinds of probes, and what each calls good.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Verdict;
use super::command::CommandProbe;
use crate::config::{FileExpect, ProbeKind};
use crate::http;
use crate::source::resolve::Resolver;

/// A body is looked at up to here.
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(in crate::source) enum Prober {
    Http(Box<HttpProbe>),
    Tcp(Resolver),
    File(PathBuf, FileExpect),
    Command(CommandProbe),
    /// Cannot be asked at all, and why.
    Broken(String),
    #[cfg(test)]
    NeverReturns,
}

pub(in crate::source) struct HttpProbe {
    request: http::Request,
    resolver: Resolver,
    expect_status: u16,
    expect_text: Option<String>,
}

impl Prober {
    /// `alive` is held by what may outlive the probe's own task.
    pub(in crate::source) fn new(kind: &ProbeKind, alive: &watch::Receiver<bool>) -> Self {
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
            ProbeKind::File { path, expect } => Self::File(path.clone(), expect.clone()),
            ProbeKind::Command { command, env, .. } => {
                Self::Command(CommandProbe::new(command, env, alive))
            }
        }
    }

    pub(in crate::source) async fn ask(&mut self, timeout: Duration) -> Verdict {
        match self {
            Self::Http(probe) => probe.ask(timeout).await,
            Self::Tcp(resolver) => connect(resolver, timeout).await,
            Self::File(path, expect) => file(path, expect).await,
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

/// Off this thread: a file may lie where nothing answers.
async fn file(path: &Path, expect: &FileExpect) -> Verdict {
    let (path, expect) = (path.to_owned(), expect.clone());
    let looked = tokio::task::spawn_blocking(move || look(&path, &expect)).await;
    looked.unwrap_or_else(|_| Verdict::none("the look at it ended badly"))
}

fn look(path: &Path, expect: &FileExpect) -> Verdict {
    let name = path.display();
    let mut head = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(BODY_BYTES_MAX as u64).read_to_end(&mut head).map(drop));
    match (read, expect) {
        (Err(error), FileExpect::Absent) if error.kind() == io::ErrorKind::NotFound => {
            Verdict::good(format!("{name} is not there"))
        }
        (Err(error), FileExpect::Present(_)) if error.kind() == io::ErrorKind::NotFound => {
            Verdict::bad(format!("{name} is not there"))
        }
        (Err(error), _) => Verdict::none(format!("{name} cannot be read: {error}")),
        (Ok(()), FileExpect::Absent) => Verdict::bad(format!("{name} is there")),
        (Ok(()), FileExpect::Present(Some(text))) if !contains(&head, text.as_bytes()) => {
            Verdict::bad(format!("no {text:?} in {name}"))
        }
        (Ok(()), FileExpect::Present(_)) => Verdict::good(format!("{name} is there")),
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests;
