//! What the contract's worlds look like in Rust, generated from wit/.
//!
//! Invariant: nothing here is exported from the room; the model's nouns are
//! converted in `question` and `answer`. One module serves both detector
//! worlds, since `detector-resumable` is `detector` and one export more: its
//! `checkpoint` is looked up only where the manifest says it is there.

pub(super) mod detector {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "detector-resumable",
    });
}

pub(super) mod healer {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "healer",
        with: {
            "homeostat:plugin/types@0.1.0": super::detector::homeostat::plugin::types,
            "homeostat:plugin/log@0.1.0": super::detector::homeostat::plugin::log,
        },
    });
}

pub(super) use detector::exports::homeostat::plugin::{checkpoint, detect};
pub(super) use detector::homeostat::plugin::{log, types};
pub(super) use healer::exports::homeostat::plugin::heal;

/// Exports of the worlds, by the names that a component carries.
pub(super) const DETECT: &str = "homeostat:plugin/detect@0.1.0";
pub(super) const CHECKPOINT: &str = "homeostat:plugin/checkpoint@0.1.0";
pub(super) const HEAL: &str = "homeostat:plugin/heal@0.1.0";

/// All that a plugin may import: the list is what it can touch.
pub const IMPORTS: &[&str] = &["homeostat:plugin/log@0.1.0", "homeostat:plugin/types@0.1.0"];
