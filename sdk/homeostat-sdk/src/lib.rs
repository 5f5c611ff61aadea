//! What the author of a Homeostat plugin imports.
//!
//! A detector is a struct, an `impl` and one macro:
//!
//! ```
//! use homeostat_sdk::{Detector, Error, Finding, Frame, NoConfig, Report};
//!
//! struct TooHot;
//!
//! impl Detector for TooHot {
//!     type Config = NoConfig;
//!
//!     fn configure(_: NoConfig) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn reads(&self) -> Vec<String> {
//!         vec!["hw.temperature".into()]
//!     }
//!
//!     fn observe(&mut self, frame: &Frame<'_>) -> Report {
//!         let mut report = Report::default();
//!         for (column, series) in frame.series().iter().enumerate() {
//!             match frame.latest(column) {
//!                 Some((_, value)) if value > 90.0 => report
//!                     .findings
//!                     .push(Finding::new("temperature.high", &series.target, "above 90 °C")),
//!                 Some(_) => {}
//!                 None => report.unjudged.push(series.target.clone()),
//!             }
//!         }
//!         report
//!     }
//! }
//!
//! homeostat_sdk::detector!(TooHot);
//!
//! // A native test of it, three lines long.
//! use homeostat_sdk::testkit::{Session, frame, series};
//! let mut session = Session::<TooHot>::new("").bind([series("hw.temperature").on("box")]);
//! let report = session.observe(frame(1_000).row([95.0]));
//! assert_eq!(report.findings[0].kind, "temperature.high");
//! ```
//!
//! There is no clock, no randomness, no file and no network in here: a plugin
//! sees what it is handed, so a recording replays exactly.

#[doc(hidden)]
pub mod bindings;
mod detector;
#[doc(hidden)]
pub mod export;
mod frame;
mod heal;
mod healer;
pub mod latch;
pub mod level;
pub mod log;
#[cfg(not(target_arch = "wasm32"))]
pub mod recording;
pub mod sight;
#[cfg(not(target_arch = "wasm32"))]
pub mod testkit;
pub mod text;
mod types;

pub use detector::{Detector, NoConfig, Resumable};
pub use frame::{Event, Frame, RawFrame, Row};
pub use heal::{Attempt, Decision, Incident, Node, Pause, Proposal, Remedy};
pub use healer::Healer;
pub use types::{
    Attrs, CRITICAL, ERROR, Error, FINDINGS_MAX, Finding, Instant, Line, Mark, NOTE, Report,
    Series, Value, WARNING, attr,
};
