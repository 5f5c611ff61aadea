//! `homeostat doctor`: what this box can and cannot watch or do, and why.
//!
//! Invariant: it changes nothing and asks no daemon. What it says of rights is
//! true for the user that runs it, so it is run as the daemon's.

mod bus;
mod hand;
mod kernel;
mod place;
mod program;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Exit;
use super::page::{Page, Tone, cell};
use super::words::count;
use kernel::Powers;

/// Whether a person named the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Yes,
    No,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Diagnosis {
    pub file: PathBuf,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub name: String,
    pub verdict: Verdict,
    pub found: String,
    /// What is lost by it; empty when nothing is.
    pub costs: String,
    /// What to do; empty when nothing has to be done.
    pub remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Ok,
    /// The daemon does without.
    Lacks,
    /// What was configured, or what every daemon needs, is impossible.
    Cannot,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self::with(Verdict::Ok, name, found, "", "")
    }

    fn lacks(name: &str, found: impl Into<String>, costs: &str, remedy: &str) -> Self {
        Self::with(Verdict::Lacks, name, found, costs, remedy)
    }

    fn cannot(name: &str, found: impl Into<String>, costs: &str, remedy: &str) -> Self {
        Self::with(Verdict::Cannot, name, found, costs, remedy)
    }

    fn with(
        verdict: Verdict,
        name: &str,
        found: impl Into<String>,
        costs: &str,
        remedy: &str,
    ) -> Self {
        Self {
            name: name.into(),
            verdict,
            found: found.into(),
            costs: costs.into(),
            remedy: remedy.into(),
        }
    }
}

/// Looks at the machine whose file system begins at `root`, for a daemon that
/// would read `file`.
pub(super) fn examine(root: &Path, file: &Path, named: Named) -> Diagnosis {
    let (config, configuration) = place::configuration(file, named);
    let mut checks = vec![configuration];
    checks.extend(kernel::checks(root, &Powers::here(), &config));
    checks.extend(place::directories(&config));
    checks.extend(program::checks(&config.paths.programs));
    checks.extend(hand::checks(&config));
    checks.extend(bus::checks(&config));
    checks.extend(place::secrets(&config));
    checks.extend(place::plugins(&config));
    Diagnosis { file: file.to_owned(), checks }
}

pub(super) fn exit(diagnosis: &Diagnosis) -> Exit {
    let ill = diagnosis.checks.iter().any(|check| check.verdict == Verdict::Cannot);
    if ill { Exit::Ill } else { Exit::Fine }
}

pub(super) fn draw(page: &mut Page, diagnosis: &Diagnosis) {
    let of = |verdict| diagnosis.checks.iter().filter(|check| check.verdict == verdict).count();
    let (lacks, cannot) = (of(Verdict::Lacks), of(Verdict::Cannot));
    let (text, tone) = match (lacks, cannot) {
        (0, 0) => ("this box can do everything that is asked of it".to_owned(), Tone::Good),
        (_, 0) => {
            (format!("{} lacking; the daemon does without", count(lacks, "thing")), Tone::Warn)
        }
        _ => (format!("{} impossible, {lacks} lacking", count(cannot, "thing")), Tone::Bad),
    };
    page.toned(&text, tone);
    let mut rows = Vec::new();
    for check in &diagnosis.checks {
        let (word, tone) = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Lacks => ("lacks", Tone::Warn),
            Verdict::Cannot => ("cannot", Tone::Bad),
        };
        rows.push(vec![cell(word).tone(tone), cell(&check.name), cell(&check.found)]);
        for (what, text) in [("costs", &check.costs), ("to do", &check.remedy)] {
            if !text.is_empty() {
                let line = format!("{what}: {text}");
                rows.push(vec![cell(""), cell(""), cell(line).tone(Tone::Faint)]);
            }
        }
    }
    page.columns(&rows);
}
