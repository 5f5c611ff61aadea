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
mod series;

use homeostat_sdk::latch::{Latch, Latches};
use homeostat_sdk::{
    Detector, Error, Event, Frame, Line, Mark, Report, Resumable, Series, detector,
};
use serde::{Deserialize, Serialize};

pub use config::Config;
use config::Rules;
use series::{Memory, Watch};

/// A checkpoint has a ceiling of 256 KiB: so many series that are out of the
/// ordinary go into one, and so many moments of all that are being counted.
const SAVED_SERIES_MAX: usize = 400;
const SAVED_HITS_MAX: usize = 4_000;

pub struct Threshold {
    rules: Rules,
    watches: Vec<Watch>,
    /// Targets of the bound series, and of latches.
    targets: Vec<Target>,
    latches: Latches,
    /// Of series that are not bound yet, by the watch's key.
    kept: Vec<(String, Memory)>,
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
    series: Vec<(String, Memory)>,
    lines: Vec<Latch>,
}

impl Detector for Threshold {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        Ok(Self {
            rules: config.resolve()?,
            watches: Vec::new(),
            targets: Vec::new(),
            latches: Latches::default(),
            kept: Vec::new(),
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
        let (mut known, mut next) = (self.memories(), 0);
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
                let key = watch.key(rule);
                // Series mostly keep their order, so the next is looked for first.
                let mut places = (next..known.len()).chain(0..next);
                if let Some(at) = places.find(|at| known[*at].0 == key) {
                    watch.memory = std::mem::take(&mut known[at].1);
                    next = at + 1;
                }
                self.watches.push(watch);
            }
        }
        for latch in self.latches.iter() {
            index(&mut self.targets, &latch.target);
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
        let mut hits_left = SAVED_HITS_MAX;
        let mut series = self.memories();
        // What is ordinary is seen again with the next reading; of the rest,
        // what stands comes first.
        series.retain(|(_, memory)| memory.is_worth_saving());
        let mut saved: Vec<_> =
            series.extract_if(.., |(_, memory)| memory.standing.is_some()).collect();
        saved.append(&mut series);
        saved.truncate(SAVED_SERIES_MAX);
        saved.iter_mut().for_each(|(_, memory)| memory.trim(&mut hits_left));
        let lines = self.latches.save(&mut hits_left);
        State { age_ms: self.age_ms, series: saved, lines }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.age_ms = state.age_ms;
        self.kept = state.series;
        self.latches.restore(state.lines, &self.rules.lines);
        for latch in self.latches.iter() {
            index(&mut self.targets, &latch.target);
        }
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

    fn read_words(&mut self, frame: &Frame<'_>) {
        if frame.lines().is_empty() && frame.marks().is_empty() {
            return;
        }
        for event in frame.events() {
            match event {
                Event::Row(_) => {}
                Event::Mark(mark) => self.mark(mark),
                Event::Line(line) => self.line(line),
            }
        }
    }

    fn line(&mut self, line: &Line) {
        if let Some(target) = self.targets.iter_mut().find(|it| it.name == line.target) {
            target.touched = true;
        }
        if self.latches.line(line, &self.rules.lines) {
            let target = index(&mut self.targets, &line.target);
            self.targets[target].touched = true;
        }
    }

    fn mark(&mut self, mark: &Mark) {
        // What is released is judged, and found well.
        let released = self.latches.mark(mark, &self.rules.lines);
        for target in &mut self.targets {
            target.touched |= target.name == mark.target || released.contains(&target.name);
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        // Nearly always there is nothing to say.
        let numbers = self.watches.iter().filter(|watch| watch.memory.standing.is_some());
        for watch in numbers.filter(|watch| self.targets[watch.target].touched) {
            report.findings.extend(watch.finding(&self.rules.series[watch.rule]));
        }
        for latch in self.latches.iter() {
            let touched = self.targets.iter().any(|it| it.touched && it.name == latch.target);
            let rule = self.rules.lines.iter().find(|rule| rule.rule.name == latch.rule);
            if let Some(rule) = rule.filter(|_| touched) {
                report.findings.extend(line::finding(latch, rule));
            }
        }
        for target in &self.targets {
            let found = || report.findings.iter().any(|it| it.target == target.name);
            if !target.touched || (target.blind && !found()) {
                report.unjudged.push(target.name.clone());
            }
        }
        report.fit()
    }

    /// What is known of every series, bound or still to be.
    fn memories(&self) -> Vec<(String, Memory)> {
        let bound = self.watches.iter();
        let bound = bound.map(|it| (it.key(&self.rules.series[it.rule]), it.memory.clone()));
        self.kept.iter().cloned().chain(bound).collect()
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
