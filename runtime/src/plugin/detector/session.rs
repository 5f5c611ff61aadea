//! A detector without a thread: for replays and benchmarks, where the caller
//! waits for each answer.
//!
//! Invariant: the calls are those of the daemon's own thread, judged and
//! bounded alike; only supervision is missing.

use super::super::answer::Known;
use super::super::fault::Fault;
use super::live::Live;
use crate::config::PluginConfig;
use crate::model::{Frame, Report, Series};

/// One instance. After a [`Fault`] it is of no more use: drop it.
pub struct Session {
    live: Live,
    known: Known,
}

impl Session {
    pub(in super::super) fn new(live: Live, config: &PluginConfig) -> Self {
        Self { live, known: Known::new(config) }
    }

    /// Returns the selectors of the series that it wants.
    pub fn configure(&mut self, config: &str) -> Result<Vec<String>, Fault> {
        self.live.configure(config)
    }

    /// The inner error is the plugin's own word that it cannot use this state.
    pub fn restore(&mut self, state: &[u8]) -> Result<Result<(), String>, Fault> {
        self.live.restore(state)
    }

    pub fn bind(&mut self, series: Vec<Series>) -> Result<(), Fault> {
        self.live.bind(series, &mut self.known)
    }

    /// `frame` has as many columns as there are bound series.
    pub fn observe(&mut self, frame: Frame) -> Result<Report, Fault> {
        self.live.observe(frame, &mut self.known)
    }

    /// What it executed so far, in wasmtime's units (one for most instructions):
    /// the same on every machine. None where the host is not metered.
    pub fn fuel_used(&self) -> Option<u64> {
        self.live.sandbox().fuel_used()
    }

    /// Linear memory that it holds, in bytes: it never shrinks.
    pub fn memory_bytes(&self) -> usize {
        self.live.sandbox().memory_held()
    }

    /// Its state, in world `detector-resumable`.
    pub fn save(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.live.save()
    }
}
