//! Whether the box's clock is held to another's, by adjtimex(2).
//!
//! Invariant: it asks and never sets. Whoever keeps the clock (chrony, ntpd,
//! systemd-timesyncd) tells the kernel, so that none of them needs to be known.
//!
//! Both names are ours.

use std::io;

use super::read::Said;
use super::series::{Registry, Values};
use crate::model::{SeriesId, TargetId};

#[derive(Debug)]
pub(super) struct Timekeeping {
    synchronized: SeriesId,
    offset_max: SeriesId,
    said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Kept {
    synchronized: bool,
    /// How far the clock may be off at most, in seconds, by whoever keeps it.
    offset_max_s: f64,
}

impl Timekeeping {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let the_box = TargetId::the_box();
        Self {
            synchronized: registry.add("system.clock.synchronized", "1", &the_box, &[]),
            offset_max: registry.add("system.clock.offset_max", "s", &the_box, &[]),
            said: Said::new("the state of the clock"),
        }
    }

    pub(super) fn sample(&mut self, values: &mut Values) {
        if let Some(kept) = self.said.note(ask()) {
            self.tell(kept, values);
        }
    }

    fn tell(&self, kept: Kept, values: &mut Values) {
        values.push((self.synchronized, f64::from(u8::from(kept.synchronized))));
        // The kernel lets it grow without end where nobody keeps the clock.
        if kept.synchronized {
            values.push((self.offset_max, kept.offset_max_s));
        }
    }
}

fn ask() -> io::Result<Kept> {
    // SAFETY: `timex` is plain numbers; all zero, its `modes` says that nothing
    // is to be set.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure it is pointed to, which outlives the call.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(judge(state, timex.status, timex.maxerror as i64))
}

/// `maxerror` is in microseconds.
fn judge(state: libc::c_int, status: libc::c_int, maxerror_us: i64) -> Kept {
    Kept {
        synchronized: state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0,
        offset_max_s: maxerror_us as f64 / 1e6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_nobody_keeps_is_not_synchronized_and_has_no_bound() {
        let mut registry = Registry::default();
        let clock = Timekeeping::new(&mut registry);
        for (state, status, expected) in [
            (
                libc::TIME_OK,
                0,
                &["system.clock.synchronized 1", "system.clock.offset_max 0.25"][..],
            ),
            (libc::TIME_ERROR, 0, &["system.clock.synchronized 0"]),
            (libc::TIME_OK, libc::STA_UNSYNC, &["system.clock.synchronized 0"]),
        ] {
            let mut values = Values::new();
            clock.tell(judge(state, status, 250_000), &mut values);
            let read: Vec<_> =
                values.iter().map(|(id, it)| format!("{} {it}", registry.describe(*id))).collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn this_machine_says_how_its_clock_is_kept() {
        let kept = ask().unwrap();
        assert!(kept.offset_max_s >= 0.0, "{kept:?}");
    }
}
