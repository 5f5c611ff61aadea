//! `plugin install` and `plugin list`: plugins of this box.

use std::path::{Path, PathBuf};

use super::Failure;
use super::args::Install;
use super::list;
use super::page::{Page, Tone, cell};
use super::words::span;
use crate::model::view::{PluginView, TrustView};
use crate::model::{Command, PluginSettings, View};

/// What the daemon is asked. Paths are the caller's, so they are made absolute.
pub(super) fn install(wanted: &Install) -> Result<Command, Failure> {
    let config = match &wanted.plugin_config {
        Some(path) => Some(config(path)?),
        None => None,
    };
    let period_ms = wanted.period.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
    let settings = PluginSettings { config, targets: wanted.targets.clone(), period_ms };
    Ok(Command::PluginInstall {
        file: absolute(&wanted.file)?,
        settings,
        shadow_ms: wanted.shadow,
        trial_ms: wanted.trial,
    })
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|why| file_failure(path, why.to_string()))
}

fn config(path: &Path) -> Result<serde_json::Value, Failure> {
    let failure = |why: String| file_failure(path, why);
    let text = std::fs::read_to_string(path).map_err(|why| failure(why.to_string()))?;
    match path.extension().and_then(|it| it.to_str()) {
        Some("json") => serde_json::from_str(&text).map_err(|why| failure(why.to_string())),
        Some("toml") => toml::from_str(&text).map_err(|why| failure(why.to_string())),
        _ => Err(failure("wanted the plugin's configuration in a .toml or .json file".into())),
    }
}

fn file_failure(path: &Path, why: String) -> Failure {
    Failure::File { path: path.to_owned(), why }
}

pub(super) fn list(page: &mut Page, view: &View) {
    list::plugins(page, &view.plugins);
    let now_age_ms = view.now.age_ms;
    for plugin in &view.plugins {
        if let Some(until) = plugin.trial_until_age_ms {
            let left = span(until.saturating_sub(now_age_ms));
            page.line(&format!("{} is on trial for {left}", plugin.name));
        }
        if let Some(until) = plugin.shadow_until_age_ms {
            said_in_shadow(page, plugin, &span(until.saturating_sub(now_age_ms)));
        }
    }
}

fn said_in_shadow(page: &mut Page, plugin: &PluginView, left: &str) {
    let said = match plugin.shadow_findings.len() {
        0 => "it says nothing now",
        _ => "it says, and nothing follows",
    };
    page.line(&format!("{} runs in shadow for {left}: {said}", plugin.name));
    let rows: Vec<_> = plugin
        .shadow_findings
        .iter()
        .map(|it| {
            let target = cell(it.target.to_string());
            vec![cell("  "), cell(&it.kind).tone(Tone::Warn), target, cell(&it.message)]
        })
        .collect();
    page.columns(&rows);
}

pub(super) fn trust(page: &mut Page, trust: &TrustView) {
    let whose = match (trust.root_version, trust.own_root) {
        (0, _) => "no key root is known yet, or it does not read: no plugin is believed".to_owned(),
        (version, true) => {
            format!("key root version {version}, made by this box: its own key holds it")
        }
        (version, false) => format!("key root version {version}, held by others"),
    };
    page.line(&whose);
    page.line(&format!("publishers: {}", listed(&trust.publishers)));
    page.line(&format!("revoked keys: {}", listed(&trust.revoked_keys)));
    page.line(&format!("revoked components: {}", listed(&trust.revoked_digests)));
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
