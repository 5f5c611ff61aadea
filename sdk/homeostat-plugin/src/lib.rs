//! The plugin author's tool: from a crate to a signed file that a box takes.
//!
//! Invariant: what is signed was built by this very run, imports nothing but
//! the contract, and answered its golden recordings in the real engine.
//!
//! ```text
//! plugin.toml ─▶ project        crate ─▶ wasm (cargo, encoder) ─▶ contract (checked)
//!                                 golden/*.jsonl ─▶ player ─▶ pack ─▶ NAME-VERSION.plugin
//! ```

pub mod bench;
pub mod contract;
pub mod dev;
pub mod fuzz;
pub mod key;
pub mod pack;
pub mod player;
pub mod project;
pub mod replay;
pub mod scaffold;
pub mod wasm;
