//! Why a plugin does not run.

use super::compile::CompileError;
use super::fault::Fault;
use super::package::{PackageError, World};

/// Names the plugin, and its version where that is known.
#[derive(Debug, thiserror::Error)]
#[error("plugin {plugin}: {cause}")]
pub struct PluginError {
    pub plugin: String,
    pub cause: Cause,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(
        "it says it needs {wanted} bytes of memory, {given} are given; raise `memory_max_bytes` \
         (at most 64 MiB), or take a smaller plugin"
    )]
    Memory { wanted: u64, given: u64 },
    #[error(
        "it imports {found}; wanted nothing but {allowed}; \
         build it for wasm32-unknown-unknown and without WASI"
    )]
    Imports { found: String, allowed: String },
    #[error(
        "its manifest says world {world}, which exports {wanted}; found {found}; \
         sign it under the world that it was built for"
    )]
    World { world: World, wanted: String, found: String },
    #[error("it does not fit the contract: {why}; build it with the SDK of this runtime")]
    Link { why: String },
    #[error("the self-test failed: {0}; build it with the SDK of this runtime")]
    SelfTest(#[from] Fault),
    #[error("the native code does not load: {why}; reinstall homeostat-compile")]
    Native { why: String },
    #[error("wanted {wanted}, it is of world {found}")]
    Role { wanted: &'static str, found: World },
    #[error("no thread for it: {0}")]
    Thread(std::io::Error),
}

impl PluginError {
    pub(super) fn new(plugin: &str, cause: Cause) -> Self {
        Self { plugin: plugin.to_owned(), cause }
    }
}
