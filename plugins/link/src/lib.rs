//! Whether the links of the box carry: carrier, flapping, errors and drops a
//! second, latency and loss to the hosts that the site names.
//!
//! Invariant: counters are read as what they rose by, never as what they are;
//! a link that never was up is missed only where the site expects it.

mod config;
mod counter;
mod watch;

use homeostat_sdk::sight::Sight;
use homeostat_sdk::{Detector, Error, Frame, Report, Resumable, Series, detector};
use serde::{Deserialize, Serialize};

pub use config::Config;
use watch::{Memory, Watch, What};

const SERIES: [&str; 6] = [
    "hw.network.up",
    "system.network.carrier_changes",
    "system.network.errors",
    "system.network.packet.dropped",
    "homeostat.link.latency",
    "homeostat.link.loss",
];
/// A checkpoint has a ceiling of 256 KiB.
const WATCHES_MAX: usize = 200;

pub struct Link {
    config: Config,
    watches: Vec<Watch>,
    sight: Sight,
    /// Of series that are not bound yet, by the watch's key.
    kept: Vec<(String, Memory)>,
    boot: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    boot: u64,
    series: Vec<(String, Memory)>,
}

impl Detector for Link {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        config.check()?;
        let (watches, kept) = (Vec::new(), Vec::new());
        Ok(Self { config, watches, sight: Sight::default(), kept, boot: 0 })
    }

    fn reads(&self) -> Vec<String> {
        SERIES.map(String::from).to_vec()
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        let mut known = self.memories();
        self.kept.clear();
        self.watches.clear();
        self.sight.bind(series);
        for (column, it) in series.iter().enumerate() {
            let Some(what) = What::of(&it.name) else { continue };
            if self.config.ignores(&it.target) {
                continue;
            }
            if self.watches.len() == WATCHES_MAX {
                homeostat_sdk::log::warn(format!(
                    "{} of {} is left out: {WATCHES_MAX} series are watched",
                    it.name, it.target
                ));
                continue;
            }
            let rule = self.config.rule(&it.target, it.label("host").unwrap_or_default());
            let mut watch = Watch::new(what, rule, column, it);
            let key = watch.key();
            if let Some(at) = known.iter().position(|(name, _)| *name == key) {
                watch.memory = known.swap_remove(at).1;
            }
            self.watches.push(watch);
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        self.sight.look(frame);
        let boot = std::mem::replace(&mut self.boot, frame.now().boot);
        if boot != self.boot {
            self.watches.iter_mut().for_each(|watch| watch.memory.booted());
        }
        for watch in &mut self.watches {
            for (age_ms, value) in frame.readings(watch.column) {
                watch.reading(age_ms, value);
            }
        }
        let findings = self.watches.iter().filter_map(Watch::finding).collect();
        self.sight.judge(Report { findings, unjudged: Vec::new() })
    }
}

impl Resumable for Link {
    type State = State;

    fn save(&self) -> State {
        State { boot: self.boot, series: self.memories() }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.boot = state.boot;
        self.kept = state.series;
        self.kept.truncate(WATCHES_MAX);
        Ok(())
    }
}

impl Link {
    /// What is known of every series, bound or still to be.
    fn memories(&self) -> Vec<(String, Memory)> {
        let bound = self.watches.iter().map(|it| (it.key(), it.memory.clone()));
        self.kept.iter().cloned().chain(bound).collect()
    }
}

detector!(Link, resumable);

#[cfg(test)]
mod tests;
