//! One rule over one series.
//!
//! ```text
//!  blind ──▶ steady ◀──────────────────────────────┐
//!                │ rises for good, and the limit    │ twice in a row it does not,
//!                │ lies within the horizon          │ or it was started again
//!                └──────────────▶ leaking ──────────┘
//! ```
//!
//! Invariant: a height that it came down from by itself is no news: below it, a
//! rise is a heap that fills before it is collected.

use homeostat_sdk::text::{amount, short, span};
use homeostat_sdk::{Finding, Series};
use serde::{Deserialize, Serialize};

use crate::config::{Rule, Toward};
use crate::trend::{Trend, rising};
use crate::window::Window;

/// So many times in a row it must look well.
const WELL_WANTED: u8 = 2;
/// Beyond the horizon by this much, it is over.
const HORIZON_SLACK: f64 = 1.25;
/// Nothing is foretold for longer than so many times what was seen.
const REACH: f64 = 10.0;
/// A height is remembered for so many windows.
const HEIGHT_WINDOWS: u64 = 4;

#[derive(Debug)]
pub struct Watch {
    pub rule: usize,
    pub column: usize,
    pub series: Series,
    pub memory: Memory,
    /// A step is over and nobody has looked yet.
    pub due: bool,
}

/// What outlives a restart, under the watch's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    window: Window,
    started_age_ms: u64,
    pub standing: Option<Standing>,
    well: u8,
    /// It may be called well: it was looked at, or has just been started.
    pub known: bool,
    /// Since it last came down.
    lowest: Option<f64>,
    highest: Option<f64>,
    came_down: Option<CameDown>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct CameDown {
    from: f64,
    age_ms: u64,
}

/// What was seen when it was raised; it does not change while it stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Standing {
    since_age_ms: u64,
    value: f64,
    slope_per_s: f64,
    reached_in_s: f64,
}

impl Watch {
    pub fn new(rule: usize, column: usize, series: &Series) -> Self {
        let memory = Memory { window: Window::new(series.period_ms.into()), ..Memory::default() };
        Self { rule, column, series: series.clone(), memory, due: false }
    }

    /// Names its memory: the rule, and what tells the series from others.
    pub fn key(&self, rule: &Rule) -> String {
        let Series { name, target, labels, .. } = &self.series;
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let place =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}/{target}/{name}{place}", rule.name)
    }

    pub fn reading(&mut self, age_ms: u64, value: f64, rule: &Rule) {
        let memory = &mut self.memory;
        if !value.is_finite() || age_ms < memory.started_age_ms + rule.settle_ms {
            return;
        }
        // From here on it rises towards its limit.
        let value = rule.toward.turned(value);
        if let Some(mean) = memory.window.add(age_ms, value, rule.window_ms) {
            memory.come_down(mean, age_ms, rule.window_ms);
            self.due = true;
        }
    }

    /// Nothing of before is left.
    pub fn started(&mut self, mark_age_ms: u64, now_age_ms: u64, rule: &Rule) {
        let memory = &mut self.memory;
        // A detector that was away is told again of the start that it knows.
        if mark_age_ms <= memory.started_age_ms {
            return;
        }
        memory.started_age_ms = mark_age_ms;
        memory.window.forget(mark_age_ms.saturating_add(rule.settle_ms));
        memory.standing.take_if(|standing| standing.since_age_ms < mark_age_ms);
        (memory.lowest, memory.highest, memory.came_down) = (None, None, None);
        memory.known |= now_age_ms.saturating_sub(mark_age_ms) < rule.span_ms_min;
    }

    /// Looks at the window.
    pub fn look(&mut self, now_age_ms: u64, rule: &Rule) {
        self.due = false;
        let memory = &mut self.memory;
        let Some(points) = memory.window.points(rule.span_ms_min) else { return };
        memory.known = true;
        let news = |trend: &Trend| memory.came_down.is_none_or(|it| trend.value > it.from);
        let trend = rising(&points).filter(news);
        let reached_in_s = trend.map(|it| {
            let left = rule.toward.turned(rule.limit) - it.value;
            left.max(0.0) / it.slope_per_s
        });
        let within = |times: f64| reached_in_s.is_some_and(|it| it <= rule.horizon_s * times);
        let seen_s = points.last().map_or(0.0, |(seconds, _)| *seconds);
        if memory.standing.is_some() {
            memory.well = if within(HORIZON_SLACK) { 0 } else { memory.well + 1 };
            if memory.well >= WELL_WANTED {
                (memory.standing, memory.well) = (None, 0);
            }
        } else if let (Some(trend), Some(reached_in_s)) = (trend, reached_in_s)
            && within(1.0)
            && reached_in_s <= seen_s * REACH
        {
            memory.well = 0;
            memory.standing = Some(Standing {
                since_age_ms: now_age_ms,
                value: rule.toward.turned(trend.value),
                slope_per_s: rule.toward.turned(trend.slope_per_s),
                reached_in_s,
            });
        }
    }

    pub fn finding(&self, rule: &Rule) -> Option<Finding> {
        let Standing { since_age_ms, value, slope_per_s, reached_in_s } = self.memory.standing?;
        let Series { name, unit, target, .. } = &self.series;
        let moves = match rule.toward {
            Toward::Rise => "rises",
            Toward::Fall => "falls",
        };
        let when = match reached_in_s {
            0.0 => "has reached its limit of".to_owned(),
            seconds => format!("in {} reaches its limit of", span(seconds)),
        };
        let message = format!(
            "{name} of {} {moves} steadily by {} an hour, is at {}, and {when} {}",
            short(target),
            amount(slope_per_s.abs() * 3_600.0, unit),
            amount(value, unit),
            amount(rule.limit, unit)
        );
        let mut finding = Finding::new(&rule.kind, target, message)
            .severity(rule.severity)
            .column(self.column)
            .with("value", value)
            .with("limit", rule.limit)
            .with("slope_per_s", slope_per_s)
            .with("reached_in_s", reached_in_s)
            .with("since_age_ms", since_age_ms);
        finding.key = self.key(rule);
        Some(finding)
    }
}

impl Memory {
    /// Whether it gave back more than half of what it gained.
    fn come_down(&mut self, level: f64, age_ms: u64, window_ms: u64) {
        let kept_ms = window_ms.saturating_mul(HEIGHT_WINDOWS);
        self.came_down.take_if(|it| age_ms.saturating_sub(it.age_ms) > kept_ms);
        let lowest = self.lowest.map_or(level, |it| it.min(level));
        let highest = self.highest.map_or(level, |it| it.max(level));
        if highest - level > (highest - lowest) / 2.0 {
            let from = self.came_down.map_or(highest, |it| it.from.max(highest));
            self.came_down = Some(CameDown { from, age_ms });
            (self.lowest, self.highest) = (Some(level), Some(level));
        } else {
            (self.lowest, self.highest) = (Some(lowest), Some(highest));
        }
    }
}

impl Toward {
    fn turned(self, value: f64) -> f64 {
        match self {
            Self::Rise => value,
            Self::Fall => -value,
        }
    }
}
