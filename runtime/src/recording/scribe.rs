//! What came in, as lines of a recording: `sdk/RECORDING.md`.
//!
//! Invariant: the same entries give the same lines. A frame holds what came
//! within one second of the box's age, and none is written for a second in
//! which nothing came.

use std::sync::Arc;

use serde::Serialize;

use super::ring::Entry;
use crate::model::{Instant, Line, Mark, Series, TargetId, selects};

/// Version of the format.
const VERSION: u32 = 1;
const FRAME_MS: u64 = 1_000;

/// What of the box is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Series as `NAME` or `NAME@TARGET`, each with an optional `*` at its end.
    pub series: Vec<String>,
    /// Targets whose lines and marks are written down; the box's marks always are.
    pub targets: Vec<String>,
}

impl Default for Selection {
    fn default() -> Self {
        Self { series: vec!["*".into()], targets: vec!["*".into()] }
    }
}

#[derive(Serialize)]
struct Header<'a> {
    homeostat_recording: u32,
    #[serde(rename = "box")]
    box_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    about: &'a str,
    series: Vec<&'a Series>,
}

#[derive(Serialize)]
struct Step<'a> {
    frame: Frame<'a>,
}

#[derive(Serialize)]
struct Frame<'a> {
    seq: u64,
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
    now: Instant,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    rows: &'a [u64],
    /// What is no number is written as null, and read as no reading.
    #[serde(skip_serializing_if = "<[f64]>::is_empty")]
    values: &'a [f64],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<&'a Line>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<&'a Mark>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes one recording.
pub struct Scribe {
    header: String,
    /// By series id: its column, if it was selected.
    columns: Vec<Option<usize>>,
    width: usize,
    targets: Vec<String>,
    boot: u64,
    seq: u64,
    /// Of the frame that is being filled: when it ends.
    ends_ms: Option<u64>,
    lost: u64,
    rows: Vec<u64>,
    values: Vec<f64>,
    lines: Vec<Arc<Line>>,
    marks: Vec<Arc<Mark>>,
}

impl Scribe {
    /// A recording of what is selected of `series`, made in that boot of the box.
    pub fn new(
        box_name: &str,
        about: &str,
        series: &[Series],
        selection: &Selection,
        boot: u64,
    ) -> Self {
        let mut chosen = Vec::new();
        let columns: Vec<_> = series
            .iter()
            .map(|it| {
                let taken = selection.series.iter().any(|selector| it.is_selected_by(selector));
                taken.then(|| {
                    chosen.push(it);
                    chosen.len() - 1
                })
            })
            .collect();
        let width = chosen.len();
        let header = Header { homeostat_recording: VERSION, box_name, about, series: chosen };
        Self {
            header: json(&header),
            columns,
            width,
            targets: selection.targets.clone(),
            boot,
            seq: 0,
            ends_ms: None,
            lost: 0,
            rows: Vec::new(),
            values: Vec::new(),
            lines: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// The first line.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// How many series are written down.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How things stood when it began: marks of the first frame.
    pub fn stand(&mut self, marks: Vec<Arc<Mark>>) {
        let (taken, targets) = (&mut self.marks, &self.targets);
        taken.extend(marks.into_iter().filter(|mark| takes_mark(targets, mark)));
    }

    /// Entries that nobody could read in time.
    pub fn miss(&mut self, entries: u64) {
        self.lost += entries;
    }

    /// Takes the next entry. Gives the frame before it, if it begins another.
    pub fn take(&mut self, entry: &Entry) -> Option<String> {
        if !self.wants(entry) {
            return None;
        }
        let age_ms = entry.age_ms();
        let full = match self.ends_ms {
            Some(ends_ms) if age_ms >= ends_ms => self.finish(),
            _ => None,
        };
        // What comes late belongs to the frame that is open: ages of entries of
        // several sources are not in order.
        if self.ends_ms.is_none() {
            self.ends_ms = Some((age_ms / FRAME_MS + 1) * FRAME_MS);
        }
        self.put(entry);
        full
    }

    /// The frame that is open, when nothing more can come for it.
    pub fn finish_before(&mut self, age_ms: u64) -> Option<String> {
        self.ends_ms.filter(|ends_ms| *ends_ms <= age_ms).and_then(|_| self.finish())
    }

    /// The frame that is open, if there is one.
    pub fn finish(&mut self) -> Option<String> {
        let age_ms = self.ends_ms.take()?;
        self.seq += 1;
        let frame = Frame {
            seq: self.seq,
            lost: std::mem::take(&mut self.lost),
            now: Instant { age_ms, boot: self.boot, unix_ms: None },
            rows: &self.rows,
            values: &self.values,
            lines: self.lines.iter().map(|line| &**line).collect(),
            marks: self.marks.iter().map(|mark| &**mark).collect(),
        };
        let text = json(&Step { frame });
        self.rows.clear();
        self.values.clear();
        self.lines.clear();
        self.marks.clear();
        Some(text)
    }

    fn wants(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Numbers { ids, .. } => ids.iter().any(|id| self.column(id.0).is_some()),
            Entry::Line(line) => self.targets.iter().any(|it| selects(it, line.target.as_str())),
            Entry::Mark(mark) => takes_mark(&self.targets, mark),
        }
    }

    fn column(&self, series: u32) -> Option<usize> {
        self.columns.get(usize::try_from(series).ok()?).copied().flatten()
    }

    fn put(&mut self, entry: &Entry) {
        match entry {
            Entry::Numbers { age_ms, ids, values } => {
                let begin = self.values.len();
                self.rows.push(*age_ms);
                self.values.resize(begin + self.width, f64::NAN);
                for (id, value) in ids.iter().zip(values.iter()) {
                    if let Some(column) = self.column(id.0) {
                        self.values[begin + column] = *value;
                    }
                }
            }
            Entry::Line(line) => self.lines.push(Arc::clone(line)),
            Entry::Mark(mark) => self.marks.push(Arc::clone(mark)),
        }
    }
}

/// What happens to the box is every detector's to know.
fn takes_mark(targets: &[String], mark: &Mark) -> bool {
    let target = &mark.target;
    *target == TargetId::the_box() || targets.iter().any(|it| selects(it, target.as_str()))
}

fn json<T: Serialize>(value: &T) -> String {
    // A struct of numbers, texts and lists always makes JSON.
    serde_json::to_string(value).unwrap_or_default()
}
