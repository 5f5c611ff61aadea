//! Text in lines that tells of trouble: rules of the site, and sets of them for
//! inference servers.
//!
//! Invariant: a line is an edge. What it raised stands until a mark on its
//! target (it was started again, an action on it ended, the box booted), or a
//! quiet time during which the target was in sight.

mod config;
mod set;

use homeostat_sdk::latch::{Latch, Latches};
use homeostat_sdk::sight::Sight;
use homeostat_sdk::text::{short, span};
use homeostat_sdk::{Detector, Error, Event, Finding, Frame, Report, Resumable, Series, detector};
use serde::{Deserialize, Serialize};

pub use config::Config;
use config::Rule;

/// Readings that come as long as somebody looks at a workload, and at the box.
const HEARTBEATS: [&str; 2] = ["homeostat.workload.running", "system.memory.utilization"];
/// A checkpoint has a ceiling of 256 KiB: so many moments go into one.
const SAVED_HITS_MAX: usize = 4_000;

pub struct LogPattern {
    rules: Vec<Rule>,
    latches: Latches,
    sight: Sight,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    lines: Vec<Latch>,
}

impl Detector for LogPattern {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        let (latches, sight) = (Latches::default(), Sight::default());
        Ok(Self { rules: config.resolve()?, latches, sight })
    }

    fn reads(&self) -> Vec<String> {
        HEARTBEATS.map(String::from).to_vec()
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        self.sight.bind(series);
        self.latches.iter().for_each(|latch| self.sight.know(&latch.target));
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        self.sight.look(frame);
        // Between two heartbeats there is nothing to do, and nearly always no line.
        for event in frame.events() {
            match event {
                Event::Row(_) => {}
                Event::Line(line) => {
                    if self.latches.line(line, &self.rules) {
                        self.sight.know(&line.target);
                        self.sight.see(&line.target);
                    }
                }
                Event::Mark(mark) => {
                    // What is released is judged, and found well.
                    let released = self.latches.mark(mark, &self.rules);
                    released.iter().for_each(|target| self.sight.see(target));
                }
            }
        }
        let sight = &self.sight;
        self.latches.pass(frame.now().age_ms, &self.rules, |target| sight.sees(target));
        let findings = self.latches.iter().filter_map(|latch| self.finding(latch)).collect();
        self.sight.judge(Report { findings, unjudged: Vec::new() })
    }
}

impl Resumable for LogPattern {
    type State = State;

    fn save(&self) -> State {
        State { lines: self.latches.save(&mut { SAVED_HITS_MAX }) }
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.latches.restore(state.lines, &self.rules);
        Ok(())
    }
}

impl LogPattern {
    fn finding(&self, latch: &Latch) -> Option<Finding> {
        let standing = latch.standing.as_ref()?;
        let rule = self.rules.iter().find(|rule| rule.lines.name == latch.rule)?;
        let often = match rule.lines.times {
            1 => String::new(),
            times => format!(" {times} times in {}", span(rule.lines.within_ms as f64 / 1_000.0)),
        };
        let message = format!("{} wrote{often}: {}", short(&latch.target), standing.line);
        let mut finding = Finding::new(&rule.kind, &latch.target, message)
            .severity(rule.severity)
            .with("line", standing.line.as_str())
            .with("count", standing.count as u64)
            .with("since_age_ms", standing.since_age_ms);
        finding.key = format!("{}/{}", rule.lines.name, latch.target);
        Some(finding)
    }
}

detector!(LogPattern, resumable);

#[cfg(test)]
mod tests;
