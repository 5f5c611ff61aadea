//! Where things lie, what was done, and what could not be got.
//!
//! Invariant: a program is run with its standard input closed, so that nothing
//! ever waits for a person.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The features that the tests and the demo need: `homeostat-compile`, the named
/// points where a test can kill, and what writes the man pages. One set for
/// everything, so that nothing is built twice.
pub const FEATURES: &str = "homeostat/compiler,homeostat/failpoints,homeostat/docs";

pub struct Work {
    pub root: PathBuf,
    pub target: PathBuf,
    stages: Vec<(String, Duration)>,
    lacking: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

impl Work {
    pub fn open() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cargo did not run")?;
        if !output.status.success() {
            bail!("`cargo metadata` failed: {}", output.status);
        }
        let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            stages: Vec::new(),
            lacking: Vec::new(),
        })
    }

    /// Where the development profile's programs lie.
    pub fn programs(&self) -> PathBuf {
        self.target.join("debug")
    }

    /// `cargo`, in the workspace.
    pub fn cargo(&self) -> Command {
        let mut command = cargo();
        command.current_dir(&self.root);
        command
    }

    /// Runs `command` as a stage of its own, timed; a failure is an error.
    pub fn stage(&mut self, what: &str, command: &mut Command) -> Result<()> {
        if self.try_stage(what, command)? {
            return Ok(());
        }
        bail!("{what}: `{}` failed", show(command))
    }

    /// As [`Work::stage`], but whether it went well is the caller's to judge.
    pub fn try_stage(&mut self, what: &str, command: &mut Command) -> Result<bool> {
        say(&format!("{what}: {}", show(command)));
        let begun = Instant::now();
        let status = command
            .stdin(Stdio::null())
            .status()
            .with_context(|| format!("{what}: `{}` did not start", show(command)))?;
        self.took(what, begun.elapsed());
        Ok(status.success())
    }

    /// Notes how long a stage took.
    pub fn took(&mut self, what: &str, long: Duration) {
        self.stages.push((what.to_owned(), long));
    }

    /// Notes something that could not be got, and is done without.
    pub fn lack(&mut self, what: impl Into<String>) {
        self.lacking.push(what.into());
    }

    /// The last word: how long each stage took, and what was lacking.
    pub fn tell(&self) {
        let slow: Vec<_> = self
            .stages
            .iter()
            .filter(|(_, took)| took.as_millis() >= 100)
            .map(|(what, took)| format!("{what} {:.1} s", took.as_secs_f64()))
            .collect();
        if !slow.is_empty() {
            say(&format!("took: {}", slow.join(", ")));
        }
        match self.lacking.as_slice() {
            [] => say("nothing was lacking"),
            lacking => {
                for what in lacking {
                    say(&format!("LACKING: {what}"));
                }
            }
        }
    }
}

pub fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// The cargo that runs us, or the one on the path.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Ours to us, not to the cargo we start: a build script must not see them.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// What was said by a program that ran well; none when it is missing or failed.
pub fn ask(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn show(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    let words = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(name).chain(words).collect::<Vec<_>>().join(" ")
}
