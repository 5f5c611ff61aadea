//! What a component must be before it may become an instance.

use wasmtime::component::Component;

use super::super::bindings::{CHECKPOINT, DETECT, HEAL, IMPORTS};
use super::super::engine::MEMORY_BYTES_MAX;
use super::super::error::Cause;
use super::super::package::{Manifest, World};
use crate::config::PluginConfig;

pub(super) fn memory(config: &PluginConfig, manifest: &Manifest) -> Result<(), Cause> {
    let given = config.memory_max_bytes.min(MEMORY_BYTES_MAX);
    if manifest.limits.memory_bytes > given {
        return Err(Cause::Memory { wanted: manifest.limits.memory_bytes, given });
    }
    Ok(())
}

pub(super) fn imports(component: &Component) -> Result<(), Cause> {
    let ty = component.component_type();
    let foreign: Vec<_> = ty
        .imports(component.engine())
        .map(|(name, _)| name)
        .filter(|name| !IMPORTS.contains(name))
        .collect();
    if !foreign.is_empty() {
        return Err(Cause::Imports { found: foreign.join(", "), allowed: IMPORTS.join(", ") });
    }
    Ok(())
}

pub(super) fn exports(component: &Component, world: World) -> Result<(), Cause> {
    let ty = component.component_type();
    let found: Vec<_> = ty.exports(component.engine()).map(|(name, _)| name).collect();
    let wanted: &[&str] = match world {
        World::Detector => &[DETECT],
        World::DetectorResumable => &[DETECT, CHECKPOINT],
        World::Healer => &[HEAL],
    };
    if !wanted.iter().all(|name| found.contains(name)) {
        return Err(Cause::World {
            world,
            wanted: wanted.join(", "),
            found: match found.is_empty() {
                true => "nothing".into(),
                false => found.join(", "),
            },
        });
    }
    Ok(())
}
