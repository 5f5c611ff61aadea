//! Lists: incidents, plugins, and what a good configuration says.
//!
//! Invariant: an empty list says so in words.

use std::path::Path;

use super::page::{Cell, Page, Tone, cell};
use super::words::{count, since};
use crate::config::Config;
use crate::model::Instant;
use crate::model::view::{IncidentView, PluginState, PluginView};

pub(super) fn incidents(page: &mut Page, incidents: &[IncidentView], now: Instant) {
    if incidents.is_empty() {
        page.line("no incidents");
        return;
    }
    let rows: Vec<_> = incidents.iter().map(|incident| incident_row(incident, now)).collect();
    page.columns(&rows);
}

fn incident_row(incident: &IncidentView, now: Instant) -> Vec<Cell> {
    let tone = match incident.phase.as_str() {
        "stuck" => Tone::Bad,
        "recovered" | "proven" => Tone::Good,
        "closed" => Tone::Faint,
        _ => Tone::Warn,
    };
    let message = incident.findings.first().map_or("", |finding| finding.message.as_str());
    let told = if incident.detail.is_empty() { message } else { &incident.detail };
    vec![
        cell(incident.id.to_string()).tone(Tone::Strong),
        cell(&incident.phase).tone(tone),
        cell(format!("opened {} ago", since(incident.opened, now))),
        cell(incident.root.to_string()),
        cell(&incident.kind),
        cell(count(incident.attempts.len(), "attempt")),
        cell(told),
    ]
}

pub(super) fn plugins(page: &mut Page, plugins: &[PluginView]) {
    if plugins.is_empty() {
        page.line("no plugins");
        return;
    }
    page.columns(&plugins.iter().map(plugin_row).collect::<Vec<_>>());
}

pub(super) fn plugin_row(plugin: &PluginView) -> Vec<Cell> {
    let (state, tone) = match plugin.state {
        PluginState::Starting => ("starting", Tone::Plain),
        PluginState::Running => ("running", Tone::Good),
        PluginState::Backoff => ("backoff", Tone::Warn),
        PluginState::Quarantined => ("quarantined", Tone::Bad),
        PluginState::Refused => ("refused", Tone::Bad),
    };
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    // As many digits as anyone compares by eye.
    let digest: String = plugin.digest.chars().take(12).collect();
    vec![
        cell(format!("{} {}", plugin.name, plugin.version)),
        cell(match plugin.shadow_until_age_ms {
            Some(_) => format!("{} in shadow", plugin.world),
            None => plugin.world.clone(),
        }),
        cell(state).tone(tone),
        cell(count(number(plugin.calls), "call")),
        cell(count(number(plugin.faults), "fault")),
        cell(digest).tone(Tone::Faint),
        cell(&plugin.detail),
    ]
}

pub(super) fn config(page: &mut Page, file: &Path, config: &Config) {
    page.toned(&format!("{}: no mistakes", file.display()), Tone::Good);
    page.line(&format!(
        "{} at {}, mode {}: {}, {}, {}",
        config.identity.name,
        config.identity.site,
        config.mode,
        count(config.plugins.len(), "plugin"),
        count(config.workloads.len(), "workload"),
        count(config.externals.len(), "external"),
    ));
}
