//! The engine's clock: a thread that moves the epoch while a call is in flight.
//!
//! Invariant: while any [`InCall`] lives, the epoch moves at least every tick
//! and a bit; while none does, the thread is parked and costs nothing. It lags
//! by one tick, so that calls in quick succession do not wake it each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

#[derive(Debug)]
pub(in super::super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    parked: AtomicBool,
    stop: AtomicBool,
}

/// A call in flight.
#[derive(Debug)]
pub(in super::super) struct InCall<'a> {
    calls: &'a AtomicUsize,
}

impl Ticker {
    pub(super) fn start(engine: &wasmtime::Engine, tick: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (theirs, engine) = (shared.clone(), engine.clone());
        let thread = thread::Builder::new()
            .name("plugin-epoch".into())
            .stack_size(64 << 10)
            .spawn(move || run(&theirs, &engine, tick))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(super) fn in_call(&self) -> InCall<'_> {
        // Counted before asking whether it sleeps, and it asks the other way
        // round: one of both sees the other.
        self.shared.calls.fetch_add(1, SeqCst);
        if self.shared.parked.load(SeqCst) {
            self.wake();
        }
        InCall { calls: &self.shared.calls }
    }

    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for InCall<'_> {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it only sleeps and counts.
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, engine: &wasmtime::Engine, tick: Duration) {
    while !shared.stop.load(SeqCst) {
        if shared.calls.load(SeqCst) == 0 {
            shared.parked.store(true, SeqCst);
            while shared.calls.load(SeqCst) == 0 && !shared.stop.load(SeqCst) {
                thread::park();
            }
            shared.parked.store(false, SeqCst);
        }
        thread::sleep(tick);
        engine.increment_epoch();
    }
}
