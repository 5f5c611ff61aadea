//! What plugins keep across restarts: one state each, bounded.
//!
//! A checkpoint becomes durable with the next commit; one that a power cut
//! takes is the one before it. Invariant: a state comes back whole or not at all.

use std::sync::Arc;

use super::StoreError;
use super::recover::Backend;
use super::shared::Shared;

/// Largest state that is kept, in bytes.
pub const STATE_MAX: usize = 256 * 1024;
const NAME_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct Checkpoints {
    shared: Arc<Shared>,
}

impl Checkpoints {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The last state of this plugin; none if it has none, or it no longer reads.
    pub fn get(&self, plugin: &str) -> Option<Vec<u8>> {
        let found = self.shared.read(|backend| match backend {
            Backend::Live(database) => database.checkpoint(plugin),
            Backend::ReadOnly(archive) => Ok(archive.checkpoint(plugin)),
            Backend::Absent => Ok(None),
        });
        found.unwrap_or_else(|fault| {
            tracing::warn!(plugin, "its checkpoint does not read: {fault}");
            None
        })
    }

    pub fn put(&self, plugin: &str, state: &[u8]) -> Result<(), StoreError> {
        if state.len() > STATE_MAX {
            return Err(StoreError::CheckpointTooLarge {
                plugin: plugin.to_owned(),
                bytes: state.len(),
            });
        }
        self.write(plugin, Some(state))
    }

    pub fn remove(&self, plugin: &str) -> Result<(), StoreError> {
        self.write(plugin, None)
    }

    fn write(&self, plugin: &str, state: Option<&[u8]>) -> Result<(), StoreError> {
        if plugin.is_empty() || plugin.len() > NAME_MAX || plugin.contains('\0') {
            return Err(StoreError::CheckpointName { plugin: plugin.to_owned() });
        }
        let refused = |why: String| StoreError::Checkpoint { plugin: plugin.to_owned(), why };
        let stamp = self.shared.stamps.next();
        let written = self.shared.read(|backend| match backend {
            Backend::Live(database) => database.put_checkpoint(plugin, state, stamp).map(|()| true),
            _ => Ok(false),
        });
        match written {
            Ok(true) => {}
            Ok(false) => return Err(refused("nothing can be written now".into())),
            Err(fault) => return Err(refused(fault.to_string())),
        }
        self.shared.queue().unsynced = true;
        self.shared.wake.notify_one();
        Ok(())
    }
}
