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
        let (series, raw) = (self.series, self.raw);
        raw.rows.iter().enumerate().map(move |(at, age_ms)| {
            let from = at * series.len();
            let values = raw.values.get(from..from + series.len()).unwrap_or(&[]);
            Row { age_ms: *age_ms, series, values }
        })
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
    fn a_hole_survives_a_recording() {
        let raw = RawFrame { rows: vec![1], values: vec![f64::NAN, 0.1], ..RawFrame::default() };
        let text = serde_json::to_string(&raw).unwrap();
        assert!(text.contains("[null,0.1]"), "{text}");
        let back: RawFrame = serde_json::from_str(&text).unwrap();
        assert!(back.values[0].is_nan());
        assert_eq!(back.values[1], 0.1);
    }
}
