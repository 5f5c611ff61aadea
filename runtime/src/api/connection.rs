//! One caller each: who it is, how long it may take.
//!
//! Invariant: a connection ends by itself. It hangs on a leash, which every
//! step that makes progress lengthens and no other.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::CLOSE_GRACE;
use super::route::{self, Caller, Desk};
use super::socket::Bound;

/// Connections at once; the last ones are kept for who may command, so that
/// readers cannot lock an operator out.
const CALLERS_MAX: usize = 32;
const READERS_MAX: usize = 24;
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// From one step that makes progress to the next: a request's whole handling
/// (its own deadline is shorter), and each chunk that the caller takes.
const LEASH: Duration = Duration::from_secs(35);
/// Pause after a failed accept: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
const HEADERS_MAX: usize = 32;
const BUFFER_BYTES_MAX: usize = 64 << 10;

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 66\r\nconnection: close\r\n\r\n\
    {\"error\":\"too-many\",\"text\":\"too many callers at once; try again\"}\n";

/// By when a connection must have made progress.
#[derive(Clone)]
pub(super) struct Leash(Arc<watch::Sender<Instant>>);

impl Leash {
    pub fn lengthen(&self) {
        self.0.send_replace(Instant::now() + LEASH);
    }
}

pub(super) async fn accept(bound: Bound, desk: Arc<Desk>) {
    let mut closing = desk.closing.clone();
    let mut callers = JoinSet::new();
    let present = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            accepted = bound.listener.accept() => accepted,
            () = route::closed(&mut closing) => break,
            Some(_) = callers.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => admit(stream, &desk, &present, &mut callers),
            Err(error) => {
                tracing::warn!(%error, "a caller at the socket could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    bound.close();
    let all_gone = async { while callers.join_next().await.is_some() {} };
    // Those still there are dropped with the set.
    let _ = timeout(CLOSE_GRACE, all_gone).await;
}

fn admit(
    stream: UnixStream,
    desk: &Arc<Desk>,
    present: &Arc<AtomicUsize>,
    callers: &mut JoinSet<()>,
) {
    // Without the kernel's word for who it is, it is nobody.
    let Ok(credentials) = stream.peer_cred() else { return };
    let caller = desk.caller(credentials.uid());
    let max = if caller.may_command { CALLERS_MAX } else { READERS_MAX };
    if present.load(Ordering::Relaxed) >= max {
        let _ = stream.try_write(TOO_MANY);
        return;
    }
    let seat = Seat::take(present);
    let desk = Arc::clone(desk);
    callers.spawn(async move {
        converse(stream, desk, caller).await;
        drop(seat);
    });
}

/// One of the places at the desk.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(present: &Arc<AtomicUsize>) -> Self {
        present.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(present))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn converse(stream: UnixStream, desk: Arc<Desk>, caller: Caller) {
    let (sender, mut held_until) = watch::channel(Instant::now() + 2 * HEADER_TIMEOUT);
    let leash = Leash(Arc::new(sender));
    let mut closing = desk.closing.clone();
    let service = service_fn(|request| {
        leash.lengthen();
        let (desk, leash) = (Arc::clone(&desk), leash.clone());
        async move { Ok::<_, Infallible>(route::answer(&desk, caller, &leash, request).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let mut told_to_close = false;
    loop {
        let until = *held_until.borrow_and_update();
        tokio::select! {
            // A caller that hangs up or talks nonsense is its own business.
            _ = connection.as_mut() => return,
            _ = held_until.changed() => {}
            () = sleep_until(until) => return,
            () = route::closed(&mut closing), if !told_to_close => {
                told_to_close = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
