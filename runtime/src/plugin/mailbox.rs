//! What is handed to a plugin's thread: one job at a time, and the newest
//! binding before it.
//!
//! Invariant: a job that was taken is answered or faulted, and until then no
//! other is taken; nobody ever waits to hand one in.
//!
//! ```text
//! NotReady ─open─▶ Ready ─close─▶ NotReady | Quarantined
//! ```

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Series;

/// Why a job was not taken. Nothing happened to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    #[error("it has not answered the last one")]
    Working,
    #[error("it has no instance, or a fresh one that is not bound")]
    NotReady,
    #[error("it is quarantined")]
    Quarantined,
    #[error("{found} values are not rows of {wanted} bound series")]
    Shape { wanted: usize, found: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    NotReady,
    Quarantined,
}

#[derive(Debug, PartialEq)]
pub(super) enum Next<J> {
    Bind(Vec<Series>),
    Job(J),
    Stop,
}

#[derive(Debug)]
pub(super) struct Mailbox<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<J> {
    /// None while open.
    closed: Option<Closed>,
    bind: Option<Vec<Series>>,
    /// Columns of the newest binding since it was opened.
    columns: Option<usize>,
    job: Option<J>,
    working: bool,
    stop: bool,
}

impl<J> Mailbox<J> {
    pub(super) fn new() -> Self {
        let state = State {
            closed: Some(Closed::NotReady),
            bind: None,
            columns: None,
            job: None,
            working: false,
            stop: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    // The giver's side.

    /// Replaces a binding that was not picked up yet.
    pub(super) fn bind(&self, series: Vec<Series>) {
        let mut state = self.lock();
        if state.closed.is_none() {
            state.columns = Some(series.len());
            state.bind = Some(series);
            self.changed.notify_one();
        }
    }

    /// `fits` is asked with the columns of the newest binding. What is not taken
    /// is given back.
    pub(super) fn put(
        &self,
        job: J,
        fits: impl FnOnce(&J, Option<usize>) -> Result<(), Busy>,
    ) -> Result<(), (Busy, J)> {
        let mut state = self.lock();
        let taken = match state.closed {
            Some(Closed::Quarantined) => Err(Busy::Quarantined),
            Some(Closed::NotReady) => Err(Busy::NotReady),
            None if state.working || state.job.is_some() => Err(Busy::Working),
            None => fits(&job, state.columns),
        };
        if let Err(why) = taken {
            return Err((why, job));
        }
        state.job = Some(job);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_one();
    }

    // The thread's side.

    pub(super) fn open(&self) {
        self.lock().closed = None;
    }

    /// Forgets what was handed in: it was meant for the instance that is gone.
    pub(super) fn close(&self, closed: Closed) {
        let mut state = self.lock();
        let stop = state.stop;
        *state = State {
            closed: Some(closed),
            bind: None,
            columns: None,
            job: None,
            working: false,
            stop,
        };
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Next<J> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return Next::Stop;
            }
            if let Some(series) = state.bind.take() {
                return Next::Bind(series);
            }
            if let Some(job) = state.job.take() {
                state.working = true;
                return Next::Job(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The job was answered.
    pub(super) fn done(&self) {
        self.lock().working = false;
    }

    pub(super) fn stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits so long, or until stopped; says which.
    pub(super) fn sleep(&self, duration: Duration) -> Slept {
        let until = Instant::now() + duration;
        let mut state = self.lock();
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Slept::Through;
            }
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Slept::Stopped
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slept {
    Through,
    Stopped,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(_: &u8, columns: Option<usize>) -> Result<(), Busy> {
        columns.map(|_| ()).ok_or(Busy::NotReady)
    }

    #[test]
    fn one_job_at_a_time_and_the_binding_before_it() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.put(1, any), Err((Busy::NotReady, 1)));
        mailbox.bind(vec![]);
        mailbox.open();
        assert_eq!(mailbox.put(1, any), Err((Busy::NotReady, 1)), "bound before it was open");
        mailbox.bind(vec![]);
        assert_eq!(mailbox.put(1, any), Ok(()));
        assert_eq!(mailbox.put(2, any), Err((Busy::Working, 2)));
        assert_eq!(mailbox.next(), Next::Bind(vec![]));
        assert_eq!(mailbox.next(), Next::Job(1));
        assert_eq!(mailbox.put(2, any), Err((Busy::Working, 2)));
        mailbox.done();
        assert_eq!(mailbox.put(2, any), Ok(()));
    }

    #[test]
    fn what_was_meant_for_an_instance_goes_with_it() {
        let mailbox = Mailbox::new();
        mailbox.open();
        mailbox.bind(vec![]);
        mailbox.put(1, any).unwrap();
        mailbox.close(Closed::NotReady);
        mailbox.open();
        assert_eq!(mailbox.put(2, any), Err((Busy::NotReady, 2)));
        mailbox.close(Closed::Quarantined);
        assert_eq!(mailbox.put(2, any), Err((Busy::Quarantined, 2)));
    }

    #[test]
    fn a_stop_comes_before_everything_else() {
        let mailbox = Mailbox::new();
        mailbox.open();
        mailbox.bind(vec![]);
        mailbox.put(1, any).unwrap();
        mailbox.stop();
        assert_eq!(mailbox.next(), Next::Stop);
        assert_eq!(mailbox.sleep(Duration::from_secs(3600)), Slept::Stopped);
        mailbox.close(Closed::NotReady);
        assert!(mailbox.stopped());
    }
}
