//! What came in and what was answered, as JSON lines: `sdk/RECORDING.md`.
//!
//! Invariant: the same file replays against the native type and against the
//! real component, by the same walk over its steps.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::frame::RawFrame;
use crate::heal::{Decision, Incident};
use crate::types::{Report, Series};

/// The version that this crate writes and reads.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub homeostat_recording: u32,
    /// Name of the plugin it was made with.
    pub plugin: String,
    /// What the story is, for a reader.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub config: serde_json::Value,
    /// Bound before the first step; empty for a healer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Series>,
}

/// One line after the header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The set of series changes.
    Bind(Vec<Series>),
    Frame(RawFrame),
    /// What the frame before is expected to bring.
    Report(Report),
    /// Checkpoint, fresh instance, checkpoint restored, series bound.
    Resume {},
    Incident(Incident),
    /// What the incident before is expected to bring.
    Decision(Decision),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    pub header: Header,
    pub steps: Vec<Step>,
}

/// What a recording can be played to: a native type, or a component.
pub trait Subject {
    fn configure(&mut self, config: &str) -> Result<(), String>;
    fn bind(&mut self, series: &[Series]) -> Result<(), String>;
    fn observe(&mut self, frame: &RawFrame) -> Result<Report, String>;
    fn resume(&mut self, series: &[Series]) -> Result<(), String>;
    fn decide(&mut self, incident: &Incident) -> Result<Decision, String>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordingError {
    Read {
        path: String,
        why: String,
    },
    /// Not a recording, or a line that is no step.
    Malformed {
        line: usize,
        why: String,
    },
    Version {
        found: u32,
    },
    /// The subject refused, failed or trapped at that line.
    Failed {
        line: usize,
        why: String,
    },
    /// Another answer than the one written down, both as JSON.
    Differs {
        line: usize,
        wanted: String,
        found: String,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, why } => write!(f, "recording {path}: {why}"),
            Self::Malformed { line, why } => write!(f, "line {line} is no recording's: {why}"),
            Self::Version { found } => write!(
                f,
                "wanted a recording of version {VERSION}, found {found}; record it again, \
                 or use the tool of its version"
            ),
            Self::Failed { line, why } => write!(f, "line {line}: {why}"),
            Self::Differs { line, wanted, found } => {
                write!(f, "line {line} differs\n  wanted {wanted}\n  found  {found}")
            }
        }
    }
}

impl std::error::Error for RecordingError {}

impl Recording {
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let text = std::fs::read_to_string(path).map_err(|error| RecordingError::Read {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        Self::parse(&text)
    }

    pub fn parse(text: &str) -> Result<Self, RecordingError> {
        let mut lines = text.lines().zip(1..).filter(|(text, _)| !text.trim().is_empty());
        let malformed = |line| {
            move |why: serde_json::Error| RecordingError::Malformed { line, why: why.to_string() }
        };
        let (first, at) = lines.next().ok_or(RecordingError::Malformed {
            line: 1,
            why: "wanted a header, found nothing".into(),
        })?;
        #[derive(Deserialize)]
        struct Versioned {
            homeostat_recording: u32,
        }
        // The version first: a later header may have another shape.
        let versioned: Versioned = serde_json::from_str(first).map_err(malformed(at))?;
        if versioned.homeostat_recording != VERSION {
            return Err(RecordingError::Version { found: versioned.homeostat_recording });
        }
        let header = serde_json::from_str(first).map_err(malformed(at))?;
        let steps = lines
            .map(|(text, line)| serde_json::from_str(text).map_err(malformed(line)))
            .collect::<Result<_, _>>()?;
        Ok(Self { header, steps })
    }

    /// The recording as it is stored, one JSON value per line.
    pub fn to_text(&self) -> String {
        let json = |value: &dyn erased::Json| value.json() + "\n";
        std::iter::once(json(&self.header)).chain(self.steps.iter().map(|it| json(it))).collect()
    }

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
        use erased::Json;
        if wanted.json() != found.json() {
            self.differences.push(RecordingError::Differs {
                line,
                wanted: wanted.json(),
                found: found.json(),
            });
        }
    }
}

mod erased {
    /// Anything of a recording, as one line.
    pub trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("a recording holds nothing that JSON cannot")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Finding;

    /// Says that something is wrong whenever a number is above 1.
    #[derive(Default)]
    struct Loud {
        resumed: u32,
    }

    impl Subject for Loud {
        fn configure(&mut self, config: &str) -> Result<(), String> {
            if config == "{\"deaf\":true}" { Err("deaf".into()) } else { Ok(()) }
        }
        fn bind(&mut self, _: &[Series]) -> Result<(), String> {
            Ok(())
        }
        fn observe(&mut self, frame: &RawFrame) -> Result<Report, String> {
            let loud = frame.values.iter().any(|value| *value > 1.0);
            let findings = loud.then(|| Finding::new("loud", "box", "loud")).into_iter().collect();
            Ok(Report { findings, unjudged: vec![] })
        }
        fn resume(&mut self, _: &[Series]) -> Result<(), String> {
            self.resumed += 1;
            Ok(())
        }
        fn decide(&mut self, _: &Incident) -> Result<Decision, String> {
            Err("no healer".into())
        }
    }

    const STORY: &str = r#"{"homeostat_recording":1,"plugin":"loud","config":{}}
{"frame":{"seq":1,"now":{"age_ms":1000,"boot":1},"rows":[1000],"values":[0.5]}}
{"report":{"findings":[],"unjudged":[]}}
{"resume":{}}
{"frame":{"seq":2,"now":{"age_ms":2000,"boot":1},"rows":[2000],"values":[2.5]}}
"#;

    #[test]
    fn a_replay_fills_in_the_answers_that_were_not_written_down() {
        let mut loud = Loud::default();
        let played = Recording::parse(STORY).unwrap().replay(&mut loud).unwrap();
        assert_eq!(loud.resumed, 1);
        assert!(matches!(played.steps.last(), Some(Step::Report(it)) if it.findings.len() == 1));
        assert_eq!(Recording::parse(&played.to_text()).unwrap(), played);
        assert_eq!(played.replay(&mut loud).unwrap(), played);
    }

    #[test]
    fn another_answer_is_shown_beside_the_one_written_down() {
        let story = STORY.replace("0.5", "1.5");
        let error = Recording::parse(&story).unwrap().replay(&mut Loud::default()).unwrap_err();
        let RecordingError::Differs { line, wanted, found } = error else { panic!("{error}") };
        assert_eq!(line, 3);
        assert!(found.contains("loud") && !wanted.contains("loud"));
    }

    #[test]
    fn what_is_no_recording_is_named_with_its_line() {
        for (text, word) in [
            ("", "line 1"),
            ("{}", "homeostat_recording"),
            ("{\"homeostat_recording\":2}", "version 1, found 2"),
            (&STORY.replace("\"resume\"", "\"sleep\""), "line 4"),
        ] {
            let error = Recording::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        for (story, word) in [
            (STORY.replace("\"config\":{}", "\"config\":{\"deaf\":true}"), "line 1: deaf"),
            (
                STORY.replace("{\"resume\":{}}", "{\"report\":{\"findings\":[],\"unjudged\":[]}}"),
                "line 4: an answer that nothing asked for",
            ),
        ] {
            let error = Recording::parse(&story).unwrap().replay(&mut Loud::default()).unwrap_err();
            assert_eq!(error.to_string(), word);
        }
    }
}
