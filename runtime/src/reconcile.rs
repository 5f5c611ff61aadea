//! From the plugins that the box names to plugins that run: verify, compile,
//! self-test, start, exchange, go back.
//!
//! Invariant: one bad plugin costs no other its place; each is either running
//! or has a reason. What is to follow a plugin was an instance once already,
//! before that one is touched.
//!
//! ```text
//! [[plugin]] of the file ─┐
//!                         ├─▶ what is to run ─▶ Reconciler ─▶ Arrived ─▶ the driver
//! plugins/installed.json ─┘        ▲
//!                install, remove ──┘── shadow over, trial over, quarantined in it
//! ```

mod believed;
mod installed;
mod order;
mod reconciler;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::config::PluginConfig;

pub use installed::{Installed, InstalledError, SPARE};
pub use reconciler::{Arrived, Install, Reconciler, Role, Stage};

/// Names that were installed and are live, and of which the box's file says nothing
/// newer. What runs in shadow is awaited by nobody.
pub fn installed_names(state: &Path, file: &[PluginConfig]) -> Vec<String> {
    let (mut shelf, _) = installed::Shelf::open(state);
    shelf.follow(file);
    let live = shelf.places().iter().filter(|(_, place)| place.live.is_some());
    live.map(|(name, _)| name.clone()).collect()
}
