//! The trait of a healer.
//!
//! Invariant: a healer gets a fresh instance for each decision, so what it
//! answers depends on its configuration and the incident alone.

use serde::de::DeserializeOwned;

use crate::heal::{Decision, Incident};
use crate::types::Error;

/// Decides what to do about an incident. It proposes and never touches: the
/// guard permits or refuses, and the daemon's own hands act.
pub trait Healer: Sized + 'static {
    /// As [`crate::Detector::Config`].
    type Config: DeserializeOwned;

    fn configure(config: Self::Config) -> Result<Self, Error>;

    fn decide(&self, incident: &Incident) -> Decision;
}

/// One whole decision, from the text of a configuration.
pub fn decide<H: Healer>(config: &str, incident: &Incident) -> Result<Decision, Error> {
    crate::log::log_panics();
    let healer = H::configure(crate::detector::parse(config)?)?;
    Ok(healer.decide(incident))
}
