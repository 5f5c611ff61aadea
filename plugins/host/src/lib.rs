//! What is wrong with the box itself: what its kernel writes, and levels of what
//! it has too little of.
//!
//! Invariant: a message is an edge, latched until a boot, an action or a quiet
//! time; a level is raised and cleared by readings alone. Missing readings
//! judge nothing.

mod config;
mod fault;
mod gauge;

use homeostat_sdk::latch::{Latch, Latches};
use homeostat_sdk::sight::Sight;
use homeostat_sdk::{Detector, Error, Event, Finding, Frame, Report, Resumable, Series, detector};
use serde::{Deserialize, Serialize};

pub use config::Config;
use config::Rules;
use gauge::{Memory, TEMPERATURE_LIMIT, Watch};

/// Read once a second on every box: time passes while the kernel is quiet.
const HEARTBEAT: &str = "system.memory.utilization";
/// A checkpoint has a ceiling of 256 KiB.
const SAVED_HITS_MAX: usize = 4_000;
const SAVED_WATCHES_MAX: usize = 256;

pub struct Host {
    rules: Rules,
    latches: Latches,
    watches: Vec<Watch>,
    targets: Vec<String>,
    sight: Sight,
    /// Of series that are not bound yet, by the watch's key.
    kept: Vec<(String, Memory)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    lines: Vec<Latch>,
    levels: Vec<(String, Memory)>,
}

impl Detector for Host {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        Ok(Self {
            rules: config.resolve()?,
            latches: Latches::default(),
            watches: Vec::new(),
            targets: Vec::new(),
            sight: Sight::default(),
            kept: Vec::new(),
        })
    }

    fn reads(&self) -> Vec<String> {
        let series = self.rules.gauges.iter().map(|it| it.series.to_owned());
        let always = [TEMPERATURE_LIMIT, HEARTBEAT].map(String::from);
        let mut reads: Vec<_> = series.chain(always).collect();
        reads.sort();
        reads.dedup();
        reads
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        let mut known = self.memories();
        self.kept.clear();
        self.watches.clear();
        self.sight.bind(series);
        self.sight.know("box");
        self.targets = series.iter().map(|it| it.target.clone()).collect();
        for (column, it) in series.iter().enumerate() {
            for (at, gauge) in self.rules.gauges.iter().enumerate() {
                if gauge.watches(it, &self.rules.mountpoints) {
                    let mut watch = Watch::new(at, gauge, column, series);
                    if let Some(at) = known.iter().position(|(key, _)| *key == watch.key) {
                        watch.memory = known.swap_remove(at).1;
                    }
                    self.watches.push(watch);
                }
            }
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        self.sight.look(frame);
        for event in frame.events() {
            match event {
                Event::Row(row) => {
                    for watch in &mut self.watches {
                        let gauge = &self.rules.gauges[watch.gauge];
                        let read = |column| row.get(column);
                        watch.reading(gauge, row.age_ms, read, &self.rules.writable);
                    }
                }
                Event::Line(line) => drop(self.latches.line(line, &self.rules.faults)),
                Event::Mark(mark) => drop(self.latches.mark(mark, &self.rules.faults)),
            }
        }
        let sight = &self.sight;
        self.latches.pass(frame.now().age_ms, &self.rules.faults, |target| sight.sees(target));
        let told = self.latches.iter().filter_map(|latch| self.told(latch));
        let findings = told.chain(self.watches.iter().filter_map(|watch| {
            watch.finding(&self.rules.gauges[watch.gauge], &self.targets[watch.column])
        }));
        self.sight.judge(Report { findings: findings.collect(), unjudged: Vec::new() })
    }
}

impl Resumable for Host {
    type State = State;

    fn save(&self) -> State {
        let mut levels = self.memories();
        levels.retain(|(_, memory)| memory.is_worth_saving());
        levels.truncate(SAVED_WATCHES_MAX);
        State { lines: self.latches.save(&mut { SAVED_HITS_MAX }), levels }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.latches.restore(state.lines, &self.rules.faults);
        self.kept = state.levels;
        Ok(())
    }
}

impl Host {
    fn told(&self, latch: &Latch) -> Option<Finding> {
        let standing = latch.standing.as_ref()?;
        let rule = self.rules.faults.iter().find(|it| it.lines.name == latch.rule)?;
        let (what, advice) = (rule.fault.what, rule.fault.advice);
        let kind = format!("host.{}", rule.fault.name);
        let message = format!("{what}: {}; {advice}", standing.line);
        let finding = Finding::new(&kind, &latch.target, message)
            .severity(rule.severity)
            .with("line", standing.line.as_str())
            .with("count", standing.count as u64)
            .with("since_age_ms", standing.since_age_ms);
        Some(finding)
    }

    /// What is known of every series, bound or still to be.
    fn memories(&self) -> Vec<(String, Memory)> {
        let bound = self.watches.iter().map(|it| (it.key.clone(), it.memory.clone()));
        self.kept.iter().cloned().chain(bound).collect()
    }
}

detector!(Host, resumable);

#[cfg(test)]
mod tests;
