//! Lines of text, from a thread that reads them to whoever decides.
//!
//! Invariant: nothing grows with what is written. A line has a longest length, a
//! second has a largest number of lines, and what is beyond is counted and said
//! in a line of its own. Lines wait for room; meanwhile nothing more is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::halt::{Halt, Woken};
use super::outlet::{Open, Outlet, Sent};
use crate::clock::Clock;
use crate::model::{Line, TargetId};

/// Of a longer line this much is passed on.
pub(super) const LINE_BYTES_MAX: usize = 4096;
/// Lines that leave together.
pub(super) const LINES_PER_EVENT: usize = 256;
/// Lines of one source in one second.
pub(super) const LINES_PER_SECOND: u32 = 500;
/// syslog's words for what we say ourselves, and for what says nothing.
pub(super) const WARNING: u8 = 4;
pub(super) const INFORMATION: u8 = 6;

const ROOM_PAUSE: Duration = Duration::from_millis(50);

/// What a thread that reads lines needs of the room.
#[derive(Clone)]
pub(super) struct Around {
    pub clock: Clock,
    pub outlet: Outlet,
    pub halt: Arc<Halt>,
    /// Dropped with the thread: who stops the room waits for that.
    pub alive: watch::Receiver<bool>,
}

impl Around {
    /// Passes them on, and leaves `lines` empty. Waits for room.
    pub(super) fn tell(&self, lines: &mut Vec<Line>) -> Open {
        while !lines.is_empty() {
            match self.outlet.lines(std::mem::take(lines)) {
                Sent::Yes => {}
                Sent::Full(back) => *lines = back,
                Sent::Closed => return Open::No,
            }
            if !lines.is_empty() && self.halt.pause(ROOM_PAUSE) == Woken::Ended {
                return Open::No;
            }
        }
        Open::Yes
    }
}

/// Counts the lines of each second.
#[derive(Debug, Default)]
pub(super) struct Flood {
    second: u64,
    passed: u32,
    cut: u64,
}

impl Flood {
    /// Whether a line more would pass.
    pub(super) fn has_room(&mut self, age_ms: u64) -> bool {
        if age_ms / 1000 != self.second {
            (self.second, self.passed) = (age_ms / 1000, 0);
        }
        self.passed < LINES_PER_SECOND
    }

    /// Lets a line pass, and counts it.
    pub(super) fn pass(&mut self, age_ms: u64) {
        self.has_room(age_ms);
        self.passed = self.passed.saturating_add(1);
    }

    /// Whether one more line may pass. Ask [`Flood::over`] first.
    pub(super) fn passes(&mut self, age_ms: u64) -> bool {
        let passes = self.has_room(age_ms);
        match passes {
            true => self.passed += 1,
            false => self.cut += 1,
        }
        passes
    }

    /// How many were cut in a second that is over; said once.
    pub(super) fn over(&mut self, age_ms: u64) -> Option<u64> {
        (self.cut > 0 && age_ms / 1000 != self.second).then(|| std::mem::take(&mut self.cut))
    }

    pub(super) fn is_cutting(&self) -> bool {
        self.cut > 0
    }
}

/// A line that we say ourselves, among those of a source.
pub(super) fn remark(target: &TargetId, source: &str, age_ms: u64, text: String) -> Line {
    let (target, source) = (target.clone(), source.to_owned());
    Line { target, source, age_ms, priority: WARNING, text: format!("homeostat: {text}") }
}

pub(super) fn cut_text(count: u64) -> String {
    format!("{count} lines were cut: more than {LINES_PER_SECOND} came in one second")
}

/// As text that can be shown: bounded, and without what is no UTF-8.
pub(super) fn text(bytes: &[u8]) -> String {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(&bytes[..bytes.len().min(LINE_BYTES_MAX)]).into_owned();
    if bytes.len() > LINE_BYTES_MAX {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lets_so_many_lines_pass_and_says_afterwards_how_many_it_did_not() {
        let mut flood = Flood::default();
        let passed = (0..LINES_PER_SECOND + 7).filter(|_| flood.passes(5_000)).count();
        assert_eq!(passed, LINES_PER_SECOND as usize);
        assert_eq!(flood.over(5_999), None, "it is not over");
        assert_eq!((flood.over(6_000), flood.over(6_000)), (Some(7), None));
        assert!(flood.passes(6_000));
    }

    #[test]
    fn a_line_is_shown_bounded_and_readable() {
        assert_eq!(text(b"a\xffb\r"), "a\u{fffd}b");
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(text(&long).len(), LINE_BYTES_MAX + "…".len());
        assert_eq!(text(&long[1..]).len(), LINE_BYTES_MAX);
    }
}
