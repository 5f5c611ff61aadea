//! The state of the box, what is wrong first.
//!
//! Invariant: one list says what is wrong. The page shows it and the exit code
//! counts it, so they never disagree.

use std::collections::BTreeSet;

use super::Exit;
use super::page::{Cell, Page, Tone, cell};
use super::words::{self, count, since, span};
use crate::model::finding::SEVERITY_OPENS;
use crate::model::view::{IncidentView, PluginState, WorkloadState, WorkloadView};
use crate::model::{Finding, Mode, View};

/// One thing that is wrong.
struct Wrong {
    what: String,
    state: String,
    detail: String,
}

pub(super) fn exit(view: &View) -> Exit {
    if wrongs(view).is_empty() { Exit::Fine } else { Exit::Ill }
}

/// Nothing more will come of it.
pub(super) fn is_over(incident: &IncidentView) -> bool {
    incident.phase == "closed"
}

/// Ill no more, and watched until it is proven.
fn is_recovering(incident: &IncidentView) -> bool {
    matches!(incident.phase.as_str(), "recovered" | "proven")
}

fn is_ill(incident: &IncidentView) -> bool {
    !is_over(incident) && !is_recovering(incident)
}

pub(super) fn draw(page: &mut Page, view: &View) {
    let wrongs = wrongs(view);
    headline(page, view, wrongs.len());
    if !wrongs.is_empty() {
        page.heading("wrong");
        page.columns(&wrongs.iter().map(wrong_row).collect::<Vec<_>>());
    }
    let recovering: Vec<_> = view.incidents.iter().filter(|i| is_recovering(i)).collect();
    if !recovering.is_empty() {
        page.heading("recovering");
        page.columns(&recovering.iter().map(|i| recovering_row(i, view)).collect::<Vec<_>>());
    }
    let notes: Vec<_> = standing(view).filter(|(_, f)| f.severity < SEVERITY_OPENS).collect();
    if !notes.is_empty() {
        page.heading("notes");
        page.columns(&notes.iter().map(|(by, f)| note_row(by, f)).collect::<Vec<_>>());
    }
    if !view.workloads.is_empty() {
        page.heading("workloads");
        page.columns(&view.workloads.iter().map(workload_row).collect::<Vec<_>>());
    }
    if !view.plugins.is_empty() {
        page.heading("plugins");
        page.columns(&view.plugins.iter().map(super::list::plugin_row).collect::<Vec<_>>());
    }
}

fn headline(page: &mut Page, view: &View, wrong: usize) {
    let name = format!("{} at {}", view.box_name, view.site);
    match wrong {
        0 => page.toned(&format!("{name}: all is well"), Tone::Good),
        1 => page.toned(&format!("{name}: 1 thing is wrong"), Tone::Bad),
        n => page.toned(&format!("{name}: {n} things are wrong"), Tone::Bad),
    }
    let age = format!("homeostat {}, the box is {} old", view.version, span(view.now.age_ms));
    match view.mode {
        Mode::Enforce => page.line(&format!("mode enforce; {age}")),
        Mode::Suggest => page.line(&format!("mode suggest: repairs are shown, not done; {age}")),
        Mode::Observe => page.line(&format!("mode observe: nothing is repaired; {age}")),
    }
    let Some(pause) = &view.paused else { return };
    let until = match pause.until_age_ms {
        Some(age_ms) => format!("for another {}", span(age_ms.saturating_sub(view.now.age_ms))),
        None => "until `homeostat resume`".into(),
    };
    page.toned(&format!("healing is paused {until}"), Tone::Warn);
}

/// Stuck first, then what is degraded, then what is being healed.
fn wrongs(view: &View) -> Vec<Wrong> {
    let (stuck, ill): (Vec<_>, Vec<_>) =
        view.incidents.iter().filter(|i| is_ill(i)).partition(|i| i.phase == "stuck");
    let ill_targets: BTreeSet<_> = stuck
        .iter()
        .chain(&ill)
        .flat_map(|i| i.findings.iter().map(|f| &f.target).chain([&i.root]))
        .collect();

    let mut wrongs: Vec<Wrong> = stuck.iter().map(|incident| of_incident(incident, view)).collect();
    wrongs.extend(view.conditions.iter().map(|condition| Wrong {
        what: condition.name.clone(),
        state: "degraded".into(),
        detail: condition.detail.clone(),
    }));
    wrongs.extend(ill.iter().map(|incident| of_incident(incident, view)));
    wrongs.extend(
        standing(view)
            .filter(|(_, finding)| {
                finding.severity >= SEVERITY_OPENS && !ill_targets.contains(&finding.target)
            })
            .map(|(by, finding)| Wrong {
                what: finding.target.to_string(),
                state: finding.kind.clone(),
                detail: format!("{}, says {by}", finding.message),
            }),
    );
    wrongs.extend(
        view.workloads
            .iter()
            .filter(|w| w.desired_running && w.state != WorkloadState::Running)
            .filter(|w| !ill_targets.iter().any(|t| t.as_workload() == Some(&w.name)))
            .map(|w| Wrong {
                what: format!("workload:{}", w.name),
                state: workload_state(w.state).into(),
                detail: join("wanted running", &w.detail),
            }),
    );
    wrongs.extend(view.plugins.iter().filter_map(|plugin| {
        let state = match plugin.state {
            PluginState::Starting | PluginState::Running => return None,
            PluginState::Backoff => "faulted",
            PluginState::Quarantined => "quarantined",
            PluginState::Refused => "refused",
        };
        let what = format!("plugin {}", plugin.name);
        Some(Wrong { what, state: state.into(), detail: plugin.detail.clone() })
    }));
    wrongs.extend(view.unprotected.iter().map(|target| Wrong {
        what: target.to_string(),
        state: "unprotected".into(),
        detail: "no detector judges it".into(),
    }));
    wrongs
}

fn of_incident(incident: &IncidentView, view: &View) -> Wrong {
    let message = incident.findings.first().map_or("", |finding| finding.message.as_str());
    let what = format!("{} of {}", incident.kind, incident.root);
    let told = join(&join(&what, message), &incident.detail);
    Wrong {
        what: incident.id.to_string(),
        state: format!("{} for {}", incident.phase, since(incident.changed, view.now)),
        detail: format!("{told} (`homeostat explain {}`)", incident.id),
    }
}

fn standing(view: &View) -> impl Iterator<Item = (&String, &Finding)> {
    view.findings.iter().flat_map(|(by, findings)| findings.iter().map(move |f| (by, f)))
}

fn wrong_row(wrong: &Wrong) -> Vec<Cell> {
    let tone = if wrong.state.starts_with("stuck") { Tone::Bad } else { Tone::Warn };
    vec![cell(&wrong.what).tone(Tone::Strong), cell(&wrong.state).tone(tone), cell(&wrong.detail)]
}

fn recovering_row(incident: &IncidentView, view: &View) -> Vec<Cell> {
    vec![
        cell(incident.id.to_string()).tone(Tone::Strong),
        cell(format!("{} for {}", incident.phase, since(incident.changed, view.now)))
            .tone(Tone::Good),
        cell(join(&format!("{} of {}", incident.kind, incident.root), &incident.detail)),
    ]
}

fn note_row(by: &str, finding: &Finding) -> Vec<Cell> {
    vec![
        cell(finding.target.to_string()),
        cell(&finding.kind),
        cell(format!("{}, says {by}", finding.message)),
    ]
}

fn workload_state(state: WorkloadState) -> &'static str {
    match state {
        WorkloadState::Stopped => "stopped",
        WorkloadState::Running => "running",
        WorkloadState::Stopping => "stopping",
        WorkloadState::Exited => "exited",
    }
}

fn workload_row(workload: &WorkloadView) -> Vec<Cell> {
    let running = workload.state == WorkloadState::Running;
    let (tone, wanted) = match (running, workload.desired_running) {
        (true, true) => (Tone::Good, ""),
        (false, false) => (Tone::Faint, "as wanted"),
        (true, false) => (Tone::Warn, "wanted stopped"),
        (false, true) => (Tone::Warn, "wanted running"),
    };
    let starts = usize::try_from(workload.starts).unwrap_or(usize::MAX);
    let pid = workload.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
    let attempt = workload.attempt.map(|id| format!("attempt {id}")).unwrap_or_default();
    vec![
        cell(&workload.name),
        cell(workload_state(workload.state)).tone(tone),
        cell(pid),
        cell(attempt),
        cell(count(starts, "start")),
        cell(join(wanted, &workload.detail)),
    ]
}

/// Two texts with a colon between, if both say something.
fn join(first: &str, then: &str) -> String {
    match (first.is_empty(), then.is_empty()) {
        (_, true) => first.into(),
        (true, _) => then.into(),
        _ => format!("{first}: {then}"),
    }
}

/// Wall time if it was trusted, how long ago otherwise.
pub(super) fn moment(at: crate::model::Instant, now: crate::model::Instant) -> String {
    let ago = format!("{} ago", since(at, now));
    words::wall(at).map_or(ago.clone(), |wall| format!("{ago}, {wall}"))
}
