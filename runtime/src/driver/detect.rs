//! Detectors: binding them to series, feeding them, taking their reports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::feed::Feed;
use super::{Driver, report};
use crate::failpoint::{Failpoint, hit};
use crate::incident::Phase;
use crate::model::event::exit_attrs;
use crate::model::finding::SEVERITY_OPENS;
use crate::model::view::{PluginState, PluginView, WorkloadState};
use crate::model::{
    AfterFault, Decision, Event, ExitStatus, Finding, FindingRef, IncidentId, Line, Mark, Report,
    Series, SeriesId, TargetId, Value, selects,
};
use crate::plugin::{Detector, Healer, PluginEvent};

/// Lines that wait for detectors to arrive.
const EARLY_LINES_MAX: usize = 8192;

/// A plugin that was verified, loaded and started, or that was not.
pub enum Arrival {
    Detector {
        view: PluginView,
        period_ms: u32,
        targets: Vec<String>,
        /// Kinds of its findings, and the kinds that each accounts for.
        explains: BTreeMap<String, Vec<String>>,
        handle: Detector,
    },
    Healer {
        view: PluginView,
        handle: Healer,
    },
    Refused {
        view: PluginView,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// It has not said what it wants yet, or is between two lives.
    Absent,
    Idle,
    Busy,
}

pub struct Detecting {
    pub view: PluginView,
    pub feed: Feed,
    handle: Option<Detector>,
    readiness: Readiness,
    /// Selectors of the targets it judges.
    targets: Vec<String>,
    /// The latest report's findings, for `status`; the journal has the changes.
    pub findings: Vec<Finding>,
}

impl Detecting {
    /// Whether it may judge `target`.
    pub fn judges(&self, target: &TargetId) -> bool {
        self.targets.iter().any(|selector| selects(selector, target.as_str()))
    }

    pub(super) fn into_handle(self) -> Option<Detector> {
        self.handle
    }

    /// Whether it can be counted on, now or after a backoff.
    pub(super) fn protects(&self) -> bool {
        !matches!(self.view.state, PluginState::Quarantined | PluginState::Refused)
    }

    pub fn take_mark(&mut self, mark: &Mark) {
        if self.readiness != Readiness::Absent
            && (mark.target == TargetId::the_box() || self.judges(&mark.target))
        {
            self.feed.mark(mark.clone());
        }
    }
}

impl Driver {
    pub(super) fn take_arrival(&mut self, arrival: Arrival) {
        self.admit(arrival);
        for event in std::mem::take(&mut self.early) {
            self.take_plugin(event);
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Detector { mut view, period_ms, targets, explains, handle } => {
                self.explains.extend(explains);
                self.plugin_started(&view);
                if self.healers.remove(&view.name).is_some() {
                    tracing::error!(
                        plugin = view.name,
                        "it is a detector, and a route or its grants take it for a healer: \
                         take it out of [[incident.route]], and its grants away"
                    );
                }
                view.state = PluginState::Starting;
                let mut feed = Feed::new(period_ms);
                let judged =
                    |target: &TargetId| targets.iter().any(|it| selects(it, target.as_str()));
                let early = self.early_lines.iter().filter(|line| judged(&line.target));
                early.for_each(|line| feed.line(line.clone()));
                let detecting = Detecting {
                    feed,
                    handle: Some(handle),
                    readiness: Readiness::Absent,
                    targets,
                    findings: Vec::new(),
                    view,
                };
                self.detectors.insert(detecting.view.name.clone(), detecting);
            }
            Arrival::Healer { view, handle } => {
                self.plugin_started(&view);
                self.healer_arrived(view, handle);
            }
            Arrival::Refused { view } => {
                tracing::error!(plugin = view.name, why = view.detail, "plugin refused");
                self.write(Event::PluginRefused {
                    plugin: view.name.clone(),
                    why: view.detail.clone(),
                });
                self.plugin_refused(view);
            }
        }
        if !self.awaits_detectors() {
            self.early_lines = VecDeque::new();
        }
        self.look_at_protection();
    }

    fn plugin_started(&mut self, view: &PluginView) {
        self.write(Event::PluginStarted {
            plugin: view.name.clone(),
            version: view.version.clone(),
            digest: view.digest.clone(),
        });
    }

    fn plugin_refused(&mut self, view: PluginView) {
        if self.healers.contains_key(&view.name) {
            self.healer_refused(view);
            return;
        }
        let config = self.config.plugins.iter().find(|it| it.name == view.name);
        let targets = config.map(|it| it.targets.clone()).unwrap_or_default();
        let detecting = Detecting {
            feed: Feed::new(1000),
            handle: None,
            readiness: Readiness::Absent,
            targets,
            findings: Vec::new(),
            view,
        };
        self.detectors.insert(detecting.view.name.clone(), detecting);
    }

    pub(super) fn take_plugin(&mut self, event: PluginEvent) {
        let name = event.plugin();
        if !self.detectors.contains_key(name) && !self.has_healer(name) {
            self.early.push(event);
            return;
        }
        match event {
            PluginEvent::Ready { plugin, selectors } => self.bind(&plugin, &selectors),
            PluginEvent::Report { plugin, report, .. } => self.take_report(&plugin, report),
            PluginEvent::Decision { plugin, incident, result } => {
                self.take_decision(&plugin, incident, result);
            }
            PluginEvent::Faulted { plugin, why, then } => self.take_fault(&plugin, why, then),
        }
    }

    /// A fresh instance: it is told its series, then where everything stands.
    fn bind(&mut self, plugin: &str, selectors: &[String]) {
        if self.healer_ready(plugin) {
            return;
        }
        let standing = self.standing_marks();
        let Some(detecting) = self.detectors.get_mut(plugin) else { return };
        let bound: Vec<(SeriesId, &Series)> = self
            .series
            .iter()
            .enumerate()
            .filter(|(_, series)| detecting.judges(&series.target))
            .filter(|(_, series)| selectors.iter().any(|it| series.is_selected_by(it)))
            .map(|(index, series)| (SeriesId(u32::try_from(index).expect("few series")), series))
            .collect();
        let ids: Vec<_> = bound.iter().map(|(id, _)| *id).collect();
        detecting.feed.bind(&ids);
        detecting.readiness = Readiness::Idle;
        detecting.view.state = PluginState::Running;
        detecting.view.detail = format!("{} series", bound.len());
        if let Some(handle) = &detecting.handle {
            handle.bind(bound.into_iter().map(|(_, series)| series.clone()).collect());
        }
        for mark in &standing {
            detecting.take_mark(mark);
        }
        self.dirty = true;
        self.look_at_protection();
    }

    /// The level behind the marks, for a detector that has seen none of them.
    pub(super) fn standing_marks(&self) -> Vec<Mark> {
        let now_age_ms = self.clock.age_ms();
        let booted = Mark {
            target: TargetId::the_box(),
            age_ms: self.clock.saved().offset_ms,
            what: "box.booted".into(),
            attrs: Vec::new(),
        };
        let marks = self.workloads.iter().filter_map(|(name, status)| {
            let target = TargetId::workload(name);
            if let Some(attrs) = self.start_failed.get(name) {
                let (what, attrs) = ("workload.exited".into(), attrs.clone());
                return Some(Mark { target, age_ms: now_age_ms, what, attrs });
            }
            let attempt = status.attempt?;
            let id = ("attempt".to_owned(), Value::text(attempt.to_string()));
            let (what, attrs) = match status.state {
                _ if self.is_unwanted(&target) => ("workload.stopped", vec![id]),
                WorkloadState::Running | WorkloadState::Stopping => {
                    ("workload.started", self.start_attrs(name, attempt))
                }
                WorkloadState::Exited => {
                    let status = self.exits.get(&attempt).copied().unwrap_or(ExitStatus::Unknown);
                    ("workload.exited", exit_attrs(attempt, status, false))
                }
                WorkloadState::Stopped => return None,
            };
            let started = || self.memory.started_age_ms.get(name).copied();
            let age_ms = match what {
                "workload.started" => started().unwrap_or(now_age_ms),
                _ => now_age_ms,
            };
            Some(Mark { target, age_ms, what: what.into(), attrs })
        });
        std::iter::once(booted).chain(marks).collect()
    }

    pub(super) fn send_frames(&mut self) {
        let now = self.clock.now();
        for detecting in self.detectors.values_mut() {
            if detecting.readiness != Readiness::Idle || !detecting.feed.is_due(now.age_ms) {
                continue;
            }
            let Some(handle) = &detecting.handle else { continue };
            match handle.observe(detecting.feed.take(now)) {
                Ok(()) => {
                    detecting.readiness = Readiness::Busy;
                    detecting.view.calls += 1;
                }
                // Its fault is on its way, and a fresh instance after it, which
                // is to hear of what this one did not.
                Err(untaken) => {
                    detecting.readiness = Readiness::Absent;
                    detecting.feed.give_back(untaken.frame);
                }
            }
        }
    }

    fn take_report(&mut self, plugin: &str, report: Report) {
        let Some(detecting) = self.detectors.get_mut(plugin) else { return };
        detecting.readiness = Readiness::Idle;
        let events = report::changes(plugin, &report, self.memory.incidents.standing());
        let kept = detecting.findings.iter().filter(|it| {
            report.unjudged.contains(&it.target)
                && !report.findings.iter().any(|new| new.key == it.key)
        });
        let kept: Vec<_> = kept.cloned().collect();
        if !events.is_empty() || !report.findings.is_empty() || !detecting.findings.is_empty() {
            self.dirty = true;
        }
        detecting.findings = report.findings;
        detecting.findings.extend(kept);
        if !events.is_empty() {
            hit(Failpoint::DriverReport);
        }
        for event in events {
            self.write(event);
        }
    }

    fn take_fault(&mut self, plugin: &str, why: String, then: AfterFault) {
        tracing::warn!(plugin, why, ?then, "plugin faulted");
        let state = match &then {
            AfterFault::Restarted { .. } => PluginState::Starting,
            AfterFault::Backoff { .. } => PluginState::Backoff,
            AfterFault::Quarantined => PluginState::Quarantined,
        };
        if let Some(detecting) = self.detectors.get_mut(plugin) {
            detecting.readiness = Readiness::Absent;
            detecting.view.state = state;
            detecting.view.detail.clone_from(&why);
            detecting.view.faults += 1;
        }
        self.healer_faulted(plugin, state, &why);
        self.write(Event::PluginFaulted { plugin: plugin.to_owned(), why, then });
        self.look_at_protection();
    }

    /// What comes before a detector has arrived waits for it: the kernel says
    /// most while the box boots.
    pub(super) fn take_lines(&mut self, lines: Vec<Line>) {
        let awaited = self.awaits_detectors();
        for line in lines {
            let line = self.redactor.value(line);
            self.out.tape.line(line.clone());
            for detecting in self.detectors.values_mut() {
                if detecting.judges(&line.target) {
                    detecting.feed.line(line.clone());
                }
            }
            if awaited {
                if self.early_lines.len() == EARLY_LINES_MAX {
                    self.early_lines.pop_front();
                }
                self.early_lines.push_back(line);
            }
        }
    }

    fn awaits_detectors(&self) -> bool {
        !self.config.plugins.iter().all(|plugin| self.has_arrived(&plugin.name))
    }

    /// A healer that a route names is expected from the start.
    pub(super) fn has_arrived(&self, plugin: &str) -> bool {
        self.detectors.contains_key(plugin) || self.healers.contains_key(plugin)
    }

    /// Findings of detectors that are no longer configured would stand for ever,
    /// and one that has no incident may be one whose end was not kept: retention
    /// lets telemetry go first. What is still so is raised again.
    pub(super) fn drop_findings_of_nobody(&mut self) {
        let known: BTreeSet<&str> = self.config.plugins.iter().map(|it| it.name.as_str()).collect();
        let strangers: BTreeMap<FindingRef, Finding> = self
            .memory
            .incidents
            .standing()
            .iter()
            .filter(|(reference, finding)| {
                let incidents = &self.memory.incidents;
                let homeless = finding.severity >= SEVERITY_OPENS
                    && !incidents.is_dismissed(reference)
                    && !incidents.open().any(|it| it.findings.contains_key(*reference));
                !known.contains(reference.detector.as_str())
                    || self.config.graph.get(&finding.target).is_none()
                    || homeless
            })
            .map(|(reference, finding)| (reference.clone(), finding.clone()))
            .collect();
        for (FindingRef { detector, key }, Finding { target, kind, .. }) in strangers {
            self.write(Event::FindingCleared { detector, key, target, kind });
        }
    }

    fn take_decision(
        &mut self,
        healer: &str,
        incident: IncidentId,
        result: Result<Decision, String>,
    ) {
        self.healer_answered(healer);
        let asked = self.memory.incidents.get(incident).is_some_and(
            |it| matches!(&it.phase, Phase::Deciding { healer: asked, .. } if asked == healer),
        );
        if asked {
            self.follow(healer, incident, result);
        }
    }
}
