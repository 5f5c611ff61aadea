//! Which targets a frame lets a detector judge.
//!
//! A target is seen when the frame says something of it: a reading, a line, a
//! mark. It is blind while a series of it that never was read may still bring
//! what another life has reported.
//!
//! Invariant: silence is not health. What is not seen is unjudged.

use crate::frame::Frame;
use crate::types::{Report, Series};

/// A series that never brought a reading is waited for so long before its
/// target is judged without it.
const BLIND_PERIODS: u64 = 5;
const BLIND_MS_MIN: u64 = 30_000;
/// A series that is read once an hour may never be: its target is not left
/// unjudged for half a day.
const BLIND_MS_MAX: u64 = 600_000;

#[derive(Debug, Default)]
pub struct Sight {
    targets: Vec<Target>,
    columns: Vec<Column>,
    age_ms: u64,
}

#[derive(Debug)]
struct Target {
    name: String,
    seen: bool,
}

#[derive(Debug)]
struct Column {
    target: usize,
    read: bool,
    blind_ms: u64,
    period_ms: u64,
}

impl Sight {
    /// The series from now on. What was seen of others is forgotten.
    pub fn bind(&mut self, series: &[Series]) {
        self.targets.clear();
        self.columns.clear();
        for it in series {
            let target = self.index(&it.target);
            let period_ms = it.period_ms.into();
            self.columns.push(Column { target, read: false, blind_ms: 0, period_ms });
        }
    }

    /// Keeps a target in sight that no series has, such as one with a latch.
    pub fn know(&mut self, target: &str) {
        self.index(target);
    }

    /// Begins a frame: call it first.
    pub fn look(&mut self, frame: &Frame<'_>) {
        let now_age_ms = frame.now().age_ms;
        let before = std::mem::replace(&mut self.age_ms, now_age_ms);
        let passed_ms = if before == 0 { 0 } else { now_age_ms.saturating_sub(before) };
        self.targets.iter_mut().for_each(|it| it.seen = false);
        for (at, column) in self.columns.iter_mut().enumerate() {
            if frame.latest(at).is_some() {
                column.read = true;
                self.targets[column.target].seen = true;
            } else if !column.read {
                // Time that nobody watched is not waiting.
                column.blind_ms += passed_ms.min(column.period_ms.max(1_000));
            }
        }
        let marks = frame.marks().iter().map(|mark| &mark.target);
        for target in frame.lines().iter().map(|line| &line.target).chain(marks) {
            self.see(target);
        }
    }

    /// A target that is judged in this frame for another reason.
    pub fn see(&mut self, target: &str) {
        if let Some(it) = self.targets.iter_mut().find(|it| it.name == target) {
            it.seen = true;
        }
    }

    pub fn sees(&self, target: &str) -> bool {
        self.targets.iter().any(|it| it.seen && it.name == target)
    }

    /// Keeps the findings of what is seen, and names what is not.
    pub fn judge(&self, mut report: Report) -> Report {
        report.findings.retain(|finding| self.sees(&finding.target));
        for (at, target) in self.targets.iter().enumerate() {
            let found = || report.findings.iter().any(|it| it.target == target.name);
            let blind = |it: &Column| it.target == at && it.is_blind();
            let named = report.unjudged.contains(&target.name);
            if !named && (!target.seen || (self.columns.iter().any(blind) && !found())) {
                report.unjudged.push(target.name.clone());
            }
        }
        report.fit()
    }

    fn index(&mut self, name: &str) -> usize {
        self.targets.iter().position(|it| it.name == name).unwrap_or_else(|| {
            self.targets.push(Target { name: name.to_owned(), seen: false });
            self.targets.len() - 1
        })
    }
}

impl Column {
    fn is_blind(&self) -> bool {
        let waited_for_ms = (self.period_ms * BLIND_PERIODS).clamp(BLIND_MS_MIN, BLIND_MS_MAX);
        !self.read && self.blind_ms <= waited_for_ms
    }
}
