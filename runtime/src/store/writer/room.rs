//! The two bounds on room: the reserve, and the database's own ceiling.

use std::io;
use std::time::{Duration, Instant};

use super::{Limits, Writer};
use crate::heap;
use crate::store::archive::Archive;
use crate::store::database::{Database, Fault, environment};
use crate::store::recover::Backend;
use crate::store::retention;

/// Between two tries to take the reserve back.
const RESERVE_RETRY: Duration = Duration::from_secs(30);
const ONLY_WHAT_MUST: &str = ". Until then telemetry is not written";

impl Writer {
    /// Takes the reserve back when there is room for it again.
    pub fn look_after_room(&mut self) {
        if self.reserve.held() {
            return;
        }
        let due = self.state.reserve_tried.is_none_or(|tried| tried.elapsed() >= RESERVE_RETRY);
        if !due {
            return;
        }
        self.state.reserve_tried = Some(Instant::now());
        match self.reserve.take() {
            Ok(()) => self.shared.clear_condition("store.low-space"),
            Err(error) => self.low_space(&error.to_string()),
        }
    }

    pub(super) fn low_space(&self, found: &str) {
        let so = if self.reserve.given_up() { ONLY_WHAT_MUST } else { "" };
        let dir = self.place.dir().display();
        let text = format!("wanted room in reserve in {dir}, found: {found}; free some space{so}");
        self.shared.set_condition("store.low-space", text);
    }

    /// Copies what is kept into a new database once this one is too large.
    pub(super) fn shrink(&mut self) -> Result<(), Fault> {
        let bytes = match &*self.shared.backend() {
            Backend::Live(database) if database.bytes() > self.copy_at => database.bytes(),
            _ => return Ok(()),
        };
        let copied = self.copy(self.limits.budget());
        // Both databases were read or written whole.
        heap::give_back();
        match copied {
            Ok(now) => {
                // Not at once again where audit alone is too much.
                self.copy_at = self.limits.copy_at().max(now + self.limits.max_bytes / 8);
                if now > self.limits.copy_at() {
                    self.shared.set_condition("store.over-bound", over_bound(now, &self.limits));
                } else {
                    self.shared.clear_condition("store.over-bound");
                }
                Ok(())
            }
            Err(Fault::Environment { text, .. }) => {
                let _ = self.place.remove_next();
                self.copy_at = bytes + self.limits.max_bytes / 8;
                self.shared.set_condition(
                    "store.over-bound",
                    format!("wanted to copy the database to make it smaller, found: {text}"),
                );
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Puts a fresh copy of the database, less what is above `budget` bytes of
    /// records, in its place. Gives the size of its file.
    pub(super) fn copy(&self, budget: u64) -> Result<u64, Fault> {
        let io = |error: io::Error| environment(&error);
        self.place.remove_next().map_err(io)?;
        let stamps = &self.shared.stamps;
        let old = Archive::read(&self.place.db()).map_err(io)?;
        let old = old.ok_or_else(|| Fault::Damaged("its file is gone".into()))?;
        old.check(self.last).map_err(|found| Fault::Damaged(found.why))?;
        let new = Database::open(&self.place.next(), self.limits.cache_bytes)?;
        retention::copy_records(&old, &new, budget, stamps)?;
        drop(old);
        self.shared.forget_raw();
        // Records are this thread's alone. Checkpoints are not: who writes one
        // waits until the new database is in place.
        let mut backend = self.shared.backend_mut();
        let Backend::Live(old) = &*backend else { return Ok(0) };
        retention::copy_rest(old, &new, stamps)?;
        self.place.exchange().map_err(io)?;
        let bytes = new.bytes();
        let old = std::mem::replace(&mut *backend, Backend::Live(new));
        drop(backend);
        if let Backend::Live(old) = old {
            old.close();
        }
        self.place.remove_old().map_err(io)?;
        Ok(bytes)
    }
}

fn over_bound(bytes: u64, limits: &Limits) -> String {
    format!(
        "wanted the database below {} bytes, found {bytes} of audit records and open incidents, \
         which are never dropped; raise store.max_bytes",
        limits.copy_at()
    )
}
