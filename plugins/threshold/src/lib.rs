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

use homeostat_sdk::{
    Detector, Error, Event, Frame, Line, Mark, Report, Resumable, Series, detector,
};
use serde::{Deserialize, Serialize};

pub use config::Config;
use config::Rules;
use line::{Latch, Release};
use series::{Memory, Watch};

/// Latches that are kept: rules × targets that wrote matching lines.
const LATCHES_MAX: usize = 128;
const RELEASES_MAX: usize = 256;
/// A checkpoint has a ceiling of 256 KiB: so many series that are out of the
/// ordinary go into one, and so many moments of all that are being counted.
const SAVED_SERIES_MAX: usize = 400;
const SAVED_HITS_MAX: usize = 4_000;

pub struct Threshold {
    rules: Rules,
    watches: Vec<Watch>,
    /// Targets of the bound series, and of latches.
    targets: Vec<Target>,
    latches: Vec<Latch>,
    releases: Vec<Release>,
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
            latches: Vec::new(),
            releases: Vec::new(),
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
        for latch in &self.latches {
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
        let mut lines = self.latches.clone();
        lines.iter_mut().for_each(|latch| latch.trim(&mut hits_left));
        State { age_ms: self.age_ms, series: saved, lines }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.age_ms = state.age_ms;
        self.kept = state.series;
        // A rule that is gone takes its evidence with it.
        self.latches = state.lines;
        let rules = &self.rules.lines;
        self.latches.retain(|latch| rules.iter().any(|rule| rule.rule.name == latch.rule));
        for latch in &self.latches {
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
        for rule in self.rules.lines.iter().filter(|rule| line::matches(rule, line)) {
            let over = |it: &Release| it.concerns(rule, &line.target) && line.age_ms < it.age_ms;
            if self.releases.iter().any(over) {
                continue;
            }
            let mine = |it: &Latch| it.rule == rule.rule.name && it.target == line.target;
            match self.latches.iter().position(mine) {
                Some(at) => self.latches[at].hit(line, rule),
                None if self.latches.len() < LATCHES_MAX => {
                    self.latches.push(Latch::of(line, rule));
                }
                None => homeostat_sdk::log::warn(format!(
                    "rule {:?} forgets a line of {}: {LATCHES_MAX} are kept",
                    rule.rule.name, line.target
                )),
            }
            let target = index(&mut self.targets, &line.target);
            self.targets[target].touched = true;
        }
    }

    fn mark(&mut self, mark: &Mark) {
        let release =
            Release { what: mark.what.clone(), target: mark.target.clone(), age_ms: mark.age_ms };
        for target in self.targets.iter_mut().filter(|it| it.name == mark.target) {
            target.touched = true;
        }
        let rules = &self.rules.lines;
        if !rules.iter().any(|rule| rule.release.contains(&mark.what)) {
            return;
        }
        self.latches.retain_mut(|latch| {
            let rule = rules.iter().find(|rule| rule.rule.name == latch.rule);
            let concerned = rule.is_none_or(|rule| release.concerns(rule, &latch.target));
            if !concerned {
                return true;
            }
            let left = !latch.release(mark.age_ms);
            // What is released is judged, and found well.
            if let Some(target) = self.targets.iter_mut().find(|it| it.name == latch.target) {
                target.touched = true;
            }
            left
        });
        self.remember(release);
    }

    fn remember(&mut self, release: Release) {
        let known = |it: &Release| it.what == release.what && it.target == release.target;
        match self.releases.iter().position(known) {
            Some(at) => self.releases[at].age_ms = self.releases[at].age_ms.max(release.age_ms),
            None if self.releases.len() < RELEASES_MAX => self.releases.push(release),
            None => {}
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        // Nearly always there is nothing to say.
        let numbers = self.watches.iter().filter(|watch| watch.memory.standing.is_some());
        for watch in numbers.filter(|watch| self.targets[watch.target].touched) {
            report.findings.extend(watch.finding(&self.rules.series[watch.rule]));
        }
        for latch in &self.latches {
            let touched = self.targets.iter().any(|it| it.touched && it.name == latch.target);
            let rule = self.rules.lines.iter().find(|rule| rule.rule.name == latch.rule);
            if let Some(rule) = rule.filter(|_| touched) {
                report.findings.extend(latch.finding(rule));
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
