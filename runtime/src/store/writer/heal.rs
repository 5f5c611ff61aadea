//! When a write fails: say why, wait, open anew.
//!
//! sled keeps its first error for good, so every fault ends in a reopening.

use std::time::{Duration, Instant};

use super::Writer;
use crate::store::database::Fault;
use crate::store::recover::{Backend, Look, load};
use crate::store::reserve::free_bytes;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Free bytes below which a full disk is not tried again.
const ROOM_MIN: u64 = 64 * 1024;

impl Writer {
    /// Says what is wrong, waits, and opens the database anew: sled keeps its
    /// first error for good. False once the store is closed and the last try failed.
    pub(super) fn heal(&mut self, fault: Fault) -> bool {
        self.publish(&fault);
        let full = fault.is_full();
        if self.shared.queue().closing {
            if std::mem::replace(&mut self.state.last_words, true) {
                return false;
            }
        } else if full && self.reserve.release() {
            self.low_space("the disk is full");
        } else {
            self.pause();
            if full && free_bytes(&self.place.reserve()).is_ok_and(|free| free < ROOM_MIN) {
                self.trouble = Some(fault);
                return true;
            }
        }
        let look = if matches!(fault, Fault::Damaged(_)) { Look::Thorough } else { Look::Raw };
        self.state.unsure |= !full && matches!(&*self.shared.backend(), Backend::Live(_));
        let reopened = self.reopen(look).and_then(|()| self.write_anew());
        self.trouble = reopened.and_then(|()| self.commit(&[])).err();
        true
    }

    /// After a sync that failed, the kernel may hold pages as clean that never
    /// reached the disk, and the next sync succeeds without them. Only what is
    /// written again is known to be there.
    fn write_anew(&mut self) -> Result<(), Fault> {
        if self.state.unsure {
            self.copy(u64::MAX)?;
            self.state.unsure = false;
        }
        Ok(())
    }

    fn reopen(&mut self, look: Look) -> Result<(), Fault> {
        self.shared.forget_raw();
        let mut backend = self.shared.backend_mut();
        if let Backend::Live(database) = std::mem::replace(&mut *backend, Backend::Absent) {
            database.close();
        }
        let loaded = load(&self.place, self.limits.cache_bytes, look)?;
        *backend = loaded.backend;
        drop(backend);
        self.last = loaded.last;
        self.run = loaded.run;
        self.shared.stamps.move_to(loaded.run);
        if let Some(gap) = loaded.gap {
            self.shared.set_condition("store.salvaged", gap.text());
            self.write_mark();
            let mut queue = self.shared.queue();
            // Told once, by the record that is already on its way or by this.
            if !queue.pending.iter().any(|pending| pending.tells_gap) {
                queue.owed.push_back(gap.owed());
            }
        }
        loaded.refused.map_or(Ok(()), Err)
    }

    pub fn publish(&self, fault: &Fault) {
        let waiting = self.shared.queue().pending.len();
        let text = format!(
            "wanted to write the journal in {}, found: {fault}; {}. {waiting} records wait in \
             memory and are written once it works",
            self.place.dir().display(),
            advice(fault),
        );
        self.shared.set_condition("store.failing", text.clone());
        self.shared.durable.send_modify(|durable| durable.failing = Some(text));
    }

    /// Sleeps, longer each time; closing wakes it.
    fn pause(&mut self) {
        let pause = self.state.pause.map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.state.pause = Some(pause);
        let deadline = Instant::now() + pause;
        let mut queue = self.shared.queue();
        while !queue.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.wake.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(|poison| poison.into_inner()).0;
        }
    }

    pub(super) fn give_up(&self) {
        let left = self.shared.queue().pending.len();
        if left > 0 {
            tracing::error!(records = left, "closed without writing: the disk still refuses");
        }
    }
}

fn advice(fault: &Fault) -> &'static str {
    use std::io::ErrorKind as K;
    match fault {
        Fault::Environment { kind: K::StorageFull | K::QuotaExceeded, .. } => {
            "free some space on that filesystem"
        }
        Fault::Environment { kind: K::ReadOnlyFilesystem, .. } => {
            "mount it for writing, and look in the kernel's log for why it is not"
        }
        Fault::Environment { kind: K::PermissionDenied, .. } => {
            "give the daemon's user the right to write there"
        }
        Fault::Environment { .. } => "look in the kernel's log for a failing disk",
        Fault::Busy => "stop the other process that has the database open",
        Fault::Damaged(_) => "what reads is being salvaged",
    }
}
