//! Faults staged for a drill.
//!
//! Invariant: what is held is let go in time, whoever dies meanwhile: the bound
//! is written down before anything is held, and a shim that adopts goes on with it.

use std::time::Duration;

use rustix::process::Signal;

use super::client::Clients;
use super::watch::Watch;
use crate::clock::boottime_ms;
use crate::model::drill::HANG_MS_MAX;
use crate::workload::record::write_json;
use crate::workload::wire::FromShim;

impl Watch {
    /// As if it had crashed by itself.
    pub(super) fn crash(&mut self, clients: &mut Clients) {
        clients.tell(&FromShim::Pong {});
        self.kill();
    }

    /// The whole tree stands still, until [`Self::release_when_due`].
    pub(super) fn hold(&mut self, ms: u64, clients: &mut Clients) {
        self.record.held_until_boottime_ms = Some(boottime_ms() + ms.min(HANG_MS_MAX));
        if let Err(err) = write_json(&self.place.attempt(), &self.record) {
            self.record.held_until_boottime_ms = None;
            let why = format!("nothing is held, since its end cannot be written down: {err}");
            return clients.tell(&FromShim::Undone { why });
        }
        // Twice: what was forked by one not yet stopped is met by the second.
        (0..2).for_each(|_| self.signal_all(Signal::STOP));
        clients.tell(&FromShim::Pong {});
    }

    pub(super) fn held_for(&self) -> Option<Duration> {
        let until = self.record.held_until_boottime_ms?;
        Some(Duration::from_millis(until.saturating_sub(boottime_ms())))
    }

    pub(super) fn release_when_due(&mut self) {
        if self.held_for().is_some_and(|rest| rest.is_zero()) {
            self.release();
        }
    }

    /// Lets go of what is held.
    pub(super) fn release(&mut self) {
        if self.record.held_until_boottime_ms.take().is_some() {
            self.signal_all(Signal::CONT);
            // If it cannot be written, an adopting shim lets go once more.
            let _ = write_json(&self.place.attempt(), &self.record);
        }
    }

    fn signal_all(&self, signal: Signal) {
        for process in self.tree.members() {
            process.signal(signal);
        }
    }
}
