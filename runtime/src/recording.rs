//! What came in, kept for a while, so that it can be played again: to the
//! plugin that judged it, or to one that is still to be written.
//!
//! ```text
//! driver ─▶ Tape (ring in memory) ─▶ Scribe ─▶ lines of a recording ─▶ whoever asks
//!                                                        └─▶ Shelf: one file per incident
//! ```
//!
//! Invariant: bounded in memory, in time and on the disk, and nobody waits for
//! it: what does not fit pushes out the oldest. What is written is the format of
//! `sdk/RECORDING.md`.

mod ring;
mod scribe;
mod shelf;
mod tape;

pub use ring::{Entry, Ring};
pub use scribe::{Scribe, Selection};
pub use shelf::{Shelf, ShelfError};
pub use tape::{Heard, Opened, Tape};
