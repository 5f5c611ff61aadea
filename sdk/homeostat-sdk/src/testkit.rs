//! A plugin's logic under plain `cargo test`: no Wasm, no daemon.
//!
//! Invariant: everything goes through the same `Instance` and `decide` that
//! the component exports, and every session can be kept as a recording.
//!
//! ```
//! # use homeostat_sdk::{Detector, Error, Frame, NoConfig, Report};
//! # struct Mine;
//! # impl Detector for Mine {
//! #     type Config = NoConfig;
//! #     fn configure(_: NoConfig) -> Result<Self, Error> { Ok(Self) }
//! #     fn reads(&self) -> Vec<String> { vec![] }
//! #     fn observe(&mut self, _: &Frame<'_>) -> Report { Report::default() }
//! # }
//! use homeostat_sdk::testkit::{Session, frame, series};
//!
//! let up = series("homeostat.probe.up").on("workload:digits").label("probe", "ready");
//! let mut session = Session::<Mine>::new("").bind([up]);
//! let report = session.observe(frame(5_000).row([0.0]).mark("workload:digits", "workload.started"));
//! assert!(report.findings.is_empty());
//! ```

mod golden;
mod make;
mod session;

pub use golden::{detector, golden, healer, resumable};
pub use make::{FrameMaker, IncidentMaker, IntoConfig, SeriesMaker, frame, incident, series};
pub use session::{Session, decide, decide_or_refuse, refusal};
