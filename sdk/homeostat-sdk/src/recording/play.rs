//! A recording, played step by step.

use super::difference::difference;
use super::erased::Json as _;
use super::{Header, Recording, RecordingError, Step};
use crate::frame::RawFrame;
use crate::heal::{Decision, Incident};
use crate::types::{Report, Series};

/// What a recording can be played to: a native type, or a component.
pub trait Subject {
    /// Gives the selectors of the series that it wants; none of a healer.
    fn configure(&mut self, config: &str) -> Result<Vec<String>, String>;
    fn bind(&mut self, series: &[Series]) -> Result<(), String>;
    fn observe(&mut self, frame: &RawFrame) -> Result<Report, String>;
    fn resume(&mut self, series: &[Series]) -> Result<(), String>;
    fn decide(&mut self, incident: &Incident) -> Result<Decision, String>;
}

impl Recording {
    /// Plays every step and compares each answer that is written down. Gives
    /// back the recording with the answers that came, written down or not.
    pub fn replay(&self, subject: &mut dyn Subject) -> Result<Self, RecordingError> {
        let (played, differences) = self.play(subject)?;
        match differences.into_iter().next() {
            Some(first) => Err(first),
            None => Ok(played),
        }
    }

    /// As [`Self::replay`], with every difference instead of the first.
    pub fn play(
        &self,
        subject: &mut dyn Subject,
    ) -> Result<(Self, Vec<RecordingError>), RecordingError> {
        let mut player = Player {
            subject,
            series: self.header.series.clone(),
            answer: None,
            played: Vec::new(),
            differences: Vec::new(),
        };
        player.start(&self.header).map_err(|why| RecordingError::Failed { line: 1, why })?;
        for (step, line) in self.steps.iter().zip(2..) {
            player.step(step, line).map_err(|why| RecordingError::Failed { line, why })?;
        }
        let played = Self { header: self.header.clone(), steps: player.played };
        Ok((played, player.differences))
    }
}

struct Player<'a> {
    subject: &'a mut dyn Subject,
    series: Vec<Series>,
    /// What the step before brought.
    answer: Option<Step>,
    played: Vec<Step>,
    differences: Vec<RecordingError>,
}

impl Player<'_> {
    fn start(&mut self, header: &Header) -> Result<(), String> {
        let config = match &header.config {
            serde_json::Value::Null => String::new(),
            config => config.to_string(),
        };
        self.subject.configure(&config)?;
        if self.series.is_empty() { Ok(()) } else { self.subject.bind(&self.series) }
    }

    fn step(&mut self, step: &Step, line: usize) -> Result<(), String> {
        let answer = match step {
            Step::Report(_) | Step::Decision(_) => {
                let found = self.answer.take().ok_or("an answer that nothing asked for")?;
                self.compare(step, &found, line);
                return Ok(());
            }
            Step::Bind(series) => {
                self.series.clone_from(series);
                self.subject.bind(series)?;
                None
            }
            Step::Resume {} => {
                self.subject.resume(&self.series)?;
                None
            }
            Step::Frame(frame) => Some(Step::Report(self.subject.observe(frame)?)),
            Step::Incident(incident) => Some(Step::Decision(self.subject.decide(incident)?)),
        };
        self.played.push(step.clone());
        self.played.extend(answer.clone());
        self.answer = answer;
        Ok(())
    }

    /// Compares what would be stored: a float is equal when its shortest
    /// decimal is.
    fn compare(&mut self, wanted: &Step, found: &Step, line: usize) {
        if wanted.json() != found.json() {
            self.differences.push(RecordingError::Differs {
                line,
                wanted: wanted.json(),
                found: found.json(),
                difference: difference(wanted, found),
            });
        }
    }
}
