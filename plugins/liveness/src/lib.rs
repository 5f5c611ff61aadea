//! Is it alive? Processes that ended unasked, and probes that fail or say
//! nothing.
//!
//! Invariant: a finding is raised and cleared by evidence: an exit, a start, a
//! probe's reading, or the count of readings that did not come. A target that a
//! frame says nothing of is unjudged.
//!
//! | kind | what | gone when |
//! |---|---|---|
//! | `process.gone` | it ended and nobody stopped it | it runs again and its probes say so, or it was stopped |
//! | `probe.failing` | N of its last M readings were bad | fewer are |
//! | `probe.silent` | a probe does not return, or brings no verdict | it does |
//! | `external.failing`, `external.silent` | the same of what is not ours to repair | the same |

mod config;
mod probe;
mod process;
mod target;

use homeostat_sdk::{
    Detector, Error, Event, Frame, Mark, Report, Resumable, Row, Series, detector,
};
use serde::{Deserialize, Serialize};

pub use config::Config;
use probe::Probe;
use target::Target;

const RUNNING: &str = "homeostat.workload.running";
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
    Up { probe: String },
    Overdue { probe: String },
    Nothing,
}

/// What it remembers across frames, restarts and boots.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    boot: u64,
    booted_age_ms: Option<u64>,
    age_ms: u64,
    /// The whole box is under maintenance.
    #[serde(default)]
    maintenance: bool,
    targets: Vec<Target>,
}

impl Detector for Liveness {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config, columns: Vec::new(), state: State::default() })
    }

    fn reads(&self) -> Vec<String> {
        [RUNNING, PROBE_UP, PROBE_OVERDUE].map(String::from).to_vec()
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        self.columns = series.iter().map(Column::of).collect();
        self.state.targets.retain(|it| series.iter().any(|series| series.target == it.name));
        for (at, (column, series)) in self.columns.iter().zip(series).enumerate() {
            let target = self.state.target(&column.target);
            match &column.what {
                What::Running => target.has_process = true,
                What::Up { probe } => target.probe(probe).bind(at, series.period_ms),
                _ => {}
            }
        }
        for target in &mut self.state.targets {
            let has = |column: &Column, name: &str| {
                column.target == target.name
                    && matches!(&column.what, What::Up { probe } if probe == name)
            };
            target.probes.retain(|probe| self.columns.iter().any(|it| has(it, &probe.name)));
        }
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        let now = frame.now();
        // Time that nobody watched is not silence: no step is longer than a
        // probe's period (see `Probe::pass`), and the first of a life is none.
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
        self.state.targets.iter_mut().for_each(Target::begin_frame);
        self.take_in(frame);
        if frame.lost() == 0 {
            for target in &mut self.state.targets {
                target.pass(passed_ms, now.age_ms, &self.config);
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
        self.state.age_ms = 0;
        let probes = self.state.targets.iter_mut().flat_map(|it| &mut it.probes);
        probes.for_each(Probe::resume);
        Ok(())
    }
}

impl Liveness {
    fn take_in(&mut self, frame: &Frame<'_>) {
        for event in frame.events() {
            match event {
                Event::Row(row) => self.row(&row),
                Event::Mark(mark) => self.mark(mark),
                Event::Line(_) => {}
            }
        }
    }

    fn row(&mut self, row: &Row<'_>) {
        for (at, _, value) in row.readings() {
            let Some(column) = self.columns.get(at) else { continue };
            let name = &column.target;
            let Some(target) = self.state.find(name) else { continue };
            match &column.what {
                What::Running => {
                    let (settle_ms, grace_ms) =
                        (self.config.settle_ms(), self.config.start_grace_ms(name));
                    target.running(row.age_ms, value > 0.0, settle_ms, grace_ms);
                }
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
                self.state.targets.iter_mut().for_each(Target::touch);
            }
            _ => {
                let Some(target) = self.state.find(&mark.target) else { return };
                target.mark(mark, self.config.start_grace_ms(&mark.target));
            }
        }
    }

    /// Nothing that ran before a boot runs after it, and all of it is granted
    /// its time to start.
    fn booted(&mut self, age_ms: u64) {
        // A detector that was away is told again of the boot that it knows.
        if self.state.booted_age_ms.is_some_and(|known| age_ms <= known) {
            return;
        }
        self.state.booted_age_ms = Some(age_ms);
        for target in &mut self.state.targets {
            target.booted(age_ms, self.config.start_grace_ms(&target.name));
        }
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        for target in &self.state.targets {
            match target.verdict(self.state.maintenance) {
                Some(findings) => report.findings.extend(findings),
                None => report.unjudged.push(target.name.clone()),
            }
        }
        report.fit()
    }
}

impl State {
    fn find(&mut self, name: &str) -> Option<&mut Target> {
        self.targets.iter_mut().find(|it| it.name == name)
    }

    fn target(&mut self, name: &str) -> &mut Target {
        let at = self.targets.iter().position(|it| it.name == name).unwrap_or_else(|| {
            self.targets.push(Target::new(name));
            self.targets.len() - 1
        });
        &mut self.targets[at]
    }
}

impl Column {
    fn of(series: &Series) -> Self {
        let probe = || series.label("probe").unwrap_or_default().to_owned();
        let what = match series.name.as_str() {
            RUNNING => What::Running,
            PROBE_UP => What::Up { probe: probe() },
            PROBE_OVERDUE => What::Overdue { probe: probe() },
            _ => What::Nothing,
        };
        Self { target: series.target.clone(), what }
    }
}

detector!(Liveness, resumable);

#[cfg(test)]
mod tests;
