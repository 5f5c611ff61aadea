//! Whether a series rises, how fast, and whether it means it.
//!
//! Slope: Theil–Sen, the median of the slopes of all pairs (Sen, "Estimates of
//! the regression coefficient based on Kendall's tau", JASA 63, 1968): a third
//! of the points may be wild and it stays.
//! Significance: Mann–Kendall with correction for ties (Gilbert, "Statistical
//! Methods for Environmental Pollution Monitoring", 1987, section 16.4), its
//! score lowered where neighbours resemble each other, as a level that wanders
//! has them: by the effective number of points of an autoregression of order 1,
//! n·(1−r)/(1+r) (Bayley and Hammersley, 1946), r taken from the residuals as
//! Hamed and Rao do (J. Hydrology 204, 1998).
//!
//! Both say yes to a single step, and to a saw-tooth that happens to be rising.
//! So a trend must also be steady: it rises in each third of the window, and
//! nowhere gives back half of what it gained.
//!
//! Invariant: pure, and bounded by the square of the number of points.

/// One-sided 0.5 % of the standard normal distribution.
const SIGNIFICANT_Z: f64 = 2.576;
/// What is left beside the line, as a share of the rise, when it is rounding.
const ROUNDING_SHARE: f64 = 1e-3;
/// Each third rises with at least this share of the whole slope.
const THIRD_SHARE_MIN: f64 = 0.25;
/// Of the rise, at most so much is given back on the way.
const GIVEN_BACK_SHARE_MAX: f64 = 0.5;
/// The way is looked at in so many parts, so that noise is no giving back.
const PARTS: usize = 12;

/// Seconds, and the value then.
pub type Point = (f64, f64);

/// A rise that is significant and steady.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    pub slope_per_s: f64,
    /// The line's value at the newest point.
    pub value: f64,
}

/// None where the points do not rise, or nobody can tell.
pub fn rising(points: &[Point]) -> Option<Trend> {
    let (first, last) = (points.first()?, points.last()?);
    let slope_per_s = slope(points)?;
    let rise = slope_per_s * (last.0 - first.0);
    if rise <= 0.0 {
        return None;
    }
    let r = resemblance(points, slope_per_s, rise);
    if mann_kendall(points) * ((1.0 - r) / (1.0 + r)).sqrt() < SIGNIFICANT_Z {
        return None;
    }
    let steady = points
        .chunks(points.len().div_ceil(3))
        .all(|third| slope(third).is_some_and(|slope| slope >= THIRD_SHARE_MIN * slope_per_s));
    if !steady || given_back(points) > GIVEN_BACK_SHARE_MAX * rise {
        return None;
    }
    let intercept = median(points.iter().map(|(t, x)| x - slope_per_s * t).collect())?;
    Some(Trend { slope_per_s, value: intercept + slope_per_s * last.0 })
}

/// Theil–Sen.
pub fn slope(points: &[Point]) -> Option<f64> {
    let pairs = points.iter().enumerate().flat_map(|(at, (t, x))| {
        points[at + 1..].iter().map(move |(later, y)| (y - x) / (later - t))
    });
    median(pairs.filter(|slope| slope.is_finite()).collect())
}

/// The standard score of the count of rising over falling pairs.
pub fn mann_kendall(points: &[Point]) -> f64 {
    let n = points.len() as f64;
    let mut score = 0_i64;
    for (at, (_, x)) in points.iter().enumerate() {
        for (_, y) in &points[at + 1..] {
            score += i64::from(y > x) - i64::from(y < x);
        }
    }
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let variance = (spread(n) - ties(points).map(spread).sum::<f64>()) / 18.0;
    if variance <= 0.0 || score == 0 {
        return 0.0;
    }
    (score - score.signum()) as f64 / variance.sqrt()
}

/// How much a residual resembles the one before it: the autocorrelation at lag
/// 1, from 0 to just below 1.
fn resemblance(points: &[Point], slope_per_s: f64, rise: f64) -> f64 {
    let mut left: Vec<f64> = points.iter().map(|(t, x)| x - slope_per_s * t).collect();
    let mean = left.iter().sum::<f64>() / left.len() as f64;
    left.iter_mut().for_each(|it| *it -= mean);
    let own: f64 = left.iter().map(|it| it * it).sum();
    if own <= left.len() as f64 * (ROUNDING_SHARE * rise).powi(2) {
        return 0.0;
    }
    let shared: f64 = left.windows(2).map(|pair| pair[0] * pair[1]).sum();
    (shared / own).clamp(0.0, 0.99)
}

/// How often each value comes.
fn ties(points: &[Point]) -> impl Iterator<Item = f64> {
    let mut values: Vec<f64> = points.iter().map(|(_, x)| *x).collect();
    values.sort_unstable_by(f64::total_cmp);
    let counts: Vec<_> = values.chunk_by(|a, b| a == b).map(|same| same.len() as f64).collect();
    counts.into_iter()
}

/// The largest fall from a height to a later depth, part by part.
fn given_back(points: &[Point]) -> f64 {
    let parts = points.chunks(points.len().div_ceil(PARTS).max(1));
    let parts = parts.filter_map(|part| median(part.iter().map(|(_, x)| *x).collect()));
    let (mut height, mut fall) = (f64::NEG_INFINITY, 0.0_f64);
    for level in parts {
        height = height.max(level);
        fall = fall.max(height - level);
    }
    fall
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    let (_, median, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(at, value)| (at as f64, value)).collect()
    }

    #[test]
    fn the_slope_is_that_of_the_many() {
        let mut line = points((0..60).map(|n| 3.0 + 2.0 * f64::from(n)));
        assert_eq!(slope(&line), Some(2.0));
        (0..15).for_each(|at| line[at * 4].1 = 1e9);
        let bent = slope(&line).unwrap();
        assert!((bent - 2.0).abs() < 0.5, "{bent}");
        assert_eq!(slope(&line[..1]), None);
    }

    /// Gilbert 1987 has no short table; this one is by hand: 6 pairs, 4 rise, 1
    /// falls, 1 ties: S = 3, variance (4·3·13 − 2·1·9) / 18 = 138 / 18.
    #[test]
    fn the_score_is_that_of_the_book() {
        let z = mann_kendall(&points([1.0, 3.0, 2.0, 3.0]));
        assert!((z - 2.0 / (138.0_f64 / 18.0).sqrt()).abs() < 1e-12, "{z}");
        assert_eq!(mann_kendall(&points([5.0; 9])), 0.0);
    }

    #[test]
    fn a_line_is_a_trend_and_what_falls_or_steps_is_none() {
        let trend = rising(&points((0..60).map(f64::from))).unwrap();
        assert_eq!((trend.slope_per_s, trend.value), (1.0, 59.0));
        assert_eq!(rising(&points((0..60).map(|n| -f64::from(n)))), None);
        for step in [10, 20, 30, 40, 50] {
            let it = points((0..60).map(|n| if n < step { 1.0 } else { 9.0 }));
            assert_eq!(rising(&it), None, "a step at {step}");
        }
        let stair = points((0..60).map(|n| f64::from(u8::from(n > 10) + u8::from(n > 50))));
        assert_eq!(rising(&stair), None);
        assert_eq!(rising(&[]), None);
    }

    #[test]
    fn a_saw_tooth_of_any_length_that_came_back_is_none() {
        for period in 3..45 {
            for phase in 0..period {
                let it = points((0..90).map(|n| f64::from((n + phase) % period)));
                assert_eq!(rising(&it), None, "period {period}, phase {phase}");
            }
        }
    }
}
