//! Is it alive? Processes that ended unasked, and probes that fail or say
//! nothing.
//!
//! Invariant: a finding is raised and cleared by evidence: an exit, a start, a
//! probe's reading, or the count of readings that did not come. A target that a
//! frame says nothing of is unjudged.
//!
//! | kind | what | gone when |
//! |---|---|---|
//! | `process.gone` | it ended and nobody stopped it | it was started, or is meant to be stopped |
//! | `probe.failing` | N of its last M readings were bad | fewer are, or the process was replaced |
//! | `probe.silent` | a probe does not return, or brings no verdict | it does |
//! | `external.failing`, `external.silent` | the same of what is not ours to repair | the same |

mod config;
mod probe;
mod process;
mod target;

use std::collections::{BTreeMap, BTreeSet};

use homeostat_sdk::{Detector, Error, Frame, Mark, Report, Resumable, Row, Series, detector};
use serde::{Deserialize, Serialize};

pub use config::Config;
use target::Target;

const RUNNING: &str = "homeostat.workload.running";
/// 1 where the workload is meant to run. A box that does not say so is
/// believed by its marks.
const DESIRED: &str = "homeostat.workload.desired";
const PROBE_UP: &str = "homeostat.probe.up";
const PROBE_OVERDUE: &str = "homeostat.probe.overdue";
const BOX: &str = "box";

pub struct Liveness {
    config: Config,
    columns: Vec<Column>,
    state: State,
}

/// What a bound series tells.
struct Column {
    target: String,
    what: What,
}

enum What {
    Running,
    Desired,
    Up { probe: String },
    Overdue { probe: String },
    Nothing,
}

/// What it remembers across frames, restarts and boots.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    boot: u64,
    age_ms: u64,
    /// The whole box is under maintenance.
    #[serde(default)]
    maintenance: bool,
    targets: BTreeMap<String, Target>,
}

impl Detector for Liveness {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config, columns: Vec::new(), state: State::default() })
    }

    fn reads(&self) -> Vec<String> {
        [RUNNING, DESIRED, PROBE_UP, PROBE_OVERDUE].map(String::from).to_vec()
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        self.columns = series.iter().map(Column::of).collect();
        let bound: BTreeSet<_> = series.iter().map(|it| it.target.as_str()).collect();
        self.state.targets.retain(|name, _| bound.contains(name.as_str()));
        for (at, (column, series)) in self.columns.iter().zip(series).enumerate() {
            let target = self.state.targets.entry(column.target.clone()).or_default();
            match &column.what {
                What::Running => target.has_process = true,
                What::Up { probe } => target.probe(probe).bind(at, series.period_ms),
                _ => {}
            }
        }
        for (name, target) in &mut self.state.targets {
            target.forget_probes_but(&probes_of(&self.columns, name));
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        let now = frame.now();
        // Time that nobody watched is not silence: no step is longer than a
        // probe's period (see `Probe::pass`).
        let passed_ms = match self.state.age_ms {
            0 => 0,
            before => now.age_ms.saturating_sub(before),
        };
        self.state.age_ms = now.age_ms;
        let boot = std::mem::replace(&mut self.state.boot, now.boot);
        // A fresh instance has no boot to compare with, and is no boot.
        if boot != 0 && boot != now.boot {
            self.booted(now.age_ms);
        }
        for target in self.state.targets.values_mut() {
            target.begin_frame();
        }
        self.take_in(frame);
        if frame.lost() == 0 {
            for (name, target) in &mut self.state.targets {
                target.pass(passed_ms, now.age_ms, |probe| self.config.probe(name, probe));
            }
        }
        self.report()
    }
}

impl Resumable for Liveness {
    type State = State;

    fn save(&self) -> State {
        self.state.clone()
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        self.state = state;
        Ok(())
    }
}

impl Liveness {
    /// Rows and marks in the order of their ages. A row of the same age as a
    /// mark was read before it.
    fn take_in(&mut self, frame: &Frame<'_>) {
        let mut marks: Vec<_> = frame.marks().iter().collect();
        marks.sort_by_key(|mark| mark.age_ms);
        let mut marks = marks.into_iter().peekable();
        for row in frame.rows() {
            while let Some(mark) = marks.next_if(|mark| mark.age_ms < row.age_ms) {
                self.mark(mark);
            }
            self.row(&row);
        }
        marks.for_each(|mark| self.mark(mark));
    }

    fn row(&mut self, row: &Row<'_>) {
        for (at, _, value) in row.readings() {
            let Some(column) = self.columns.get(at) else { continue };
            let Some(target) = self.state.targets.get_mut(&column.target) else { continue };
            let name = &column.target;
            match &column.what {
                What::Running => {
                    let (settle_ms, grace_ms) =
                        (self.config.settle_ms(), self.config.start_grace_ms(name));
                    target.running(row.age_ms, value > 0.0, settle_ms, grace_ms);
                }
                What::Desired => target.desired(value > 0.0),
                What::Up { probe } => {
                    let rule = self.config.probe(name, probe);
                    target.reading(probe, row.age_ms, value > 0.0, &rule);
                }
                What::Overdue { probe } => {
                    target.overdue(probe, row.age_ms, value);
                }
                What::Nothing => {}
            }
        }
    }

    fn mark(&mut self, mark: &Mark) {
        match mark.what.as_str() {
            "box.booted" => self.booted(mark.age_ms),
            "maintenance.on" | "maintenance.off" if mark.target == BOX => {
                self.state.maintenance = mark.what == "maintenance.on";
                self.state.targets.values_mut().for_each(Target::touch);
            }
            _ => {
                let Some(target) = self.state.targets.get_mut(&mark.target) else { return };
                target.mark(mark, self.config.start_grace_ms(&mark.target));
            }
        }
    }

    /// Nothing that ran before a boot runs after it, and all of it is granted
    /// its time to start.
    fn booted(&mut self, age_ms: u64) {
        for (name, target) in &mut self.state.targets {
            target.booted(age_ms, self.config.start_grace_ms(name));
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        for (name, target) in &self.state.targets {
            let hushed = self.state.maintenance;
            match target.verdict(name, hushed) {
                Some(findings) => report.findings.extend(findings),
                None => report.unjudged.push(name.clone()),
            }
        }
        report
    }
}

impl Column {
    fn of(series: &Series) -> Self {
        let probe = || series.label("probe").unwrap_or_default().to_owned();
        let what = match series.name.as_str() {
            RUNNING => What::Running,
            DESIRED => What::Desired,
            PROBE_UP => What::Up { probe: probe() },
            PROBE_OVERDUE => What::Overdue { probe: probe() },
            _ => What::Nothing,
        };
        Self { target: series.target.clone(), what }
    }
}

fn probes_of<'a>(columns: &'a [Column], target: &str) -> BTreeSet<&'a str> {
    let of_target = columns.iter().filter(|column| column.target == target);
    of_target
        .filter_map(|column| match &column.what {
            What::Up { probe } => Some(probe.as_str()),
            _ => None,
        })
        .collect()
}

detector!(Liveness, resumable);

#[cfg(test)]
mod tests;
