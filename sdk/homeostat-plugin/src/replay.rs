//! What a box wrote down, played to the component.
//!
//! Invariant: the same recording and the same component give the same answers,
//! to the last bit; what differs is the component's doing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use homeostat_sdk::Finding;
use homeostat_sdk::recording::{Recording, RecordingError, Step, Subject as _, difference};

use crate::player::Stage;

/// Differences shown; a component that says something else says it often.
const DIFFERENCES_MAX: usize = 10;

/// How a captured recording is played.
#[derive(Clone, Debug)]
pub struct How {
    /// The plugin's configuration, a `.json` or `.toml` file.
    pub config: Option<PathBuf>,
    /// Targets that it judges.
    pub targets: Vec<String>,
}

/// The recording as the component of `stage` sees it, with its answers.
pub fn play(stage: &Stage, plugin: &str, captured: &Recording, how: &How) -> Result<Recording> {
    let seen = seen(stage, plugin, captured, how)?;
    seen.replay(&mut stage.subject()).map_err(|error| match error {
        RecordingError::Failed { why, line } => {
            anyhow::anyhow!("{why}, at step {line} of what it sees of the recording")
        }
        other => other.into(),
    })
}

/// The part of a captured recording that the component of `stage` reads.
pub fn seen(stage: &Stage, plugin: &str, captured: &Recording, how: &How) -> Result<Recording> {
    let config = match &how.config {
        Some(path) => read_config(path)?,
        None => serde_json::Value::Null,
    };
    let text = if config.is_null() { String::new() } else { config.to_string() };
    let reads = match stage.subject().configure(&text) {
        Ok(reads) => reads,
        Err(why) if config.is_null() => {
            bail!("{why}\nthe plugin was configured with nothing: say --plugin-config FILE")
        }
        Err(why) => bail!("{why}"),
    };
    let seen = captured.seen_by(plugin, config, &reads, &how.targets);
    if seen.header.series.is_empty() {
        let recorded: Vec<_> = captured.header.series.iter().map(|it| it.name.as_str()).collect();
        eprintln!(
            "homeostat-plugin: it reads {reads:?}, and none of that was recorded: {recorded:?}"
        );
    }
    Ok(seen)
}

fn read_config(path: &Path) -> Result<serde_json::Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let read = match path.extension().and_then(|it| it.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(anyhow::Error::from),
        Some("toml") => toml::from_str(&text).map_err(anyhow::Error::from),
        _ => bail!("{}: wanted a configuration in a .json or .toml file", path.display()),
    };
    read.with_context(|| format!("reading {}", path.display()))
}

/// Compares the answers with those that were written down before.
pub fn compare(played: &Recording, expected: &Recording) -> Result<()> {
    // As text: what is no reading is not equal to itself.
    let asked = |recording: &Recording| {
        let steps = recording.steps.iter().filter(|it| !is_answer(it)).cloned().collect();
        Recording { header: recording.header.clone(), steps }.to_text()
    };
    if asked(expected) != asked(played) {
        bail!(
            "what is expected was answered to something else: another recording, configuration, \
             or other series that the plugin reads; write it down again with --bless"
        );
    }
    let mut wrong = String::new();
    let mut count = 0;
    let mut age_ms = 0;
    for (wanted, found) in expected.steps.iter().zip(&played.steps) {
        if let Step::Frame(frame) = found {
            age_ms = frame.now.age_ms;
        }
        let difference = difference(wanted, found);
        if difference.is_empty() {
            continue;
        }
        count += 1;
        if count <= DIFFERENCES_MAX {
            let _ = writeln!(wrong, "at {}\n{difference}", seconds(age_ms));
        }
    }
    match count {
        0 => Ok(()),
        count if count > DIFFERENCES_MAX => {
            bail!("{count} answers differ, these first:\n{}", wrong.trim_end())
        }
        count => bail!("{count} answers differ\n{}", wrong.trim_end()),
    }
}

fn is_answer(step: &Step) -> bool {
    matches!(step, Step::Report(_) | Step::Decision(_))
}

/// What it said, when that changed: a line each.
pub fn timeline(played: &Recording) -> String {
    let mut text = String::new();
    let mut standing: BTreeMap<String, Finding> = BTreeMap::new();
    let mut age_ms = 0;
    for step in &played.steps {
        let report = match step {
            Step::Frame(frame) => {
                age_ms = frame.now.age_ms;
                continue;
            }
            Step::Report(report) => report,
            _ => continue,
        };
        let at = seconds(age_ms);
        for finding in &report.findings {
            let before = standing.insert(finding.key.clone(), finding.clone());
            let what = match before {
                None => "raised ",
                Some(before) if before != *finding => "changed",
                Some(_) => continue,
            };
            let Finding { kind, target, message, .. } = finding;
            let _ = writeln!(text, "{at}  {what}  {kind} of {target}: {message}");
        }
        let said = |key: &String| report.findings.iter().any(|it| it.key == *key);
        standing.retain(|key, finding| {
            let stands = said(key) || report.unjudged.contains(&finding.target);
            if !stands {
                let _ = writeln!(text, "{at}  cleared  {} of {}", finding.kind, finding.target);
            }
            stands
        });
    }
    text
}

/// Of the box's age.
fn seconds(age_ms: u64) -> String {
    format!("{:>9}.{:03} s", age_ms / 1000, age_ms % 1000)
}
