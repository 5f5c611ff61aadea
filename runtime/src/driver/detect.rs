//! Detectors: binding them to series, feeding them, taking their reports.

use std::collections::BTreeMap;

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
use crate::plugin::{Detector, PluginEvent, Run, SHADOW, Said};

/// Lines that wait for detectors to arrive.
const EARLY_LINES_MAX: usize = 8192;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Detector,
    Shadow,
    Healer,
}

/// A plugin in shadow speaks under another name than its own.
fn named(speaker: String, who: Who) -> String {
    match (who, speaker.strip_suffix(SHADOW)) {
        (Who::Shadow, Some(plugin)) => plugin.to_owned(),
        _ => speaker,
    }
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
    /// Of its start.
    pub start: Run,
    /// Of the start that is spoken with: none, 0, once it was let go.
    pub run: Run,
    pub feed: Feed,
    handle: Option<Detector>,
    readiness: Readiness,
    /// Selectors of the targets it judges.
    targets: Vec<String>,
    /// Selectors of the series that it may be shown, whatever it asks for.
    reads: Vec<String>,
    /// Another is to take its place.
    leaves: bool,
    reported: bool,
    /// The latest report's findings, for `status`; the journal has the changes.
    pub findings: Vec<Finding>,
}

impl Detecting {
    pub(super) fn new(
        view: PluginView,
        run: Run,
        period_ms: u32,
        targets: Vec<String>,
        handle: Detector,
    ) -> Self {
        let view = PluginView { state: PluginState::Starting, ..view };
        let readiness = Readiness::Absent;
        let feed = Feed::new(period_ms);
        Self {
            view,
            start: run,
            run,
            feed,
            handle: Some(handle),
            readiness,
            targets,
            reads: Vec::new(),
            leaves: false,
            reported: false,
            findings: Vec::new(),
        }
    }

    pub(super) fn refused(view: PluginView, start: Run, targets: Vec<String>, feed: Feed) -> Self {
        Self {
            view,
            start,
            run: 0,
            feed,
            handle: None,
            readiness: Readiness::Absent,
            targets,
            reads: Vec::new(),
            leaves: false,
            reported: false,
            findings: Vec::new(),
        }
    }

    pub(super) fn signed_for(self, reads: Vec<String>) -> Self {
        Self { reads, ..self }
    }

    /// From now on it gets no frame. Whether it has one in hand.
    pub(super) fn is_to_leave(&mut self) -> bool {
        self.leaves = true;
        self.readiness == Readiness::Busy
    }

    /// Whether this start of it ever judged anything.
    pub(super) fn has_reported(&self) -> bool {
        self.reported
    }

    /// Whoever takes the handle ends it; what it still says is not heard.
    pub(super) fn leave(&mut self) -> Option<Detector> {
        self.run = 0;
        self.readiness = Readiness::Absent;
        self.view.state = PluginState::Starting;
        self.view.detail = "another is put in its place".into();
        self.handle.take()
    }

    pub(super) fn has_answered(&mut self) {
        self.readiness = Readiness::Idle;
        self.reported = true;
    }

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
    pub(super) fn take_plugin(&mut self, said: Said) {
        let Some(who) = self.who(said.run) else {
            // A thread may be faster than the word that it was started; what is
            // not that is the last of a run that was ended.
            if said.run > self.arrived_run {
                self.early.push(said);
            }
            return;
        };
        match (said.event, who) {
            (PluginEvent::Ready { plugin, .. }, Who::Healer) => self.healer_ready(&plugin),
            (PluginEvent::Ready { plugin, selectors }, who) => {
                self.bind(&named(plugin, who), who, &selectors);
            }
            (PluginEvent::Report { plugin, report, .. }, Who::Detector) => {
                self.take_report(&plugin, report);
            }
            (PluginEvent::Report { plugin, report, .. }, who) => {
                self.take_shadow_report(&named(plugin, who), report);
            }
            (PluginEvent::Decision { plugin, incident, result }, _) => {
                self.take_decision(&plugin, incident, result);
            }
            (PluginEvent::Faulted { plugin, why, then }, who) => {
                self.take_fault(&named(plugin, who), who, why, then);
            }
        }
        self.let_go();
    }

    /// Whose run it is.
    fn who(&self, run: Run) -> Option<Who> {
        let of = |detectors: &BTreeMap<String, Detecting>| {
            run != 0 && detectors.values().any(|it| it.run == run)
        };
        if of(&self.detectors) {
            return Some(Who::Detector);
        }
        if of(&self.shadows) {
            return Some(Who::Shadow);
        }
        self.is_healers(run).then_some(Who::Healer)
    }

    /// A fresh instance: it is told its series, then where everything stands.
    fn bind(&mut self, plugin: &str, who: Who, selectors: &[String]) {
        let standing = self.standing_marks();
        let detectors = match who {
            Who::Shadow => &mut self.shadows,
            _ => &mut self.detectors,
        };
        let Some(detecting) = detectors.get_mut(plugin) else { return };
        let bound: Vec<(SeriesId, &Series)> = self
            .series
            .iter()
            .enumerate()
            .filter(|(_, series)| detecting.judges(&series.target))
            .filter(|(_, series)| selectors.iter().any(|it| series.is_selected_by(it)))
            .filter(|(_, series)| detecting.reads.iter().any(|it| series.is_selected_by(it)))
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
        for detecting in self.detectors.values_mut().chain(self.shadows.values_mut()) {
            let idle = detecting.readiness == Readiness::Idle && !detecting.leaves;
            if !idle || !detecting.feed.is_due(now.age_ms) {
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
        detecting.has_answered();
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

    fn take_fault(&mut self, plugin: &str, who: Who, why: String, then: AfterFault) {
        tracing::warn!(plugin, why, ?then, "plugin faulted");
        let state = match &then {
            AfterFault::Restarted { .. } => PluginState::Starting,
            AfterFault::Backoff { .. } => PluginState::Backoff,
            AfterFault::Quarantined => PluginState::Quarantined,
        };
        let detectors = match who {
            Who::Shadow => &mut self.shadows,
            _ => &mut self.detectors,
        };
        if let Some(detecting) = detectors.get_mut(plugin) {
            detecting.readiness = Readiness::Absent;
            detecting.view.state = state;
            detecting.view.detail.clone_from(&why);
            detecting.view.faults += 1;
        }
        if who == Who::Healer {
            self.count_healers_fault(plugin);
            self.healer_faulted(plugin, state, &why);
        }
        let speaker = match who {
            Who::Shadow => format!("{plugin}{SHADOW}"),
            Who::Detector | Who::Healer => plugin.to_owned(),
        };
        self.write(Event::PluginFaulted { plugin: speaker, why, then });
        self.look_at_protection();
    }

    /// What comes before a detector has arrived waits for it: the kernel says
    /// most while the box boots.
    pub(super) fn take_lines(&mut self, lines: Vec<Line>) {
        let awaited = self.awaits_detectors();
        for line in lines {
            let line = self.redactor.value(line);
            self.out.tape.line(line.clone());
            for detecting in self.detectors.values_mut().chain(self.shadows.values_mut()) {
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

    /// Findings of detectors that are no longer configured would stand for ever,
    /// and one that has no incident may be one whose end was not kept: retention
    /// lets telemetry go first. What is still so is raised again.
    pub(super) fn drop_findings_of_nobody(&mut self) {
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
                !self.known.contains(&reference.detector)
                    || self.config.graph.get(&finding.target).is_none()
                    || homeless
            })
            .map(|(reference, finding)| (reference.clone(), finding.clone()))
            .collect();
        for (FindingRef { detector, key }, Finding { target, kind, .. }) in strangers {
            self.write(Event::FindingCleared { detector, key, target, kind });
        }
    }

    /// It runs no more, and what it said would stand for ever.
    pub(super) fn clear_findings_of(&mut self, plugin: &str) {
        let standing = self.memory.incidents.standing().iter();
        let of_it = standing.filter(|(reference, _)| reference.detector == plugin);
        let of_it: Vec<(FindingRef, Finding)> =
            of_it.map(|(reference, finding)| (reference.clone(), finding.clone())).collect();
        for (FindingRef { detector, key }, Finding { target, kind, .. }) in of_it {
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
