//! What is wrong with a configuration, said so that it can be put right
//! without a second look at the manual.
//!
//! Invariant: a [`Mistakes`] is never empty, and stands in the file's order.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One mistake: where, what was wanted, what was found, what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    pub file: PathBuf,
    /// Line and column, from 1; none when the file as a whole is meant.
    pub line: Option<usize>,
    pub column: Option<usize>,
    /// Dotted place, such as `workload.digits.command`; empty for the whole file.
    pub place: String,
    pub wanted: String,
    pub found: String,
    pub hint: Option<String>,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistakes {
    pub mistakes: Vec<Mistake>,
}

impl Mistakes {
    pub(super) fn sorted(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        Self { mistakes }
    }

    /// A mistake of the file as a whole.
    pub(super) fn of_file(
        file: &Path,
        wanted: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let mistake = Mistake {
            file: file.to_owned(),
            line: None,
            column: None,
            place: String::new(),
            wanted: wanted.into(),
            found: found.into(),
            hint: Some(hint.into()),
        };
        Self { mistakes: vec![mistake] }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if !self.place.is_empty() {
            write!(f, ": {}", self.place)?;
        }
        write!(f, ": wanted {}, found {}", self.wanted, self.found)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.mistakes {
            writeln!(f, "{mistake}")?;
        }
        match self.mistakes.len() {
            1 => f.write_str("1 mistake in the configuration"),
            n => write!(f, "{n} mistakes in the configuration"),
        }
    }
}

impl std::error::Error for Mistakes {}

/// The candidate that was probably meant, if one is near enough.
pub(super) fn nearest<'c>(
    found: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    /// Jaro-Winkler similarity under which a suggestion misleads more than it helps.
    const NEAR: f64 = 0.8;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(found, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// "did you mean …?", or what there is to choose from.
pub(super) fn suggest(found: &str, candidates: &[&str], noun: &str) -> String {
    match nearest(found, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if candidates.is_empty() => format!("there are no {noun} here"),
        None => format!("{noun} here: {}", candidates.join(", ")),
    }
}
