//! What this box allows to be done to itself: room made on its disks, its clock
//! set, its links bounced, itself booted.
//!
//! Invariant: none of it is in the catalogue unless the box's file declares it.

use std::path::PathBuf;

use super::probe::command;
use super::reader::Section;
use super::typed::{DAY, GIB, HOUR, MINUTE, Named, SECOND};
use super::{CommandConfig, LinkConfig, RebootConfig, ReclaimConfig, value};
use crate::model::TargetId;
use crate::model::TargetKind;
use crate::model::catalogue::{
    ActionSpec, DISK_RECLAIM, LINK_BOUNCE, ParamKind, ParamSpec, Proof, SYSTEM_REBOOT, TIME_RESYNC,
    Terms,
};

/// Needs nothing of anybody, and is proven by what it was done about.
const MENDS: Terms =
    Terms { disruption: 0, proof: Proof::Cleared, settle_ms: 2 * MINUTE, undo: false };

/// Files of one folder that may go.
pub(super) fn reclaim(section: &mut Section<'_>) -> Named<ReclaimConfig> {
    let name = section.need_name("name");
    let dir = section.need_text("dir", "the path of a folder", "");
    if section.has("dir") && !dir.value.starts_with('/') {
        section.note("dir", "an absolute path", value::quoted(&dir.value), "");
    }
    let evict = pattern(section, "evict");
    let trim = pattern(section, "trim");
    if evict.is_none() && trim.is_none() {
        let hint = "evict = \"*.gz\" removes files, trim = \"*.log\" cuts their beginning off";
        section.note("evict", "evict, trim, or both", "neither of them", hint);
    }
    let what = ReclaimConfig {
        name: name.value.clone(),
        dir: PathBuf::from(dir.value),
        evict,
        keep: section.integer("keep", 0, 0..=100_000),
        older_than_ms: section.duration("older_than", HOUR, 0..=365 * DAY),
        until_free_bytes: section.size_opt("until_free", 0..=1024 * GIB),
        trim,
        trim_to_bytes: section.size("trim_to", 1 << 20, 0..=64 * GIB),
    };
    Named { name, what }
}

/// Of names in the folder itself; `*` stands for any text.
fn pattern(section: &mut Section<'_>, key: &str) -> Option<String> {
    let typed = section.text(key)?.value;
    if typed.is_empty() || typed.contains('/') {
        let hint = "folders within it are left alone; declare another [[reclaim]]";
        section.note(key, "a pattern of file names, such as *.gz", value::quoted(&typed), hint);
    }
    Some(typed)
}

/// How the clock is set, by the service that keeps it.
pub(super) fn resync(section: &mut Section<'_>) -> Option<CommandConfig> {
    const CHRONY: &[&str] = &["/usr/bin/chronyc", "-a", "makestep"];
    const TIMESYNCD: &[&str] = &["/usr/bin/systemctl", "restart", "systemd-timesyncd.service"];
    let with = section.choice("with", &[("chrony", CHRONY), ("timesyncd", TIMESYNCD)]);
    let own = section.has("command");
    if own && with.is_some() {
        section.note("command", "either with or command", "both", "take one of them away");
    }
    let words = match with {
        Some(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        None if own => command(section, "command"),
        None => {
            section.ignore(&["command"]);
            return None;
        }
    };
    section.ignore(&["command"]);
    Some(plain(TIME_RESYNC, words))
}

pub(super) fn reboot(section: &mut Section<'_>) -> Option<(RebootConfig, CommandConfig)> {
    let allow = section.flag("allow", false);
    let config = RebootConfig {
        max: section.integer("max", 2, 1..=100),
        window_ms: section.duration("window", DAY, HOUR..=30 * DAY),
    };
    let words = if section.has("command") {
        command(section, "command")
    } else {
        section.ignore(&["command"]);
        let default = ["/usr/bin/systemctl", "reboot"].map(str::to_owned).to_vec();
        section.default("command", default.clone());
        default
    };
    allow.then(|| (config, plain(SYSTEM_REBOOT, words)))
}

fn plain(action: &str, command: Vec<String>) -> CommandConfig {
    CommandConfig {
        name: action.to_owned(),
        command,
        precondition: None,
        observe: None,
        undo: None,
        env: Default::default(),
        defaults: Default::default(),
    }
}

/// What each declaration adds to the catalogue.
pub(super) fn reclaim_spec(declared: &[ReclaimConfig]) -> Option<ActionSpec> {
    let names: Vec<_> = declared.iter().map(|it| it.name.clone()).collect();
    let what =
        ParamSpec { name: "what".into(), kind: ParamKind::Choice(names.clone()), required: false };
    (!names.is_empty()).then(|| ActionSpec {
        params: vec![what],
        timeout_ms: 10 * MINUTE,
        ..of_the_box(DISK_RECLAIM, "let go of files that the box's file declares for it", MENDS)
    })
}

pub(super) fn bounce_spec(links: &[LinkConfig]) -> Option<ActionSpec> {
    let links: Vec<_> = links
        .iter()
        .filter(|it| it.bounce)
        .map(|it| TargetId::new(TargetKind::Link, &it.name).into())
        .collect();
    (!links.is_empty()).then(|| ActionSpec {
        targets: links,
        terms: Terms { disruption: 2, settle_ms: MINUTE, ..MENDS },
        ..of_the_box(LINK_BOUNCE, "take a network interface down and up again", MENDS)
    })
}

pub(super) fn resync_spec() -> ActionSpec {
    let summary = "have the service that keeps the clock set it now";
    of_the_box(TIME_RESYNC, summary, Terms { settle_ms: 10 * MINUTE, ..MENDS })
}

pub(super) fn reboot_spec() -> ActionSpec {
    let terms = Terms { disruption: 3, settle_ms: 15 * MINUTE, ..MENDS };
    ActionSpec {
        reversible: false,
        timeout_ms: 4 * MINUTE,
        ..of_the_box(SYSTEM_REBOOT, "boot the box; counted before it is done", terms)
    }
}

fn of_the_box(name: &str, summary: &str, terms: Terms) -> ActionSpec {
    ActionSpec {
        name: name.into(),
        summary: summary.into(),
        targets: vec![TargetId::the_box().into()],
        params: Vec::new(),
        terms,
        reversible: false,
        timeout_ms: 30 * SECOND,
    }
}
