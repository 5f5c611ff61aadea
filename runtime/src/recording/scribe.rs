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
/// As many as the daemon puts into one frame of a detector.
const ROWS_MAX: usize = 64;
const LINES_MAX: usize = 512;

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
    /// Of the frame before: when it ended.
    ended_ms: u64,
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
            ended_ms: 0,
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
        let crowded = self.rows.len() >= ROWS_MAX || self.lines.len() >= LINES_MAX;
        let full = match self.ends_ms {
            Some(ends_ms) if age_ms >= ends_ms || crowded => self.finish(),
            _ => None,
        };
        // What comes late belongs to the frame that is open, or to the next: ages of
        // entries of several sources are not in order, and time never goes back.
        if self.ends_ms.is_none() {
            self.ends_ms = Some(((age_ms / FRAME_MS + 1) * FRAME_MS).max(self.ended_ms));
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
        self.ended_ms = age_ms;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeriesId;

    fn scribe() -> Scribe {
        let series = Series {
            name: "a".into(),
            unit: "1".into(),
            target: TargetId::the_box(),
            period_ms: 100,
            labels: vec![],
        };
        Scribe::new("b", "", &[series], &Selection::default(), 1)
    }

    fn numbers(age_ms: u64) -> Entry {
        Entry::Numbers { age_ms, ids: [SeriesId(0)].into(), values: [1.0].into() }
    }

    fn now_ms(frame: &str) -> u64 {
        let frame: serde_json::Value = serde_json::from_str(frame).unwrap();
        frame["frame"]["now"]["age_ms"].as_u64().unwrap()
    }

    #[test]
    fn what_comes_after_its_second_was_written_goes_into_the_next_and_time_never_goes_back() {
        let mut scribe = scribe();
        assert_eq!(scribe.take(&numbers(1_100)), None);
        let first = scribe.finish_before(2_000).expect("its second is over");
        assert_eq!(scribe.take(&numbers(1_900)), None, "it is late");
        let late = scribe.take(&numbers(2_500)).expect("another second begins");
        assert_eq!((now_ms(&first), now_ms(&late)), (2_000, 2_000));
        assert_eq!(now_ms(&scribe.finish().unwrap()), 3_000);
    }

    #[test]
    fn a_second_with_more_than_a_frame_takes_is_several() {
        let mut scribe = scribe();
        let line = |age_ms| {
            let (target, source) = (TargetId::the_box(), "kernel".to_owned());
            Entry::Line(Arc::new(Line { target, source, age_ms, priority: 6, text: "x".into() }))
        };
        let full = (0..1_200).filter_map(|n| scribe.take(&line(1_000 + n % 900))).count();
        assert_eq!(full, 2);
        let rest: serde_json::Value = serde_json::from_str(&scribe.finish().unwrap()).unwrap();
        assert_eq!(rest["frame"]["lines"].as_array().unwrap().len(), 1_200 - 2 * 512);
    }
}
