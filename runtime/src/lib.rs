//! Homeostat: a small daemon that hosts signed WebAssembly detectors and
//! healers, and keeps inference workloads alive and right. ARCHITECTURE.md
//! draws the house; each room below says what it is for.

pub mod action;
pub mod api;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod driver;
pub mod failpoint;
pub mod guard;
pub mod heap;
pub mod http;
pub mod incident;
pub mod model;
pub mod plugin;
pub mod program;
pub mod reconcile;
pub mod recording;
pub mod secret;
pub mod source;
pub mod store;
pub mod story;
pub mod trust;
pub mod workload;
