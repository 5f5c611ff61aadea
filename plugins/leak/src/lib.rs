//! What fills up slowly, and when it will be full: memory to its limit, a disk,
//! a table, by the steady slope of its series.
//!
//! Invariant: a forecast needs a past. Before a series was watched for long
//! enough its target is unjudged, unless it has just been started.

mod config;
mod trend;
mod watch;
mod window;

use homeostat_sdk::sight::Sight;
use homeostat_sdk::{Detector, Error, Event, Frame, Report, Resumable, Series, detector};
use serde::{Deserialize, Serialize};

pub use config::Config;
use config::Rule;
use watch::{Memory, Watch};

/// Series that are watched: a checkpoint has a ceiling of 256 KiB.
const WATCHES_MAX: usize = 96;
/// A look costs some thousand divisions; the others wait for the next frame.
const LOOKS_PER_FRAME_MAX: usize = 8;

pub struct Leak {
    rules: Vec<Rule>,
    watches: Vec<Watch>,
    sight: Sight,
    /// Of series that are not bound yet, by the watch's key.
    kept: Vec<(String, Memory)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    series: Vec<(String, Memory)>,
}

impl Detector for Leak {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let (watches, kept) = (Vec::new(), Vec::new());
        Ok(Self { rules: config.resolve()?, watches, sight: Sight::default(), kept })
    }

    fn reads(&self) -> Vec<String> {
        let mut reads: Vec<_> = self.rules.iter().map(|rule| rule.series.clone()).collect();
        reads.sort();
        reads.dedup();
        reads
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        let mut known = self.memories();
        self.kept.clear();
        self.watches.clear();
        self.sight.bind(series);
        for (column, it) in series.iter().enumerate() {
            for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.watches(it)) {
                if self.watches.len() == WATCHES_MAX {
                    homeostat_sdk::log::warn(format!(
                        "rule {:?} leaves out {} of {}: {WATCHES_MAX} series are watched",
                        rule.name, it.name, it.target
                    ));
                    continue;
                }
                let mut watch = Watch::new(at, column, it);
                let key = watch.key(rule);
                if let Some(at) = known.iter().position(|(name, _)| *name == key) {
                    watch.memory = known.swap_remove(at).1;
                }
                self.watches.push(watch);
            }
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        self.sight.look(frame);
        let now_age_ms = frame.now().age_ms;
        for event in frame.events() {
            match event {
                Event::Row(row) => {
                    for watch in &mut self.watches {
                        if let Some(value) = row.get(watch.column) {
                            watch.reading(row.age_ms, value, &self.rules[watch.rule]);
                        }
                    }
                }
                Event::Mark(mark) => {
                    let (everything, one) =
                        (mark.what == "box.booted", mark.what == "workload.started");
                    let concerned =
                        |it: &&mut Watch| everything || (one && it.series.target == mark.target);
                    for watch in self.watches.iter_mut().filter(concerned) {
                        watch.started(mark.age_ms, now_age_ms, &self.rules[watch.rule]);
                    }
                }
                Event::Line(_) => {}
            }
        }
        for watch in self.watches.iter_mut().filter(|it| it.due).take(LOOKS_PER_FRAME_MAX) {
            watch.look(now_age_ms, &self.rules[watch.rule]);
        }
        self.report()
    }
}

impl Resumable for Leak {
    type State = State;

    fn save(&self) -> State {
        State { series: self.memories() }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.kept = state.series;
        self.kept.truncate(WATCHES_MAX);
        Ok(())
    }
}

impl Leak {
    fn report(&self) -> Report {
        let mut report = Report::default();
        let found = |watch: &Watch| watch.finding(&self.rules[watch.rule]);
        report.findings = self.watches.iter().filter_map(found).collect();
        for watch in self.watches.iter().filter(|it| !it.memory.known) {
            let target = &watch.series.target;
            if !report.findings.iter().any(|it| it.target == *target)
                && !report.unjudged.contains(target)
            {
                report.unjudged.push(target.clone());
            }
        }
        self.sight.judge(report)
    }

    /// What is known of every series, bound or still to be.
    fn memories(&self) -> Vec<(String, Memory)> {
        let bound = self.watches.iter();
        let bound = bound.map(|it| (it.key(&self.rules[it.rule]), it.memory.clone()));
        self.kept.iter().cloned().chain(bound).collect()
    }
}

detector!(Leak, resumable);

#[cfg(test)]
mod tests;
