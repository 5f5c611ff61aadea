//! Running plugins: from a signed file to a thread that answers, and no further.
//!
//! Invariant: whatever a plugin does, the daemon goes on: it costs the plugin
//! its instance, then a pause, then its place. It can say what is wrong and
//! what might help; nothing in here acts on the device.
//!
//! ```text
//! package ─▶ host (compile, cache, engine) ─▶ Loaded ─▶ Detector | Healer
//!                                                        question ─▶ sandbox ─▶ answer
//! ```

mod answer;
mod bindings;
mod cache;
pub mod compile;
mod detector;
mod engine;
mod error;
mod fault;
mod healer;
mod host;
mod log;
mod mailbox;
pub mod package;
mod question;
mod sandbox;
mod supervision;

use std::any::Any;

use tokio::sync::mpsc;

pub use self::answer::{
    ATTRS_MAX, CHECKPOINT_BYTES_MAX, FINDINGS_MAX, MESSAGE_BYTES_MAX, SELECTORS_MAX,
    TEXT_BYTES_MAX, UNJUDGED_MAX,
};
pub use self::bindings::IMPORTS;
pub use self::cache::CacheError;
pub use self::compile::CompileError;
pub use self::detector::{Detector, Session, Untaken, stop_all};
pub use self::engine::{EngineError, MEMORY_BYTES_MAX};
pub use self::error::{Cause, PluginError};
pub use self::fault::Fault;
pub use self::healer::{Healer, Once};
pub use self::host::{CodeOrigin, Host, HostError, Loaded, Running};
pub use self::mailbox::Busy;
pub use self::sandbox::Stats;
use crate::model::{AfterFault, Decision, IncidentId, Report};

/// Behind the name of a plugin that runs in shadow, beside the live one.
pub const SHADOW: &str = ".shadow";

/// One start of a plugin, counted up: what it says is told from what another
/// start of it said.
pub type Run = u64;

/// Where a plugin's thread speaks. It waits while that is full.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Said>,
    run: Run,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub run: Run,
    pub event: PluginEvent,
}

/// Nobody listens any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unheard;

impl Events {
    pub fn new(sender: mpsc::Sender<Said>, run: Run) -> Self {
        Self { sender, run }
    }

    fn say(&self, event: PluginEvent) -> Result<(), Unheard> {
        let said = Said { run: self.run, event };
        self.sender.blocking_send(said).map_err(|_| Unheard)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum PluginEvent {
    /// A fresh instance. A detector waits for its series: `bind`, then frames.
    Ready {
        plugin: String,
        selectors: Vec<String>,
    },
    Report {
        plugin: String,
        /// The frame's.
        seq: u64,
        report: Report,
    },
    Decision {
        plugin: String,
        incident: IncidentId,
        result: Result<Decision, String>,
    },
    /// A frame in hand, if there is one, gets no answer; a brief's failed
    /// `Decision` came before.
    Faulted {
        plugin: String,
        why: String,
        then: AfterFault,
    },
}

impl PluginEvent {
    /// Whose it is.
    pub fn plugin(&self) -> &str {
        match self {
            Self::Ready { plugin, .. }
            | Self::Report { plugin, .. }
            | Self::Decision { plugin, .. }
            | Self::Faulted { plugin, .. } => plugin,
        }
    }
}

/// Where checkpoints are kept; the daemon gives the store's.
pub trait CheckpointStore: Send + Sync {
    fn load(&self, plugin: &str) -> Option<Vec<u8>>;
    fn save(&self, plugin: &str, state: &[u8]) -> Result<(), String>;
    fn clear(&self, plugin: &str) -> Result<(), String>;
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}
