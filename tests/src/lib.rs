//! What the stories in `scenarios/` stand on: a real daemon with real plugins
//! and real model servers, in a folder of its own, on ports of its own.
//!
//! Invariant: nothing sleeps and hopes. A story waits for what the box shows
//! ([`wait`]), and says what it saw instead when the deadline comes.

pub mod broker;
pub mod client;
pub mod daemon;
pub mod events;
pub mod http;
pub mod journal;
pub mod link;
pub mod load;
pub mod notify;
pub mod plan;
pub mod port;
pub mod process;
pub mod program;
pub mod repackage;
pub mod server;
pub mod settings;
pub mod skip;
pub mod testbox;
pub mod user;
pub mod wait;

pub use plan::Plan;
pub use testbox::{PATIENCE, TestBox};
