//! Waiting for what was observed, never for time to pass.
//!
//! Invariant: this is the only place in the stories that sleeps, and it says
//! what it saw last when the deadline comes.

use std::time::{Duration, Instant};

/// How often is looked. Short beside every deadline in the stories.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a look found.
pub enum Seen<T> {
    Yes(T),
    /// Not yet; this is how it stands instead.
    Not(String),
}

impl<T> Seen<T> {
    /// `Some` is yes; otherwise `how` says how it stands.
    pub fn some(found: Option<T>, how: impl FnOnce() -> String) -> Self {
        found.map_or_else(|| Self::Not(how()), Self::Yes)
    }
}

impl Seen<()> {
    pub fn when(is: bool, how: impl FnOnce() -> String) -> Self {
        if is { Self::Yes(()) } else { Self::Not(how()) }
    }
}

/// Looks until it is so, and fails the test when `deadline` passes first.
#[track_caller]
pub fn wait_until<T>(deadline: Duration, what: &str, look: impl FnMut() -> Seen<T>) -> T {
    match look_until(deadline, look) {
        Ok(found) => found,
        Err(seen) => {
            panic!("waited {:.1} s for {what}.\nSeen instead: {seen}", deadline.as_secs_f64())
        }
    }
}

/// As [`wait_until`]; what was seen instead is the caller's to tell.
pub fn look_until<T>(deadline: Duration, mut look: impl FnMut() -> Seen<T>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match look() {
            Seen::Yes(found) => return Ok(found),
            Seen::Not(how) if begun.elapsed() >= deadline => return Err(how),
            Seen::Not(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Looks for the whole of `span`, and fails the test as soon as it is not so.
/// For what must *not* happen: the span is the box's own patience, times a few.
#[track_caller]
pub fn stays(span: Duration, what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        if let Err(how) = look() {
            panic!("{what} should stay so for {:.1} s.\nSeen instead: {how}", span.as_secs_f64());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
