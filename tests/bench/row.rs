//! One line of the table.

use std::fmt::Write as _;

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub what: String,
    /// None when it could not be measured.
    pub measured: Option<f64>,
    pub unit: &'static str,
    /// None when nothing is promised, and the figure is only printed.
    pub ceiling: Option<f64>,
    /// How it was measured, or why not.
    pub note: String,
}

impl Row {
    pub fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        let (what, measured) = (what.into(), Some(measured));
        Self { what, measured, unit, ceiling: None, note: String::new() }
    }

    pub fn failed(what: impl Into<String>, unit: &'static str, why: impl ToString) -> Self {
        let (what, note) = (what.into(), why.to_string());
        Self { what, measured: None, unit, ceiling: None, note }
    }

    pub fn at_most(mut self, ceiling: f64) -> Self {
        self.ceiling = Some(ceiling);
        self
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    pub fn kept(&self) -> bool {
        match (self.measured, self.ceiling) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(measured), Some(ceiling)) => measured <= ceiling,
        }
    }

    fn verdict(&self) -> &'static str {
        match (self.kept(), self.ceiling) {
            (false, _) => "MISS",
            (true, Some(_)) => "ok",
            (true, None) => "",
        }
    }
}

/// What, measured, ceiling, verdict, note.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![["what", "measured", "ceiling", "", ""].map(String::from)];
    for row in rows {
        let value = |value: Option<f64>, none: &str| {
            value.map_or(none.to_owned(), |value| format!("{} {}", rounded(value), row.unit))
        };
        lines.push([
            row.what.clone(),
            value(row.measured, "not measured"),
            value(row.ceiling, "-"),
            row.verdict().to_owned(),
            row.note.clone(),
        ]);
    }
    let widths: [usize; 4] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for [what, measured, ceiling, verdict, note] in &lines {
        let line = format!(
            "{what:<0$}  {measured:>1$}  {ceiling:>2$}  {verdict:<3$}  {note}",
            widths[0], widths[1], widths[2], widths[3]
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let missed = rows.iter().filter(|row| !row.kept()).count();
    let _ =
        writeln!(text, "\n{} of {} rows within their ceilings", rows.len() - missed, rows.len());
    for row in rows.iter().filter(|row| !row.kept()) {
        let _ = writeln!(text, "MISS: {}", row.what);
    }
    text
}

/// Three digits that mean something.
fn rounded(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = usize::try_from(2 - digits).unwrap_or(0);
    format!("{value:.decimals$}")
}

/// The value that `percent` of the sorted samples keep to (nearest rank).
pub fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}
