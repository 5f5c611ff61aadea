//! What came in since the last call, with its holes shown as `None`.
//!
//! Invariant: no method hands out a NaN, and none panics on a frame whose
//! numbers do not fill its rows.

use serde::{Deserialize, Serialize};

use crate::types::{Instant, Line, Mark, Series};

/// The contract's `frame`, as it crosses the boundary and as a recording
/// stores it. Plugins see [`Frame`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawFrame {
    pub seq: u64,
    /// Rows dropped under load since the last frame.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u32,
    pub now: Instant,
    /// Age in milliseconds of each row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<u64>,
    /// Row-major, `rows × bound series`; NaN (`null` in a recording) is no reading.
    #[serde(default, with = "holes", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
}

/// A frame as a detector sees it: the numbers beside the series they belong to.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    series: &'a [Series],
    raw: &'a RawFrame,
}

/// Readings taken at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// When, in milliseconds of the box's age.
    pub age_ms: u64,
    series: &'a [Series],
    values: &'a [f64],
}

/// One thing of a frame, see [`Frame::events`].
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    Row(Row<'a>),
    Mark(&'a Mark),
    Line(&'a Line),
}

impl<'a> Frame<'a> {
    pub fn new(series: &'a [Series], raw: &'a RawFrame) -> Self {
        Self { series, raw }
    }

    pub fn seq(&self) -> u64 {
        self.raw.seq
    }

    /// Rows dropped under load since the last frame.
    pub fn lost(&self) -> u32 {
        self.raw.lost
    }

    pub fn now(&self) -> Instant {
        self.raw.now
    }

    /// The bound series, in column order.
    pub fn series(&self) -> &'a [Series] {
        self.series
    }

    /// Oldest first.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let frame = *self;
        (0..self.raw.rows.len()).map(move |at| frame.row(at))
    }

    /// Rows, marks and lines in the order of their ages. Of the same age, rows
    /// come first (what they read was so before the mark), then marks (a process
    /// starts, then speaks), then lines.
    pub fn events(&self) -> impl Iterator<Item = Event<'a>> + use<'a> {
        let (rows, marks, lines) = (self.rows(), self.marks(), self.lines());
        let ages = rows.map(|row| row.age_ms);
        let ages = ages.chain(marks.iter().map(|mark| mark.age_ms));
        let order = by_age(ages.chain(lines.iter().map(|line| line.age_ms)));
        let (frame, rows) = (*self, self.raw.rows.len());
        order.into_iter().map(move |at| match at {
            at if at < rows => Event::Row(frame.row(at)),
            at if at < rows + marks.len() => Event::Mark(&marks[at - rows]),
            at => Event::Line(&lines[at - rows - marks.len()]),
        })
    }

    fn row(&self, at: usize) -> Row<'a> {
        let from = at * self.series.len();
        let values = self.raw.values.get(from..from + self.series.len()).unwrap_or(&[]);
        Row { age_ms: self.raw.rows[at], series: self.series, values }
    }

    /// The readings of one series, `(age-ms, value)`, oldest first; holes are
    /// left out.
    pub fn readings(&self, column: usize) -> impl DoubleEndedIterator<Item = (u64, f64)> + use<'a> {
        let (width, raw) = (self.series.len(), self.raw);
        raw.rows.iter().enumerate().filter_map(move |(at, age_ms)| {
            let value = if column < width { raw.values.get(at * width + column) } else { None };
            value.filter(|value| !value.is_nan()).map(|value| (*age_ms, *value))
        })
    }

    /// The newest reading of one series.
    pub fn latest(&self, column: usize) -> Option<(u64, f64)> {
        self.readings(column).next_back()
    }

    pub fn lines(&self) -> &'a [Line] {
        &self.raw.lines
    }

    pub fn marks(&self) -> &'a [Mark] {
        &self.raw.marks
    }
}

impl<'a> Row<'a> {
    pub fn get(&self, column: usize) -> Option<f64> {
        self.values.get(column).copied().filter(|value| !value.is_nan())
    }

    /// Every series that has a reading in this row: column, series, value.
    pub fn readings(&self) -> impl Iterator<Item = (usize, &'a Series, f64)> + use<'a> {
        let values = self.values.iter().enumerate().zip(self.series);
        values
            .filter(|((_, value), _)| !value.is_nan())
            .map(|((column, value), series)| (column, series, *value))
    }
}

/// Positions in the order of their ages, equal ones as they came. What comes is
/// nearly in order already, and a sort of the standard library would be a
/// twentieth of a plugin's code.
fn by_age(ages: impl Iterator<Item = u64>) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = Vec::new();
    for (at, age_ms) in ages.enumerate() {
        let place = order.iter().rposition(|(before, _)| *before <= age_ms);
        order.insert(place.map_or(0, |place| place + 1), (age_ms, at));
    }
    order.into_iter().map(|(_, at)| at).collect()
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// JSON has no NaN: a hole is `null`.
mod holes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(|value| (!value.is_nan()).then_some(*value)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> Series {
        Series {
            name: name.into(),
            unit: "1".into(),
            target: "box".into(),
            period_ms: 1000,
            labels: vec![],
        }
    }

    #[test]
    fn a_hole_is_none_and_never_nan() {
        let bound = [series("a"), series("b")];
        let raw = RawFrame {
            rows: vec![10, 20],
            values: vec![1.0, f64::NAN, f64::NAN, 4.0],
            ..RawFrame::default()
        };
        let frame = Frame::new(&bound, &raw);
        let cells: Vec<_> = frame.rows().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(cells, [(Some(1.0), None), (None, Some(4.0))]);
        assert_eq!(frame.readings(0).collect::<Vec<_>>(), [(10, 1.0)]);
        assert_eq!(frame.latest(1), Some((20, 4.0)));
        let second: Vec<_> = frame.rows().nth(1).unwrap().readings().collect();
        assert_eq!(second, [(1, &bound[1], 4.0)]);
    }

    #[test]
    fn a_frame_that_is_too_short_or_has_no_columns_has_holes() {
        let bound = [series("a"), series("b")];
        let raw =
            RawFrame { rows: vec![10, 20], values: vec![1.0, 2.0, 3.0], ..RawFrame::default() };
        let frame = Frame::new(&bound, &raw);
        assert_eq!(frame.rows().nth(1).unwrap().get(0), None);
        assert_eq!(frame.latest(7), None);
        assert_eq!(Frame::new(&[], &raw).rows().len(), 2);
        assert_eq!(Frame::new(&[], &raw).latest(0), None);
    }

    #[test]
    fn events_come_in_the_order_of_their_ages_rows_then_marks_then_lines() {
        let mark = |age_ms| Mark {
            target: "box".into(),
            age_ms,
            what: format!("m{age_ms}"),
            attrs: vec![],
        };
        let line = |age_ms| Line {
            target: "box".into(),
            source: "output".into(),
            age_ms,
            priority: 6,
            text: format!("l{age_ms}"),
        };
        let raw = RawFrame {
            rows: vec![10, 30],
            marks: vec![mark(30), mark(5), mark(10)],
            lines: vec![line(10), line(40), line(7)],
            ..RawFrame::default()
        };
        let told: Vec<_> = Frame::new(&[], &raw)
            .events()
            .map(|event| match event {
                Event::Row(row) => format!("r{}", row.age_ms),
                Event::Mark(mark) => mark.what.clone(),
                Event::Line(line) => line.text.clone(),
            })
            .collect();
        assert_eq!(told, ["m5", "l7", "r10", "m10", "l10", "r30", "m30", "l40"]);
    }

    #[test]
    fn a_hole_survives_a_recording() {
        let raw = RawFrame { rows: vec![1], values: vec![f64::NAN, 0.1], ..RawFrame::default() };
        let text = serde_json::to_string(&raw).unwrap();
        assert!(text.contains("[null,0.1]"), "{text}");
        let back: RawFrame = serde_json::from_str(&text).unwrap();
        assert!(back.values[0].is_nan());
        assert_eq!(back.values[1], 0.1);
    }
}
