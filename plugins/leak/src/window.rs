//! A bounded past: means of equal steps of time, which double until the window
//! fits.
//!
//! Invariant: never more than [`POINTS_MAX`] points, evenly thinned; a step
//! without a reading has no point.

use serde::{Deserialize, Serialize};

use crate::trend::Point;

pub const POINTS_MAX: usize = 96;
/// Fewer tell nothing.
const POINTS_MIN: usize = 24;

/// Single precision holds bytes to a ten-millionth, and halves the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    step_ms: u64,
    /// Number of the step, and its mean.
    points: Vec<(u64, f32)>,
    /// The step that is not over.
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Open {
    step: u64,
    sum: f64,
    count: u32,
}

impl Window {
    pub fn new(step_ms: u64) -> Self {
        Self { step_ms: step_ms.max(1_000), ..Self::default() }
    }

    /// The mean of a step that is over with this reading.
    pub fn add(&mut self, age_ms: u64, value: f64, window_ms: u64) -> Option<f64> {
        let step = age_ms / self.step_ms;
        let closed = self.open.take_if(|open| open.step != step);
        let open = self.open.get_or_insert(Open { step, sum: 0.0, count: 0 });
        open.sum += value;
        open.count += 1;
        let mean = closed.map(|it| self.close(it, window_ms))?;
        Some(f64::from(mean))
    }

    fn close(&mut self, open: Open, window_ms: u64) -> f32 {
        let mean = (open.sum / f64::from(open.count)) as f32;
        self.points.push((open.step, mean));
        let oldest = open.step.saturating_sub(window_ms / self.step_ms);
        self.points.retain(|(step, _)| *step >= oldest);
        if self.points.len() > POINTS_MAX {
            self.thin();
        }
        mean
    }

    fn thin(&mut self) {
        self.step_ms *= 2;
        let points = std::mem::take(&mut self.points);
        for pair in points.chunk_by(|(a, _), (b, _)| a / 2 == b / 2) {
            let sum: f32 = pair.iter().map(|(_, mean)| mean / pair.len() as f32).sum();
            self.points.push((pair[0].0 / 2, sum));
        }
        if let Some(open) = &mut self.open {
            open.step /= 2;
        }
    }

    /// What is older than this never was.
    pub fn forget(&mut self, before_age_ms: u64) {
        let first = before_age_ms.div_ceil(self.step_ms.max(1));
        self.points.retain(|(step, _)| *step >= first);
        self.open.take_if(|open| open.step < first);
    }

    /// The points, in seconds since the first, if they cover enough time.
    pub fn points(&self, span_ms_min: u64) -> Option<Vec<Point>> {
        let (first, last) = (self.points.first()?.0, self.points.last()?.0);
        let enough = self.points.len() >= POINTS_MIN
            && (last - first + 1).saturating_mul(self.step_ms) >= span_ms_min;
        let seconds = |step: u64| ((step - first) * self.step_ms) as f64 / 1_000.0;
        enough.then(|| {
            self.points.iter().map(|(step, mean)| (seconds(*step), f64::from(*mean))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn it_is_bounded_covers_the_window_and_keeps_a_line_a_line() {
        let mut window = Window::new(1_000);
        for age_s in 0..100_000_u64 {
            window.add(age_s * 1_000, age_s as f64, 6 * HOUR_MS);
            assert!(window.points.len() <= POINTS_MAX);
        }
        let points = window.points(5 * HOUR_MS).unwrap();
        assert!(points.len() > POINTS_MAX / 2, "{}", points.len());
        let slope = crate::trend::slope(&points).unwrap();
        assert!((slope - 1.0).abs() < 1e-3, "{slope}");
    }

    #[test]
    fn what_is_forgotten_is_gone_and_too_little_is_nothing() {
        let mut window = Window::new(1_000);
        for age_s in 0..60_u64 {
            window.add(age_s * 1_000, 1.0, HOUR_MS);
        }
        assert!(window.points(50_000).is_some());
        assert!(window.points(61_000).is_none());
        window.forget(50_000);
        assert!(window.points(0).is_none());
    }
}
