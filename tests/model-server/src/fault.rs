//! What can be made to go wrong in the model server, and the file that makes it
//! go wrong again after every start.
//!
//! A fault is one word on the injector's command line and one small JSON object
//! on the control socket; both are this enum.

use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The process aborts (SIGABRT).
    Crash,
    /// The process exits by itself.
    Exit {
        #[arg(long, default_value_t = 1)]
        code: u8,
    },
    /// The worker stops; health goes on answering 200.
    Hang,
    /// The worker stops and SIGTERM no longer ends the process.
    HangIgnoringSigterm,
    /// Memory grows, and every page of it is touched.
    Leak {
        #[arg(long, default_value_t = 16)]
        mb_per_s: u32,
    },
    /// The worker takes this much longer over each request.
    Slow {
        #[arg(long)]
        ms: u64,
    },
    /// The worker answers in time, in the right shape, and wrongly: the classes
    /// are in reverse order.
    Wrong,
    /// One line on standard error, and nothing else happens.
    ErrorLine {
        #[arg(long)]
        text: String,
    },
    /// The server says that it is not ready, and serves all the same.
    NotReady,
    /// All of the above that can be undone is undone.
    Heal,
}

impl Fault {
    /// The word that names it in records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Exit { .. } => "exit",
            Self::Hang => "hang",
            Self::HangIgnoringSigterm => "hang_ignoring_sigterm",
            Self::Leak { .. } => "leak",
            Self::Slow { .. } => "slow",
            Self::Wrong => "wrong",
            Self::ErrorLine { .. } => "error_line",
            Self::NotReady => "not_ready",
            Self::Heal => "heal",
        }
    }

    /// Whether nobody is left to answer once it is applied.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Crash | Self::Exit { .. })
    }
}

/// `--fault-file`: read at start, so while it lies there the fault comes back
/// after every restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFile {
    /// Counted from the moment the process starts.
    pub after_ms: u64,
    pub fault: Fault,
}

#[derive(Debug, thiserror::Error)]
pub enum FaultFileError {
    #[error("cannot read the fault file {}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("the fault file {} is not {{\"after_ms\":N,\"fault\":{{\"kind\":…}}}}: {error}", path.display())]
    Parse { path: PathBuf, error: serde_json::Error },
}

impl FaultFile {
    /// `None` when there is no such file: then nothing goes wrong.
    pub fn read(path: &Path) -> Result<Option<Self>, FaultFileError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FaultFileError::Read { path: path.into(), error }),
        };
        let parsed = serde_json::from_slice(&text);
        parsed.map(Some).map_err(|error| FaultFileError::Parse { path: path.into(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_small_object() {
        for (text, fault) in [
            (r#"{"kind":"crash"}"#, Fault::Crash),
            (r#"{"kind":"exit","code":7}"#, Fault::Exit { code: 7 }),
            (r#"{"kind":"hang_ignoring_sigterm"}"#, Fault::HangIgnoringSigterm),
            (r#"{"kind":"leak","mb_per_s":64}"#, Fault::Leak { mb_per_s: 64 }),
            (r#"{"kind":"slow","ms":250}"#, Fault::Slow { ms: 250 }),
            (r#"{"kind":"heal"}"#, Fault::Heal),
        ] {
            assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), fault);
            assert_eq!(serde_json::to_string(&fault).unwrap(), text);
            assert!(text.contains(&format!("\"{}\"", fault.name())));
        }
    }

    #[test]
    fn a_missing_fault_file_is_no_fault_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fault.json");
        assert_eq!(FaultFile::read(&path).unwrap(), None);

        std::fs::write(&path, r#"{"after_ms":40,"fault":{"kind":"hang"}}"#).unwrap();
        let expected = FaultFile { after_ms: 40, fault: Fault::Hang };
        assert_eq!(FaultFile::read(&path).unwrap(), Some(expected));

        std::fs::write(&path, r#"{"after_ms":40,"fault":{"kind":"hung"}}"#).unwrap();
        let error = FaultFile::read(&path).unwrap_err().to_string();
        assert!(error.contains("hung") && error.contains("fault.json"), "{error}");
    }
}
