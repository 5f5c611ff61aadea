//! From the plugins that the file names to plugins that run: verify, compile,
//! self-test, start.
//!
//! Invariant: one bad plugin costs no other its place; each is either running
//! or has a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::config::PluginConfig;
use crate::plugin::{CheckpointStore, Events, Host, Loaded, PluginError, Running};

/// What became of one configured plugin.
#[derive(Debug)]
pub struct Outcome {
    pub name: String,
    pub result: Result<(Loaded, Running), PluginError>,
}

/// Loads and starts all of them, in the file's order, and tells of each as
/// soon as it is there, for as long as somebody wants to hear it. `floors` are the highest
/// sequences accepted so far; raising them to those of what runs now
/// (`Loaded::manifest`) is the caller's. Blocks while something is compiled.
pub fn start_all(
    host: &Host,
    plugins: &[PluginConfig],
    floors: &BTreeMap<String, u64>,
    checkpoints: &Arc<dyn CheckpointStore>,
    events: &Events,
    mut arrived: impl FnMut(Outcome) -> ControlFlow<()>,
) {
    for config in plugins {
        let floor = floors.get(&config.name).copied().unwrap_or(0);
        let result = host.load(config, floor).and_then(|loaded| {
            let running = host.start(&loaded, checkpoints.clone(), events.clone())?;
            Ok((loaded, running))
        });
        if arrived(Outcome { name: config.name.clone(), result }).is_break() {
            return;
        }
    }
    let needed: BTreeSet<_> =
        plugins.iter().map(|config| config.digest.to_ascii_lowercase()).collect();
    host.retain(&needed);
}
