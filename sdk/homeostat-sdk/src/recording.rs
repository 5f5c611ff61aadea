//! What came in and what was answered, as JSON lines: `sdk/RECORDING.md`.
//!
//! Invariant: the same file replays against the native type and against the
//! real component, by the same walk over its steps.

mod captured;
mod difference;
mod play;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::frame::RawFrame;
use crate::heal::{Decision, Incident};
use crate::types::{Report, Series};

pub use difference::difference;
pub use play::Subject;

/// The version that this crate writes and reads.
pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub homeostat_recording: u32,
    /// Name of the plugin it was made with; empty when a box made it of what it
    /// read, for any plugin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plugin: String,
    /// Name of the box that made it.
    #[serde(rename = "box", default, skip_serializing_if = "String::is_empty")]
    pub box_name: String,
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
    /// Another answer than the one written down, both as JSON, and what of it
    /// is another.
    Differs {
        line: usize,
        wanted: String,
        found: String,
        difference: String,
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
            Self::Differs { line, difference, .. } => {
                write!(f, "line {line} differs\n{difference}")
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
mod tests;
