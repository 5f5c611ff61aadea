//! One plugin over several calls, written down as it goes.

use super::make::{FrameMaker, IntoConfig};
use crate::detector::{Detector, Instance, Resumable};
use crate::heal::{Decision, Incident};
use crate::healer::Healer;
use crate::recording::{Header, Recording, Step, VERSION};
use crate::types::{Error, Report, Series};

/// A configured detector. Mistakes of the test itself panic.
pub struct Session<D> {
    instance: Instance<D>,
    recording: Recording,
    series: Vec<Series>,
    seq: u64,
}

impl<D: Detector> Session<D> {
    pub fn new(config: impl IntoConfig) -> Self {
        let config = config.into_config();
        let mut instance = Instance::empty();
        if let Err(error) = instance.configure(&text_of(&config)) {
            panic!("the detector refused its configuration: {error}");
        }
        let header = Header {
            homeostat_recording: VERSION,
            plugin: String::new(),
            box_name: String::new(),
            about: String::new(),
            config,
            series: Vec::new(),
        };
        Self {
            instance,
            recording: Recording { header, steps: Vec::new() },
            series: Vec::new(),
            seq: 0,
        }
    }

    /// Binds the series, in column order.
    pub fn bind<S: Into<Series>>(mut self, series: impl IntoIterator<Item = S>) -> Self {
        self.rebind(series);
        self
    }

    /// The set of series changes under way.
    pub fn rebind<S: Into<Series>>(&mut self, series: impl IntoIterator<Item = S>) {
        self.series = series.into_iter().map(Into::into).collect();
        if let Err(error) = self.instance.bind(self.series.clone()) {
            panic!("the detector refused its series: {error}");
        }
        if self.seq == 0 && self.recording.header.series.is_empty() {
            self.recording.header.series.clone_from(&self.series);
        } else {
            self.recording.steps.push(Step::Bind(self.series.clone()));
        }
    }

    pub fn observe(&mut self, frame: FrameMaker) -> Report {
        self.seq += 1;
        let frame = frame.numbered(self.seq);
        let cells = frame.rows.len() * self.series.len();
        assert_eq!(frame.values.len(), cells, "a row has one value per bound series");
        let report = self.instance.observe(&frame);
        self.recording.steps.push(Step::Frame(frame));
        self.recording.steps.push(Step::Report(report.clone()));
        report
    }

    /// The detector itself.
    pub fn detector(&self) -> &D {
        self.instance.detector().expect("`new` configured it")
    }

    /// Everything so far, under the plugin's name and a word on what it shows.
    pub fn recording(&self, plugin: &str, about: &str) -> Recording {
        let mut recording = self.recording.clone();
        plugin.clone_into(&mut recording.header.plugin);
        about.clone_into(&mut recording.header.about);
        recording
    }
}

impl<D: Resumable> Session<D> {
    /// What a restart does: checkpoint, fresh instance, restore, bind.
    pub fn resume(&mut self) {
        let mut fresh = Instance::empty();
        resume(&mut fresh, &self.instance, &self.recording.header.config, &self.series)
            .unwrap_or_else(|why| panic!("the detector did not resume: {why}"));
        self.instance = fresh;
        self.recording.steps.push(Step::Resume {});
    }
}

/// What a plugin that refuses this configuration says.
pub fn refusal<D: Detector>(config: impl IntoConfig) -> Error {
    match Instance::<D>::empty().configure(&text_of(&config.into_config())) {
        Err(error) => error,
        Ok(_) => panic!("the detector took this configuration"),
    }
}

/// One decision of a healer. A refused configuration panics.
pub fn decide<H: Healer>(config: impl IntoConfig, incident: impl Into<Incident>) -> Decision {
    match decide_or_refuse::<H>(config, &incident.into()) {
        Ok(decision) => decision,
        Err(error) => panic!("the healer refused its configuration: {error}"),
    }
}

/// As [`decide`], with the refusal of a configuration as a value.
pub fn decide_or_refuse<H: Healer>(
    config: impl IntoConfig,
    incident: &Incident,
) -> Result<Decision, Error> {
    crate::healer::decide::<H>(&text_of(&config.into_config()), incident)
}

pub(super) fn resume<D: Resumable>(
    fresh: &mut Instance<D>,
    old: &Instance<D>,
    config: &serde_json::Value,
    series: &[Series],
) -> Result<(), String> {
    let state = old.save();
    fresh.configure(&text_of(config)).map_err(|error| error.to_string())?;
    fresh.restore(&state)?;
    fresh.bind(series.to_vec()).map_err(|error| error.to_string())
}

pub(super) fn text_of(config: &serde_json::Value) -> String {
    if config.is_null() { String::new() } else { config.to_string() }
}
