//! The tool's verbs, for `main` to choose from.

pub mod args;
pub mod make;
pub mod play;
