//! Rules over numbers and lines: limits with hysteresis, "N times in a window",
//! text that must not appear.
//!
//! Invariant: numbers are a level, raised and cleared by readings; lines are
//! edges, latched until a mark releases them. A target that a frame says
//! nothing of is unjudged. A life that begins without a checkpoint has forgotten
//! the lines of the one before.

mod config;
mod line;
mod message;
mod pattern;
mod series;

use std::collections::BTreeMap;

use homeostat_sdk::{Detector, Error, Frame, Line, Mark, Report, Resumable, Series, detector};
use serde::{Deserialize, Serialize};

pub use config::Config;
use config::Rules;
use line::Latch;
use series::{Memory, Watch};

/// Latches that are kept: rules × targets that wrote matching lines.
const LATCHES_MAX: usize = 1_024;

pub struct Threshold {
    rules: Rules,
    watches: Vec<Watch>,
    /// Targets of the bound series, and of latches.
    targets: Vec<Target>,
    /// By rule name and target.
    latches: BTreeMap<(String, String), Latch>,
    /// Of series that are not bound yet.
    kept: BTreeMap<String, Memory>,
    age_ms: u64,
}

struct Target {
    name: String,
    /// The frame said something of it.
    touched: bool,
    /// One of its series is still to be seen.
    blind: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    age_ms: u64,
    series: BTreeMap<String, Memory>,
    /// Rule, target, latch.
    lines: Vec<(String, String, Latch)>,
}

impl Detector for Threshold {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        Ok(Self {
            rules: config.resolve()?,
            watches: Vec::new(),
            targets: Vec::new(),
            latches: BTreeMap::new(),
            kept: BTreeMap::new(),
            age_ms: 0,
        })
    }

    fn reads(&self) -> Vec<String> {
        let mut reads: Vec<_> = self.rules.series.iter().map(|rule| rule.series.clone()).collect();
        reads.sort();
        reads.dedup();
        reads
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        let mut kept = self.memories();
        self.kept.clear();
        self.watches.clear();
        self.targets.clear();
        for (column, it) in series.iter().enumerate() {
            for (at, rule) in self.rules.series.iter().enumerate() {
                if !series::watches(rule, it) {
                    continue;
                }
                let target = index(&mut self.targets, &it.target);
                let mut watch = Watch::new(at, column, target, it);
                watch.memory = kept.remove(&watch.key(rule)).unwrap_or_default();
                self.watches.push(watch);
            }
        }
        for (_, target) in self.latches.keys() {
            index(&mut self.targets, target);
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        let now_age_ms = frame.now().age_ms;
        let before = std::mem::replace(&mut self.age_ms, now_age_ms);
        let passed_ms = if before == 0 { 0 } else { now_age_ms.saturating_sub(before) };
        for target in &mut self.targets {
            (target.touched, target.blind) = (false, false);
        }
        self.read_numbers(frame, passed_ms);
        self.read_words(frame);
        self.report()
    }
}

impl Resumable for Threshold {
    type State = State;

    fn save(&self) -> State {
        let lines = self.latches.iter();
        State {
            age_ms: self.age_ms,
            series: self.memories(),
            lines: lines
                .map(|((rule, target), latch)| (rule.clone(), target.clone(), latch.clone()))
                .collect(),
        }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.age_ms = state.age_ms;
        self.kept = state.series;
        // A rule that is gone takes its evidence with it.
        let has_rule = |name: &str| self.rules.lines.iter().any(|rule| rule.rule.name == name);
        self.latches = state
            .lines
            .into_iter()
            .filter(|(rule, ..)| has_rule(rule))
            .map(|(rule, target, latch)| ((rule, target), latch))
            .collect();
        Ok(())
    }
}

impl Threshold {
    fn read_numbers(&mut self, frame: &Frame<'_>, passed_ms: u64) {
        for watch in &mut self.watches {
            let rule = &self.rules.series[watch.rule];
            let target = &mut self.targets[watch.target];
            let mut heard = false;
            for (age_ms, value) in frame.readings(watch.column) {
                watch.reading(age_ms, value, rule);
                heard = true;
            }
            target.touched |= heard;
            if !heard {
                watch.pass(passed_ms);
            }
            target.blind |= !watch.is_known();
        }
    }

    /// Lines and marks in the order of their ages. A mark of the same age as a
    /// line came before it: a process starts, then speaks.
    fn read_words(&mut self, frame: &Frame<'_>) {
        let mut marks: Vec<_> = frame.marks().iter().collect();
        let mut lines: Vec<_> = frame.lines().iter().collect();
        marks.sort_by_key(|mark| mark.age_ms);
        lines.sort_by_key(|line| line.age_ms);
        let mut marks = marks.into_iter().peekable();
        for line in lines {
            while let Some(mark) = marks.next_if(|mark| mark.age_ms <= line.age_ms) {
                self.mark(mark);
            }
            self.line(line);
        }
        marks.for_each(|mark| self.mark(mark));
    }

    fn line(&mut self, line: &Line) {
        if let Some(target) = self.targets.iter_mut().find(|it| it.name == line.target) {
            target.touched = true;
        }
        for rule in self.rules.lines.iter().filter(|rule| line::matches(rule, line)) {
            let key = (rule.rule.name.clone(), line.target.clone());
            if self.latches.len() >= LATCHES_MAX && !self.latches.contains_key(&key) {
                homeostat_sdk::log::warn(format!(
                    "rule {:?} forgets a line of {}: {LATCHES_MAX} are kept",
                    rule.rule.name, line.target
                ));
                continue;
            }
            self.latches.entry(key).or_default().hit(line, rule);
            let target = index(&mut self.targets, &line.target);
            self.targets[target].touched = true;
        }
    }

    fn mark(&mut self, mark: &Mark) {
        let rules = &self.rules.lines;
        let concerns = |target: &str| target == mark.target || mark.what == "box.booted";
        self.latches.retain(|(name, target), _| {
            let rule = rules.iter().find(|rule| rule.rule.name == *name);
            let released = rule.is_none_or(|rule| rule.release.contains(&mark.what));
            !(released && concerns(target))
        });
        for target in self.targets.iter_mut().filter(|it| concerns(&it.name)) {
            target.touched = true;
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        // Nearly always there is nothing to say.
        let numbers = self.watches.iter().filter(|watch| watch.memory.standing.is_some());
        for watch in numbers.filter(|watch| self.targets[watch.target].touched) {
            report.findings.extend(watch.finding(&self.rules.series[watch.rule]));
        }
        for ((name, target), latch) in &self.latches {
            let touched = self.targets.iter().any(|it| it.touched && it.name == *target);
            let rule = self.rules.lines.iter().find(|rule| rule.rule.name == *name);
            if let Some(rule) = rule.filter(|_| touched) {
                report.findings.extend(latch.finding(target, rule));
            }
        }
        for target in &self.targets {
            let found = || report.findings.iter().any(|it| it.target == target.name);
            if !target.touched || (target.blind && !found()) {
                report.unjudged.push(target.name.clone());
            }
        }
        report
    }

    /// What is known of every series, bound or still to be.
    fn memories(&self) -> BTreeMap<String, Memory> {
        let bound = self.watches.iter();
        let bound = bound.map(|it| (it.key(&self.rules.series[it.rule]), it.memory.clone()));
        self.kept.iter().map(|(key, it)| (key.clone(), it.clone())).chain(bound).collect()
    }
}

fn index(targets: &mut Vec<Target>, name: &str) -> usize {
    targets.iter().position(|it| it.name == name).unwrap_or_else(|| {
        targets.push(Target { name: name.to_owned(), touched: false, blind: false });
        targets.len() - 1
    })
}

detector!(Threshold, resumable);

#[cfg(test)]
mod tests;
