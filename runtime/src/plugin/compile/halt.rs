//! Ending the compiler from another thread than the one that waits for it.
//!
//! Invariant: once called, no compiler is at work and none begins.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, pidfd_send_signal};

#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    called: bool,
    at_work: Option<Arc<OwnedFd>>,
}

impl Halt {
    pub fn call(&self) {
        let mut state = self.state();
        state.called = true;
        state.end();
    }

    pub(super) fn is_called(&self) -> bool {
        self.state().called
    }

    /// By its pidfd.
    pub(super) fn at_work(&self, compiler: Arc<OwnedFd>) {
        let mut state = self.state();
        state.at_work = Some(compiler);
        if state.called {
            state.end();
        }
    }

    pub(super) fn done(&self) {
        self.state().at_work = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self) {
        if let Some(compiler) = self.at_work.take() {
            // It may have ended by itself.
            let _ = pidfd_send_signal(&*compiler, Signal::KILL);
        }
    }
}
