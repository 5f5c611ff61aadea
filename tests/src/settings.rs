//! A configuration as a tree that a story can change by dotted path, and the
//! TOML of it.
//!
//! Made of plain values, not of the daemon's own types: a story writes what a
//! person would type, mistakes included.

use std::fmt::Write as _;

use serde_json::{Map, Value};

#[derive(Clone, Debug, Default)]
pub struct Settings {
    root: Map<String, Value>,
}

impl Settings {
    /// Sets the key at the end of a dotted path, making tables on the way.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> &mut Self {
        let (table, key) = path.rsplit_once('.').unwrap_or(("", path));
        self.table(table).insert(key.to_owned(), value.into());
        self
    }

    /// Adds one more table to the list at a dotted path: `[[path]]`.
    pub fn push(&mut self, path: &str, table: Value) -> &mut Self {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        let list = self.table(parent).entry(key).or_insert_with(|| Value::Array(Vec::new()));
        list.as_array_mut().expect("the path names a list of tables").push(table);
        self
    }

    /// The table called `name` in the list at `path`.
    pub fn named(&mut self, path: &str, name: &str) -> &mut Map<String, Value> {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        self.table(parent)
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
            .find(|table| table.get("name").and_then(Value::as_str) == Some(name))
            .unwrap_or_else(|| panic!("no {path} is called {name:?}"))
    }

    /// How many tables the list at the top-level key has.
    pub fn count(&self, key: &str) -> usize {
        self.root.get(key).and_then(Value::as_array).map_or(0, Vec::len)
    }

    fn table(&mut self, path: &str) -> &mut Map<String, Value> {
        let mut table = &mut self.root;
        for key in path.split('.').filter(|key| !key.is_empty()) {
            table = table
                .entry(key)
                .or_insert_with(|| Value::Object(Map::new()))
                .as_object_mut()
                .expect("the path names a table");
        }
        table
    }

    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        write_table(&mut text, "", &self.root);
        text
    }
}

/// Plain keys first, since a header ends the table they belong to.
fn write_table(text: &mut String, path: &str, table: &Map<String, Value>) {
    for (key, value) in table.iter().filter(|(_, value)| !has_header(value)) {
        if !value.is_null() {
            let _ = writeln!(text, "{} = {}", word(key), inline(value));
        }
    }
    for (key, value) in table.iter().filter(|(_, value)| has_header(value)) {
        let path = if path.is_empty() { word(key) } else { format!("{path}.{}", word(key)) };
        match value {
            Value::Object(inner) => {
                let _ = writeln!(text, "\n[{path}]");
                write_table(text, &path, inner);
            }
            Value::Array(items) => {
                for inner in items.iter().filter_map(Value::as_object) {
                    let _ = writeln!(text, "\n[[{path}]]");
                    write_table(text, &path, inner);
                }
            }
            _ => {}
        }
    }
}

fn has_header(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_object),
        _ => false,
    }
}

/// A bare key where TOML has it, a quoted one otherwise.
fn word(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { key.to_owned() } else { quoted(key) }
}

/// JSON's strings are basic strings of TOML.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007f")
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(table) => {
            let items: Vec<_> = table
                .iter()
                .map(|(key, value)| format!("{} = {}", word(key), inline(value)))
                .collect();
            format!("{{ {} }}", items.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_lists_and_nested_lists_come_out_as_toml_has_them() {
        let mut settings = Settings::default();
        settings.set("box.name", "one").set("guard.cooldown_ms", 5);
        settings.push(
            "plugin",
            json!({ "name": "a", "config": { "rules": [{ "x": 1 }], "y": [1, 2] } }),
        );
        settings.push("plugin", json!({ "name": "b \"q\"", "gone": null }));
        settings.set("incident.explains", json!({ "gpu.lost": ["process.*"] }));
        settings.named("plugin", "a").insert("period_ms".into(), 9.into());
        assert_eq!(
            settings.to_toml(),
            "\n[box]\nname = \"one\"\n\n[guard]\ncooldown_ms = 5\n\n[incident]\n\n\
             [incident.explains]\n\"gpu.lost\" = [\"process.*\"]\n\n[[plugin]]\nname = \"a\"\n\
             period_ms = 9\n\n[plugin.config]\ny = [1, 2]\n\n[[plugin.config.rules]]\nx = 1\n\n\
             [[plugin]]\nname = \"b \\\"q\\\"\"\n"
        );
    }
}
