//! The trait of a detector, and the instance that the daemon talks to.
//!
//! Invariant: a call out of order (`observe` before `configure`) is a trap,
//! never a made-up answer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::frame::{Frame, RawFrame};
use crate::types::{Error, Report, Series};

/// Says what is wrong now. It lives across calls and keeps what it learnt.
pub trait Detector: Sized + 'static {
    /// Read from the JSON under `config` of the plugin's entry in the box's
    /// file; what does not parse never reaches `configure`. A detector without
    /// configuration says [`NoConfig`].
    type Config: DeserializeOwned;

    fn configure(config: Self::Config) -> Result<Self, Error>;

    /// Selectors of the series it wants: a name, or the beginning of one and
    /// `*` (`homeostat.probe.*`).
    fn reads(&self) -> Vec<String>;

    /// The series it gets, in column order. Called again when they change:
    /// keep state by name, target and labels, and look columns up anew.
    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        let _ = series;
        Ok(())
    }

    /// All that is wrong after this frame, and what could not be judged.
    fn observe(&mut self, frame: &Frame<'_>) -> Report;
}

/// A detector that goes on where it was after a restart or a trap.
pub trait Resumable: Detector {
    /// Stored as JSON. A newer version of the plugin reads what an older one
    /// wrote: give new fields `#[serde(default)]`.
    type State: Serialize + DeserializeOwned;

    fn save(&self) -> Self::State;

    /// Called after `configure`, before `bind`. An error means: start without.
    fn restore(&mut self, state: Self::State) -> Result<(), String>;
}

/// For a plugin that takes no configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Reads a configuration; nothing at all is read as `{}`.
pub(crate) fn parse<C: DeserializeOwned>(config: &str) -> Result<C, Error> {
    let text = if config.trim().is_empty() { "{}" } else { config };
    serde_json::from_str(text).map_err(|error| Error::new("config.parse", error.to_string()))
}

/// One detector between the contract's calls.
#[derive(Debug)]
pub struct Instance<D> {
    detector: Option<D>,
    series: Vec<Series>,
}

impl<D> Instance<D> {
    pub const fn empty() -> Self {
        Self { detector: None, series: Vec::new() }
    }
}

impl<D: Detector> Instance<D> {
    pub fn configure(&mut self, config: &str) -> Result<Vec<String>, Error> {
        crate::log::log_panics();
        let detector = self.detector.insert(D::configure(parse(config)?)?);
        Ok(detector.reads())
    }

    pub fn bind(&mut self, series: Vec<Series>) -> Result<(), Error> {
        self.series = series;
        let detector = self.detector.as_mut().expect("`configure` comes before `bind`");
        detector.bind(&self.series)
    }

    pub fn observe(&mut self, frame: &RawFrame) -> Report {
        let detector = self.detector.as_mut().expect("`configure` comes before `observe`");
        detector.observe(&Frame::new(&self.series, frame))
    }

    /// The detector itself, once configured.
    pub fn detector(&self) -> Option<&D> {
        self.detector.as_ref()
    }
}

impl<D: Resumable> Instance<D> {
    pub fn save(&self) -> Vec<u8> {
        let detector = self.detector.as_ref().expect("`configure` comes before `save`");
        serde_json::to_vec(&detector.save()).expect("a checkpoint serialises to JSON")
    }

    pub fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        let detector = self.detector.as_mut().expect("`configure` comes before `restore`");
        let state = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        detector.restore(state)
    }
}
