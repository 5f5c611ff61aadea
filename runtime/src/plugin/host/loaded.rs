//! A plugin that was verified and tested.

use super::super::error::{Cause, PluginError};
use super::super::package::{Manifest, World};
use super::super::{detector, healer};
use crate::config::PluginConfig;

/// A plugin that may be started, again and again.
#[derive(Clone)]
pub struct Loaded {
    pub(super) config: PluginConfig,
    pub(super) manifest: Manifest,
    pub(super) world: World,
    pub(super) pre: Pre,
    pub(super) origin: CodeOrigin,
}

#[derive(Clone)]
pub(super) enum Pre {
    Detector(detector::Pre),
    Healer(healer::Pre),
}

/// Where its native code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeOrigin {
    Compiled,
    /// The sealed cache.
    Cached,
}

impl Loaded {
    pub fn config(&self) -> &PluginConfig {
        &self.config
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The same, to be started under another name: what it keeps and says is
    /// apart from what the plugin itself does.
    pub fn under(mut self, name: &str) -> Self {
        name.clone_into(&mut self.config.name);
        self
    }

    pub fn world(&self) -> World {
        self.world
    }

    pub fn origin(&self) -> CodeOrigin {
        self.origin
    }

    pub fn is_healer(&self) -> bool {
        self.world == World::Healer
    }

    pub(super) fn detector(&self) -> Result<&detector::Pre, PluginError> {
        match &self.pre {
            Pre::Detector(pre) => Ok(pre),
            Pre::Healer(_) => Err(self.error(self.wrong_role("a detector"))),
        }
    }

    pub(super) fn healer(&self) -> Result<&healer::Pre, PluginError> {
        match &self.pre {
            Pre::Healer(pre) => Ok(pre),
            Pre::Detector(_) => Err(self.error(self.wrong_role("a healer"))),
        }
    }

    pub(super) fn error(&self, cause: Cause) -> PluginError {
        PluginError::new(&format!("{} {}", self.config.name, self.manifest.version), cause)
    }

    fn wrong_role(&self, wanted: &'static str) -> Cause {
        Cause::Role { wanted, found: self.world }
    }
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("name", &self.manifest.name)
            .field("version", &self.manifest.version)
            .field("world", &self.world)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}
