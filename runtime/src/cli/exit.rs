//! How a command ended, for the shell and for a person.
//!
//! Invariant: one table; `--help` prints it, so it is true.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Mistakes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Fine = 0,
    Refused = 1,
    Usage = 2,
    NoDaemon = 3,
    Ill = 4,
}

const TABLE: [(Exit, &str); 5] = [
    (Exit::Fine, "fine"),
    (Exit::Refused, "refused or failed"),
    (Exit::Usage, "a mistake in the usage or in the configuration"),
    (Exit::NoDaemon, "no daemon answers"),
    (Exit::Ill, "status: something is ill, degraded or stuck; doctor: something cannot be done"),
];

/// The table, for `--help`.
pub(super) fn help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (exit, meaning) in TABLE {
        text += &format!("  {}  {meaning}\n", exit as u8);
    }
    text
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Configuration(Mistakes),
    #[error("{0:#}")]
    Daemon(anyhow::Error),
    #[error(
        "wanted a daemon at {socket}, found none: {why}\n    is it running? `systemctl status homeostat`, or say --socket PATH"
    )]
    NoDaemon { socket: PathBuf, why: String },
    #[error(
        "wanted to connect to {socket}, found no permission\n    use sudo, or join the group of the socket (api.group of the configuration)"
    )]
    NotLetIn { socket: PathBuf },
    /// The daemon's own words.
    #[error("{0}")]
    Refused(String),
    #[error(
        "wanted an answer of this version, found another: {0}\n    are daemon and command of the same version? see `homeostat --version` and `homeostat status --json`"
    )]
    Foreign(String),
    #[error(
        "wanted {tool} beside homeostat or on the PATH, found none: {why}\n    it is for who writes plugins, and no box needs it: install it where you write them"
    )]
    NoTool { tool: &'static str, why: std::io::Error },
    #[error(
        "wanted to write the recording {path}, found: {why}\n    name a file that is not there yet, in a folder that can be written"
    )]
    Recording { path: PathBuf, why: std::io::Error },
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("cannot write the answer: {0}")]
    Output(std::io::Error),
}

impl Failure {
    pub fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_) | Self::File { .. } => Exit::Usage,
            Self::NoDaemon { .. } => Exit::NoDaemon,
            // Whoever reads us has seen enough: `homeostat events | head`.
            Self::Output(error) if is_broken_pipe(error) => Exit::Fine,
            _ => Exit::Refused,
        }
    }

    /// What to say; nothing to a reader that has gone.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Output(error) if is_broken_pipe(error) => None,
            // Each line begins with its place, as editors and people look for it.
            Self::Configuration(mistakes) => Some(mistakes.to_string()),
            _ => Some(format!("homeostat: {self}")),
        }
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}
