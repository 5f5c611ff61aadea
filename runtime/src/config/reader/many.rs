//! Lists and tables of a section.
//!
//! Invariant: as long as a box has a use for, and no longer.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::{At, Section};
use crate::config::value;

/// Entries of one list; a box has a handful of each.
const LIST_LEN_MAX: usize = 256;

impl<'d> Section<'d> {
    pub(in crate::config) fn texts(&mut self, key: &str) -> Option<Vec<At<String>>> {
        let value = self.leaf(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            self.note_value(key, "a list of texts", value);
            return None;
        };
        let mut texts = Vec::new();
        for item in items.iter().take(LIST_LEN_MAX) {
            match item.get_ref() {
                DeValue::String(text) => {
                    texts.push(At { value: text.clone().into_owned(), offset: item.span().start })
                }
                _ => self.note_value(key, "a text in quotes", item),
            }
        }
        self.check_len(key, items.len());
        Some(texts)
    }

    /// Items that are texts or whole numbers, the numbers written out.
    pub(in crate::config) fn words(&mut self, key: &str) -> Vec<At<String>> {
        let Some(value) = self.leaf(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.note_value(key, "a list", value);
            return Vec::new();
        };
        self.check_len(key, items.len());
        items.iter().take(LIST_LEN_MAX).filter_map(|item| self.as_word(key, item)).collect()
    }

    /// A text or a whole number, the number written out.
    pub(in crate::config) fn word(&mut self, key: &str) -> Option<At<String>> {
        let value = self.leaf(key)?;
        self.as_word(key, value)
    }

    fn as_word(&self, key: &str, item: &Spanned<DeValue<'d>>) -> Option<At<String>> {
        let value = match item.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => value::integer(other).map(|number| number.to_string()),
        };
        if value.is_none() {
            self.note_value(key, "a text or a whole number", item);
        }
        value.map(|value| At { value, offset: item.span().start })
    }

    /// Keys that are known here, but mean nothing as the rest stands.
    pub(in crate::config) fn ignore(&mut self, keys: &[&str]) {
        self.asked.extend(keys.iter().map(|key| (*key).to_owned()));
    }

    /// A table whose values are texts.
    pub(in crate::config) fn text_map(&mut self, key: &str) -> BTreeMap<String, String> {
        let Some(value) = self.leaf(key) else { return BTreeMap::new() };
        let DeValue::Table(table) = value.get_ref() else {
            self.note_value(key, "a table of texts, such as { NAME = \"value\" }", value);
            return BTreeMap::new();
        };
        let mut map = BTreeMap::new();
        for (name, item) in table.iter() {
            match item.get_ref() {
                DeValue::String(text) => {
                    map.insert(name.get_ref().to_string(), text.clone().into_owned());
                }
                _ => self.note_value(&format!("{key}.{}", name.get_ref()), "a text", item),
            }
        }
        map
    }

    /// A table whose values are lists of texts.
    pub(in crate::config) fn texts_map(&mut self, key: &str) -> BTreeMap<String, Vec<String>> {
        self.section(key, |section| {
            let keys: Vec<String> = section
                .table
                .map(|table| table.keys().map(|key| key.get_ref().to_string()).collect())
                .unwrap_or_default();
            keys.into_iter()
                .map(|key| {
                    let texts = section.texts(&key).unwrap_or_default();
                    (key, texts.into_iter().map(|text| text.value).collect())
                })
                .collect()
        })
    }

    /// A sub-table; an empty one when it is missing.
    pub(in crate::config) fn section<R>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'d>) -> R,
    ) -> R {
        let (table, offset) = match self.get(key) {
            None => (None, self.offset),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => (Some(table), value.span().start),
                _ => {
                    self.note_value(key, &format!("a table: [{}]", self.at(key)), value);
                    (None, value.span().start)
                }
            },
        };
        let header = format!("[{}]", self.below(key));
        Section::new(self.doc, table, offset, self.at(key), &header).through(read)
    }

    /// A table of tables, each read by `read` with its name.
    pub(in crate::config) fn entries<R>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'d>, &str) -> R,
    ) -> Vec<R> {
        if !self.has(key) {
            self.ignore(&[key]);
            return Vec::new();
        }
        self.section(key, |section| {
            let keys: Vec<String> = section
                .table
                .map(|table| table.keys().map(|key| key.get_ref().to_string()).collect())
                .unwrap_or_default();
            let entry = |name: &String| section.section(name, |section| read(section, name));
            keys.iter().take(LIST_LEN_MAX).map(entry).collect()
        })
    }

    /// Whether the table under `key` has `name`.
    pub(in crate::config) fn has_in(&self, key: &str, name: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(
            |value| matches!(value.get_ref(), DeValue::Table(inner) if inner.contains_key(name)),
        )
    }

    /// A list of tables, each read by `read`.
    pub(in crate::config) fn each<R>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'d>) -> R,
    ) -> Vec<R> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            self.note_value(key, &format!("a list of tables: [[{}]]", self.at(key)), value);
            return Vec::new();
        };
        self.check_len(key, items.len());
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate().take(LIST_LEN_MAX) {
            let DeValue::Table(table) = item.get_ref() else {
                self.note_value(key, "a table", item);
                continue;
            };
            let place = match table.get("name").map(Spanned::get_ref) {
                Some(DeValue::String(name)) => format!("{}.{name}", self.at(key)),
                _ => format!("{}[{}]", self.at(key), index + 1),
            };
            let header = format!("[[{}]]", self.below(key));
            let section = Section::new(self.doc, Some(table), item.span().start, place, &header);
            all.push(section.through(&mut read));
        }
        all
    }

    fn check_len(&self, key: &str, len: usize) {
        if len > LIST_LEN_MAX {
            self.note(key, format!("at most {LIST_LEN_MAX} entries"), format!("{len}"), "");
        }
    }
}
