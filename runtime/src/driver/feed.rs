//! What waits for one detector until it is idle: rows of its series, lines of
//! its targets, marks.
//!
//! Invariant: bounded. Rows are dropped first-in first-out and counted; lines
//! and marks wait, and only a flood beyond their bound pushes out the oldest.

use std::collections::{HashMap, VecDeque};

use crate::model::{Batch, Frame, Instant, Line, Mark, SeriesId};

/// Rows that wait for a busy detector.
const ROWS_MAX: usize = 64;
/// Lines that wait, and how many go into one frame.
const LINES_MAX: usize = 8192;
const LINES_PER_FRAME: usize = 512;
const MARKS_MAX: usize = 1024;
/// A flood is spoken of for so long.
const FLOOD_NEWS_MS: u64 = 600_000;

#[derive(Debug, Default)]
pub struct Feed {
    column: HashMap<SeriesId, usize>,
    rows: VecDeque<(u64, Vec<f64>)>,
    lines: VecDeque<Line>,
    marks: VecDeque<Mark>,
    lost_rows: u32,
    lost_lines: u64,
    /// When the last of them was.
    lost_age_ms: u64,
    seq: u64,
    period_ms: u64,
    sent_age_ms: u64,
}

impl Feed {
    pub fn new(period_ms: u32) -> Self {
        Self { period_ms: period_ms.into(), ..Self::default() }
    }

    pub fn period_ms(&self) -> u64 {
        self.period_ms
    }

    /// The same, for another detector.
    pub fn with_period(self, period_ms: u64) -> Self {
        Self { period_ms, ..self }
    }

    /// The columns from now on. Rows of the old ones are dropped and counted.
    pub fn bind(&mut self, series: &[SeriesId]) {
        self.column = series.iter().enumerate().map(|(column, id)| (*id, column)).collect();
        self.lost_rows =
            self.lost_rows.saturating_add(u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        self.rows.clear();
    }

    pub fn batch(&mut self, batch: &Batch) {
        let mut row: Option<Vec<f64>> = None;
        for (id, value) in &batch.values {
            if let Some(column) = self.column.get(id) {
                row.get_or_insert_with(|| vec![f64::NAN; self.column.len()])[*column] = *value;
            }
        }
        let Some(row) = row else { return };
        if self.rows.len() == ROWS_MAX {
            self.rows.pop_front();
            self.lost_rows = self.lost_rows.saturating_add(1);
        }
        self.rows.push_back((batch.age_ms, row));
    }

    pub fn line(&mut self, line: Line) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.lost_lines += 1;
            self.lost_age_ms = line.age_ms;
        }
        self.lines.push_back(line);
    }

    pub fn mark(&mut self, mark: Mark) {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.marks.push_back(mark);
    }

    /// Lines that a flood pushed out since the start, while it is news.
    pub fn flooded(&self, now_age_ms: u64) -> Option<u64> {
        let news = now_age_ms < self.lost_age_ms.saturating_add(FLOOD_NEWS_MS);
        (self.lost_lines > 0 && news).then_some(self.lost_lines)
    }

    /// Lines and marks are news and go at once; numbers go at the period.
    pub fn is_due(&self, now_age_ms: u64) -> bool {
        !self.marks.is_empty()
            || !self.lines.is_empty()
            || (!self.rows.is_empty() && now_age_ms >= self.sent_age_ms + self.period_ms)
    }

    pub fn take(&mut self, now: Instant) -> Frame {
        self.seq += 1;
        self.sent_age_ms = now.age_ms;
        let mut frame = Frame {
            seq: self.seq,
            lost: std::mem::take(&mut self.lost_rows),
            now,
            rows: Vec::with_capacity(self.rows.len()),
            values: Vec::with_capacity(self.rows.len() * self.column.len()),
            lines: self.lines.drain(..self.lines.len().min(LINES_PER_FRAME)).collect(),
            marks: self.marks.drain(..).collect(),
        };
        for (age_ms, row) in self.rows.drain(..) {
            frame.rows.push(age_ms);
            frame.values.extend_from_slice(&row);
        }
        frame
    }

    /// A frame that was not taken: its lines and marks are the first of the next
    /// one, its rows are dropped and counted.
    pub fn give_back(&mut self, frame: Frame) {
        let rows = u32::try_from(frame.rows.len()).unwrap_or(u32::MAX);
        self.lost_rows = self.lost_rows.saturating_add(frame.lost).saturating_add(rows);
        let lost = put_before(&mut self.lines, frame.lines, LINES_MAX) as u64;
        if lost > 0 {
            self.lost_lines += lost;
            self.lost_age_ms = frame.now.age_ms;
        }
        put_before(&mut self.marks, frame.marks, MARKS_MAX);
    }
}

/// Before all that wait, as far as there is room; gives back how many were too many.
fn put_before<T>(waiting: &mut VecDeque<T>, older: Vec<T>, max: usize) -> usize {
    let room = max.saturating_sub(waiting.len());
    let lost = older.len().saturating_sub(room);
    older.into_iter().skip(lost).rev().for_each(|one| waiting.push_front(one));
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetId;

    fn batch(age_ms: u64, values: &[(u32, f64)]) -> Batch {
        Batch { age_ms, values: values.iter().map(|(id, v)| (SeriesId(*id), *v)).collect() }
    }

    fn now(age_ms: u64) -> Instant {
        Instant { age_ms, boot: 1, unix_ms: None }
    }

    #[test]
    fn a_row_has_a_column_per_bound_series_and_nan_where_nothing_was_read() {
        let mut feed = Feed::new(1000);
        feed.bind(&[SeriesId(7), SeriesId(3)]);
        feed.batch(&batch(10, &[(3, 1.5), (9, 4.0)]));
        feed.batch(&batch(20, &[(9, 4.0)]));
        feed.batch(&batch(30, &[(7, 2.5), (3, 3.5)]));
        let frame = feed.take(now(2000));
        assert_eq!(frame.rows, [10, 30]);
        assert!(frame.values[0].is_nan());
        assert_eq!(frame.values[1..], [1.5, 2.5, 3.5]);
    }

    #[test]
    fn numbers_wait_for_the_period_and_a_mark_does_not() {
        let mut feed = Feed::new(1000);
        feed.bind(&[SeriesId(0)]);
        feed.take(now(5000));
        feed.batch(&batch(5100, &[(0, 1.0)]));
        assert!(!feed.is_due(5999));
        assert!(feed.is_due(6000));
        feed.mark(mark("x"));
        assert!(feed.is_due(5101));
    }

    fn mark(what: &str) -> Mark {
        Mark { target: TargetId::the_box(), age_ms: 1, what: what.into(), attrs: vec![] }
    }

    fn line(text: &str) -> Line {
        let (target, source) = (TargetId::the_box(), "kernel".into());
        Line { target, source, age_ms: 1, priority: 3, text: text.into() }
    }

    #[test]
    fn a_frame_that_was_not_taken_loses_its_numbers_and_nothing_else() {
        let mut feed = Feed::new(1000);
        feed.bind(&[SeriesId(0)]);
        feed.batch(&batch(10, &[(0, 1.0)]));
        ["a", "b"].iter().for_each(|text| feed.line(line(text)));
        feed.mark(mark("first"));
        let untaken = feed.take(now(1000));
        feed.line(line("c"));
        feed.mark(mark("second"));
        feed.give_back(untaken);
        assert!(feed.is_due(1001));
        let frame = feed.take(now(1001));
        let lines: Vec<_> = frame.lines.iter().map(|line| line.text.as_str()).collect();
        let marks: Vec<_> = frame.marks.iter().map(|mark| mark.what.as_str()).collect();
        assert_eq!((lines, marks), (vec!["a", "b", "c"], vec!["first", "second"]));
        assert_eq!((frame.lost, frame.rows.len()), (1, 0));
    }

    #[test]
    fn what_is_given_back_to_a_full_feed_is_the_oldest_that_a_flood_pushes_out() {
        let mut feed = Feed::new(1000);
        ["a", "b"].iter().for_each(|text| feed.line(line(text)));
        let untaken = feed.take(now(1000));
        (1..LINES_MAX).for_each(|_| feed.line(line("flood")));
        feed.give_back(untaken);
        assert_eq!(feed.flooded(1000 + FLOOD_NEWS_MS - 1), Some(1));
        assert_eq!(feed.flooded(1000 + FLOOD_NEWS_MS), None);
        let frame = feed.take(now(1001));
        assert_eq!((&*frame.lines[0].text, &*frame.lines[1].text), ("b", "flood"));
    }

    #[test]
    fn rows_beyond_the_bound_are_dropped_oldest_first_and_counted() {
        let mut feed = Feed::new(1000);
        feed.bind(&[SeriesId(0)]);
        for age_ms in 0..(ROWS_MAX as u64 + 5) {
            feed.batch(&batch(age_ms, &[(0, age_ms as f64)]));
        }
        let frame = feed.take(now(9000));
        assert_eq!((frame.lost, frame.rows.len(), frame.rows[0]), (5, ROWS_MAX, 5));
        assert_eq!(feed.take(now(9001)).lost, 0);
    }
}
