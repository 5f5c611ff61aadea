//! One record of the journal as one line: when, what, and `key=value` of the rest.
//!
//! Invariant: it knows no kind of event by name, so a new one is shown like the others.

use serde_json::Value;

use super::page::{Page, Tone, cell};
use super::words;
use crate::model::Record;

pub(super) fn draw(page: &mut Page, record: &Record) {
    let age = || format!("age {}.{:03} s", record.at.age_ms / 1000, record.at.age_ms % 1000);
    let when = words::wall(record.at).unwrap_or_else(age);
    let event = serde_json::to_value(&record.event).unwrap_or(Value::Null);
    let what = event["type"].as_str().unwrap_or("").to_owned();
    let mut pairs = Vec::new();
    if let Value::Object(fields) = &event {
        for (key, value) in fields.iter().filter(|(key, _)| *key != "type") {
            flatten(key, value, &mut pairs);
        }
    }
    page.columns(&[vec![
        cell(record.seq.to_string()).tone(Tone::Faint),
        cell(when).tone(Tone::Faint),
        cell(what).tone(Tone::Strong),
        cell(pairs.join(" ")),
    ]]);
}

fn flatten(key: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(fields) => {
            for (inner, value) in fields {
                flatten(&format!("{key}.{inner}"), value, pairs);
            }
        }
        // As it is spoken of everywhere else.
        Value::Number(id) if key == "incident" || key.ends_with(".incident") => {
            pairs.push(format!("{key}=i{id}"));
        }
        Value::String(text) if plain(text) => pairs.push(format!("{key}={text}")),
        other => pairs.push(format!("{key}={other}")),
    }
}

/// Needs no quotes.
fn plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
}
