//! The local socket: read the view and the journal, post a command.
//!
//! HTTP/1.1 with JSON over a Unix socket, one request per connection:
//!
//! ```text
//! GET  /v1/status              the view
//! GET  /v1/incidents           open incidents and the latest closed ones
//! GET  /v1/incidents/ID        the story of one
//! GET  /v1/plugins
//! GET  /v1/events?from=SEQ&follow=1   records, a JSON text per line
//! GET  /v1/recording?series=SELECTOR&target=SELECTOR&last_ms=N&follow=1
//!                              what came in, as lines of a recording
//! GET  /v1/incidents/ID/recording     what led to an incident, likewise
//! POST /v1/commands            a command; answers when the driver did
//! ```
//!
//! Whoever may connect may read. Root, the daemon's own user and `api.operators`
//! may command; the kernel says who is calling (unix(7), `SO_PEERCRED`).
//!
//! Invariant: holds no state of its own, and nothing a caller does or leaves
//! undone can make it wait: every connection, header, body, answer and line has
//! a bound in number, bytes and time.

mod answer;
mod connection;
mod event;
mod history;
mod recording;
mod route;
mod socket;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::config::ApiConfig;
use crate::model::{Seq, View};
use crate::recording::{Shelf, Tape};

pub use crate::driver::Request;
pub use answer::{Done, Refusal};
pub use history::{History, HistoryError};

/// What the socket shows and where its commands go.
pub struct Outlets {
    pub view: watch::Receiver<Arc<View>>,
    pub history: Arc<dyn History>,
    /// The newest durable record; no later one is shown.
    pub durable: watch::Receiver<Seq>,
    pub commands: mpsc::Sender<Request>,
    /// What comes in, and what led to incidents.
    pub tape: Tape,
    pub shelf: Shelf,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error(
        "wanted to listen at {socket}, found a daemon that answers there; stop it first, or give this one another api.socket"
    )]
    InUse { socket: PathBuf },
    #[error(
        "wanted to listen at {socket}, found something that is not a socket; move it away, or change api.socket"
    )]
    NotASocket { socket: PathBuf },
    #[error("cannot {what} {socket}: {source}")]
    Io { what: &'static str, socket: PathBuf, source: std::io::Error },
}

/// The socket while it is served. Dropped, it closes; [`ApiHandle::close`] also
/// waits for that.
pub struct ApiHandle {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How long answers under way may take to be sent when the daemon stops.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// Listens, and serves until closed. Called on a tokio runtime.
pub fn serve(config: &ApiConfig, outlets: Outlets) -> Result<ApiHandle, ApiError> {
    let bound = socket::bind(config)?;
    let (closing, closed) = watch::channel(false);
    let own_uid = rustix::process::geteuid().as_raw();
    let desk = Arc::new(route::Desk {
        outlets,
        operators: config.operators.clone(),
        own_uid,
        closing: closed,
    });
    Ok(ApiHandle { closing, task: tokio::spawn(connection::accept(bound, desk)) })
}

impl ApiHandle {
    /// Takes no more callers, gives those under way [`CLOSE_GRACE`], removes the socket.
    pub async fn close(self) {
        self.closing.send_replace(true);
        // It only ends; a panic in it has been told already.
        let _ = self.task.await;
    }
}
