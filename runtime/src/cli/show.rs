//! The configuration in force, as TOML that could be written back.
//!
//! Invariant: what a comment says is where a value is from; the rest is the value.

use std::path::Path;

use serde_json::Value;

use super::page::{Page, Tone};
use crate::config::{Shown, Shows, ValueOrigin};

/// Beyond this, an origin stands a blank behind its value.
const COLUMN_MAX: usize = 44;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origins {
    Shown,
    Hidden,
}

pub(super) fn draw(page: &mut Page, file: &Path, shown: &Shown, origins: Origins) {
    for table in shown.tables.iter().filter(|table| !table.values.is_empty()) {
        if !table.header.is_empty() {
            page.heading(&table.header);
        }
        let lines: Vec<_> = table.values.iter().map(line).collect();
        let widths = lines.iter().map(|line| line.chars().count());
        let column = widths.filter(|width| *width <= COLUMN_MAX).max().unwrap_or(0);
        for (line, shows) in lines.iter().zip(&table.values) {
            match origins {
                Origins::Hidden => page.line(line),
                Origins::Shown => {
                    page.line(&format!("{line:column$}  # {}", origin(file, &shows.origin)));
                }
            }
        }
    }
    if shown.tables.iter().all(|table| table.values.is_empty()) {
        page.toned("nothing", Tone::Faint);
    }
}

fn line(shows: &Shows) -> String {
    format!("{} = {}", key(&shows.key), toml(&shows.value))
}

fn origin(file: &Path, origin: &ValueOrigin) -> String {
    match origin {
        ValueOrigin::File { line } => format!("{}:{line}", file.display()),
        ValueOrigin::Default => "default".into(),
        ValueOrigin::Profile { name } => format!("default of profile {name}"),
        ValueOrigin::Machine => "this machine".into(),
    }
}

fn key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { text(key) }
}

/// JSON's strings are basic strings of TOML, but for one control character.
fn text(text: &str) -> String {
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

fn toml(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::String(value) => text(value),
        Value::Array(items) => format!("[{}]", join(items.iter().map(toml).collect())),
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            let fields =
                fields.iter().map(|(name, value)| format!("{} = {}", key(name), toml(value)));
            format!("{{ {} }}", join(fields.collect()))
        }
        other => other.to_string(),
    }
}
