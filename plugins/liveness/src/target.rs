//! One target: its process, its probes, and whether anybody wants to know.
//!
//! Invariant: while it has no process, or is meant to have none, its probes
//! say nothing about it.

use homeostat_sdk::text::short;
use homeostat_sdk::{CRITICAL, Finding, Mark, WARNING};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Grace, ProbeRule};
use crate::probe::{Failing, Probe, Silence, Silent};
use crate::process::{End, Exit, Process, Watch};

const TEXT_BYTES_MAX: usize = 256;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    watch: Watch,
    maintenance: bool,
    pub probes: Vec<Probe>,
    /// Its process is among the series.
    #[serde(skip)]
    pub has_process: bool,
    /// The frame said something of it.
    #[serde(skip)]
    touched: bool,
}

impl Target {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            watch: Watch::default(),
            maintenance: false,
            probes: Vec::new(),
            has_process: false,
            touched: false,
        }
    }

    pub fn probe(&mut self, name: &str) -> &mut Probe {
        let at = self.probes.iter().position(|it| it.name == name).unwrap_or_else(|| {
            self.probes.push(Probe::new(name));
            self.probes.len() - 1
        });
        &mut self.probes[at]
    }

    pub fn begin_frame(&mut self) {
        self.touched = false;
        self.probes.iter_mut().for_each(Probe::begin_frame);
    }

    pub fn touch(&mut self) {
        self.touched = true;
    }

    pub fn mark(&mut self, mark: &Mark, grace: Grace) {
        let attempt = mark.text("attempt");
        match mark.what.as_str() {
            "workload.started" => {
                if self.watch.started(mark.age_ms, attempt) {
                    self.renew(mark.age_ms, grace.of_start(mark.num("start_grace_ms")));
                }
            }
            "workload.adopted" => self.watch.adopted(mark.age_ms),
            "workload.exited" if mark.flag("wanted") != Some(true) => {
                self.exited(mark, End::Unasked);
            }
            "workload.exited" | "workload.stopped" => self.exited(mark, End::Asked { due: false }),
            "action.ended" if is_start(mark) => self.watch.start_was_due(),
            "maintenance.on" => self.maintenance = true,
            "maintenance.off" => self.maintenance = false,
            _ => return,
        }
        self.touched = true;
    }

    fn exited(&mut self, mark: &Mark, end: End) {
        let text = |name| mark.text(name).map(cut);
        let exit = Exit { status: text("status"), error: text("error") };
        if self.watch.exited(mark.age_ms, mark.text("attempt"), exit, end) {
            self.quieten();
        }
    }

    pub fn booted(&mut self, age_ms: u64, grace: Grace) {
        if self.watch.is_known() && self.watch.since_age_ms() > age_ms {
            return;
        }
        if self.has_process {
            self.watch.forget(age_ms);
        }
        self.renew(age_ms, grace.ms());
    }

    pub fn running(&mut self, age_ms: u64, runs: bool, settle_ms: u64, grace: Grace) {
        self.touched = true;
        let ran = !self.watch.has_ended();
        self.watch.reading(age_ms, runs, settle_ms, grace.ms());
        if ran && self.watch.has_ended() {
            self.quieten();
        }
    }

    pub fn reading(&mut self, probe: &str, age_ms: u64, good: bool, rule: &ProbeRule) {
        self.touched = true;
        if self.is_watched() && !self.is_stale(age_ms) {
            self.probe(probe).reading(age_ms, good, rule);
        }
    }

    pub fn overdue(&mut self, probe: &str, age_ms: u64, seconds: f64) {
        self.touched = true;
        if self.is_watched() && !self.is_stale(age_ms) {
            self.probe(probe).overdue(seconds);
        }
    }

    /// Ends a frame: silence is counted where an answer is due.
    pub fn pass(&mut self, passed_ms: u64, now_age_ms: u64, config: &Config) {
        if !self.is_watched() {
            return;
        }
        for probe in &mut self.probes {
            probe.pass(passed_ms, now_age_ms, &config.probe(&self.name, &probe.name));
        }
    }

    /// All that is wrong with it, or none where it cannot be told.
    ///
    /// After a start that is so until it gave a sign of life: what was wrong
    /// before stands until then, and a start that leads nowhere clears nothing.
    pub fn verdict(&self, box_hushed: bool) -> Option<Vec<Finding>> {
        if box_hushed || self.maintenance {
            return self.touched.then(Vec::new);
        }
        let silent = self.probes.iter().any(|probe| probe.silent.is_some());
        let findings: Vec<_> = self.gone().into_iter().chain(self.unwell()).collect();
        let judged = self.touched && (self.is_known() || !findings.is_empty());
        (judged || silent).then_some(findings)
    }

    fn is_known(&self) -> bool {
        if self.is_watched() && !self.probes.is_empty() {
            return self.probes.iter().all(Probe::is_known);
        }
        self.watch.is_confirmed() || !self.has_process
    }

    /// Whether its probes have anybody to ask.
    fn is_watched(&self) -> bool {
        !self.watch.has_ended()
    }

    /// What was read of the process before says nothing of this one.
    fn is_stale(&self, age_ms: u64) -> bool {
        self.watch.is_known() && age_ms < self.watch.since_age_ms()
    }

    fn renew(&mut self, age_ms: u64, grace_ms: u64) {
        let until_age_ms = age_ms.saturating_add(grace_ms);
        self.probes.iter_mut().for_each(|probe| probe.renew(Some(until_age_ms)));
    }

    /// Its probes have nobody to ask any more.
    fn quieten(&mut self) {
        self.probes.iter_mut().for_each(|probe| probe.renew(None));
    }

    fn gone(&self) -> Option<Finding> {
        let Process::Ended { since_age_ms, attempt, exit, end } = &self.watch.process else {
            return None;
        };
        let short = short(&self.name);
        let how = exit.status.as_deref().unwrap_or("status unknown");
        let message = match (end, &exit.error) {
            (End::Asked { .. }, _) => return None,
            (_, Some(error)) => format!("{short} could not be started: {error}"),
            (End::Unasked, None) => format!("{short} ended and nobody asked it to: {how}"),
            (End::NotStartedAgain, None) => {
                format!("{short} was stopped, and the start that followed left it down")
            }
            (End::Missed, None) => format!("{short} is not running, and nobody stopped it"),
        };
        let finding = Finding::new("process.gone", &self.name, message)
            .severity(CRITICAL)
            .with("status", how)
            .with("since_age_ms", *since_age_ms);
        Some(match attempt {
            Some(attempt) => finding.with("attempt", attempt.as_str()),
            None => finding,
        })
    }

    fn unwell(&self) -> impl Iterator<Item = Finding> + '_ {
        self.probes.iter().flat_map(|probe| {
            let failing = probe.failing.map(|it| failing(&self.name, probe, it));
            let silent = probe.silent.map(|it| silent(&self.name, probe, it));
            failing.into_iter().chain(silent)
        })
    }
}

fn failing(target: &str, probe: &Probe, it: Failing) -> Finding {
    let name = probe.name.as_str();
    let kind = if is_external(target) { "external.failing" } else { "probe.failing" };
    let Failing { since_age_ms, bad, of } = it;
    let message = format!(
        "probe {name} of {}: {bad} of its last {of} readings {} bad",
        short(target),
        if bad == 1 { "was" } else { "were" }
    );
    Finding::new(kind, target, message)
        .part(name)
        .column(probe.column)
        .with("probe", name)
        .with("since_age_ms", since_age_ms)
}

fn silent(target: &str, probe: &Probe, it: Silent) -> Finding {
    let name = probe.name.as_str();
    let kind = if is_external(target) { "external.silent" } else { "probe.silent" };
    let short = short(target);
    let message = match it.why {
        Silence::NeverReturned { overdue_s } => {
            format!("probe {name} of {short} does not return: {overdue_s:.0} s past its timeout")
        }
        Silence::NoReading { for_s } => {
            format!("probe {name} of {short} brought no verdict for {for_s:.0} s")
        }
    };
    Finding::new(kind, target, message)
        .part(name)
        .severity(WARNING)
        .column(probe.column)
        .with("probe", name)
        .with("since_age_ms", it.since_age_ms)
}

/// Whether it tells of an action that leaves its workload running.
fn is_start(mark: &Mark) -> bool {
    matches!(mark.text("action"), Some("workload.restart" | "workload.start"))
}

/// Words from outside, short enough for a message.
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned()
}

fn is_external(target: &str) -> bool {
    target.starts_with("external:")
}
