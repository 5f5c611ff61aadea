//! Walks the parsed TOML and notes every mistake on the way.
//!
//! Invariant: reading never stops at a mistake. It notes it and gives back a
//! stand-in, so that the next mistake is found too; the stand-ins never leave
//! the room, because `load` gives no configuration when there is a mistake.

mod many;
mod show;

use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{At, Document};
use super::mistake::suggest;
use super::shown::ValueOrigin;
use super::value;
use crate::model::Value;

/// One table of it. Knows which keys were asked for, so that the others are
/// unknown keys.
pub(super) struct Section<'d> {
    pub doc: &'d Document<'d>,
    table: Option<&'d DeTable<'d>>,
    offset: usize,
    pub place: String,
    asked: Vec<String>,
    /// The keys' names without those of entries: `workload.probe`.
    path: String,
    /// Its table in what is shown.
    shown: usize,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        doc: &'d Document<'d>,
        table: Option<&'d DeTable<'d>>,
        offset: usize,
        place: String,
        header: &str,
    ) -> Self {
        let shown = doc.shown.borrow_mut().open(header, &place);
        let path = header.trim_matches(['[', ']']).to_owned();
        Self { doc, table, offset, place, asked: Vec::new(), path, shown }
    }

    pub(super) fn through<R>(mut self, read: impl FnOnce(&mut Self) -> R) -> R {
        let result = read(&mut self);
        self.note_unknown_keys();
        result
    }

    fn note_unknown_keys(&self) {
        let Some(table) = self.table else { return };
        let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
        for (key, _) in table.iter() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = value::belongs_elsewhere(&self.place, name)
                    .unwrap_or_else(|| suggest(name, &known, "keys"));
                self.doc.note(
                    key.span().start,
                    &self.place,
                    "a known key",
                    format!("`{name}`"),
                    Some(hint),
                );
            }
        }
    }

    /// Dotted name of a key in this section.
    pub fn at(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    /// Name of a table in this section, as TOML's headers have it.
    fn below(&self, key: &str) -> String {
        let key = value::key(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    pub fn offset(&self) -> usize {
        self.offset
    }

    fn get(&mut self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.push(key.to_owned());
        self.table?.get(key)
    }

    /// Whether a key is there, without asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Notes what is wrong with the value of `key`, or with the section when the key is missing.
    pub fn note(
        &self,
        key: &str,
        wanted: impl Into<String>,
        found: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if !self.has(key) && self.doc.lost.may_have(key, &self.path) {
            return;
        }
        let offset = self.table.and_then(|table| table.get(key)).map(|value| value.span().start);
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self.doc.note(offset.unwrap_or(self.offset), &self.at(key), wanted, found, hint);
    }

    fn note_value(&self, key: &str, wanted: &str, value: &Spanned<DeValue<'d>>) {
        self.doc.note(
            value.span().start,
            &self.at(key),
            wanted,
            value::describe(value.get_ref()),
            None,
        );
    }

    pub fn text(&mut self, key: &str) -> Option<At<String>> {
        let value = self.leaf(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                Some(At { value: text.clone().into_owned(), offset: value.span().start })
            }
            _ => {
                self.note_value(key, "a text in quotes", value);
                None
            }
        }
    }

    /// A text that has no default. `wanted` says what it is.
    pub fn need_text(&mut self, key: &str, wanted: &str, hint: &str) -> At<String> {
        if !self.has(key) {
            self.note(key, wanted, "nothing", hint);
        }
        self.text(key).unwrap_or(At { value: String::new(), offset: self.offset })
    }

    /// A name: lower-case letters, digits and dashes, at most 64.
    pub fn need_name(&mut self, key: &str) -> At<String> {
        let name = self.need_text(key, value::NAME_WANTED, "");
        if self.has(key) {
            self.check_name(key, &name);
        }
        name
    }

    pub fn check_name(&self, key: &str, name: &At<String>) {
        if let Err(hint) = value::check_name(&name.value) {
            let found = value::quoted(&name.value);
            self.doc.note(name.offset, &self.at(key), value::NAME_WANTED, found, Some(hint));
        }
    }

    pub fn path(&mut self, key: &str, default: impl FnOnce() -> PathBuf) -> PathBuf {
        match self.text(key) {
            Some(text) if text.value.is_empty() => {
                self.note(key, "a path", "an empty text", "leave the key out for the default");
                default()
            }
            Some(text) => {
                let path = self.doc.resolve(&text.value);
                self.amend_path(key, &path);
                path
            }
            None => {
                let path = default();
                self.default(key, path.to_string_lossy().into_owned());
                path
            }
        }
    }

    pub fn integer<T: Copy + TryFrom<i64> + Into<i128>>(
        &mut self,
        key: &str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        self.default(key, i64::try_from(default.into()).unwrap_or(i64::MAX));
        self.integer_opt(key, range).unwrap_or(default)
    }

    pub fn integer_opt<T: Copy + TryFrom<i64> + Into<i128>>(
        &mut self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let value = self.leaf(key)?;
        let (low, high): (i128, i128) = ((*range.start()).into(), (*range.end()).into());
        let number = value::integer(value.get_ref())
            .filter(|number| (low..=high).contains(&i128::from(*number)))
            .and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            self.note_value(key, &format!("a whole number from {low} to {high}"), value);
        }
        number
    }

    /// A finite number, whole or not.
    pub fn number(&mut self, key: &str, default: f64) -> f64 {
        self.default(key, default);
        let Some(value) = self.leaf(key) else { return default };
        let number = value::number(value.get_ref()).filter(|number| number.is_finite());
        if number.is_none() {
            self.note_value(key, "a number", value);
        }
        number.unwrap_or(default)
    }

    /// A finite number as it is typed, or nothing.
    pub fn bound(&mut self, key: &str) -> Option<Value> {
        let value = self.leaf(key)?;
        let whole = value::integer(value.get_ref()).map(Value::Int);
        let number = whole.or_else(|| value::number(value.get_ref()).map(Value::Num));
        let number = number.filter(|it| !matches!(it, Value::Num(it) if !it.is_finite()));
        if number.is_none() {
            self.note_value(key, "a number", value);
        }
        number
    }

    /// Milliseconds, typed as `KEY_s` (fractions are fine) or `KEY_ms`.
    pub fn duration(&mut self, key: &str, default_ms: u64, range_ms: RangeInclusive<u64>) -> u64 {
        self.duration_or(key, default_ms, range_ms, ValueOrigin::Default)
    }

    /// As [`Self::duration`], where the profile says the default.
    pub fn preset(&mut self, key: &str, default_ms: u64, range_ms: RangeInclusive<u64>) -> u64 {
        let origin = self.doc.preset_origin();
        self.duration_or(key, default_ms, range_ms, origin)
    }

    fn duration_or(
        &mut self,
        key: &str,
        default_ms: u64,
        range_ms: RangeInclusive<u64>,
        origin: ValueOrigin,
    ) -> u64 {
        let (key_s, key_ms) = (format!("{key}_s"), format!("{key}_ms"));
        let (seconds, millis) = (self.leaf(&key_s), self.leaf(&key_ms));
        if let (Some(_), Some(millis)) = (seconds, millis) {
            let wanted = format!("either {key_s} or {key_ms}");
            self.doc.note(millis.span().start, &self.at(&key_ms), wanted, "both", None);
            return default_ms;
        }
        let (key, value, unit) = match (seconds, millis) {
            (Some(seconds), _) => (key_s, seconds, value::Unit::Seconds),
            (_, Some(millis)) => (key_ms, millis, value::Unit::Millis),
            _ => {
                self.default_duration(key, default_ms, origin);
                return default_ms;
            }
        };
        let ms = value::duration_ms(value.get_ref(), unit).filter(|ms| range_ms.contains(ms));
        if ms.is_none() {
            self.note_value(&key, &value::duration_range(&range_ms, unit), value);
        }
        ms.unwrap_or(default_ms)
    }

    /// Bytes, typed as a whole number or as a text such as `64MiB`.
    pub fn size(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.default(key, value::size_text(default));
        self.size_opt(key, range).unwrap_or(default)
    }

    pub fn size_opt(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.leaf(key)?;
        let size = value::size(value.get_ref()).filter(|size| range.contains(size));
        if size.is_none() {
            let wanted = format!(
                "a size from {} to {}",
                value::size_text(*range.start()),
                value::size_text(*range.end())
            );
            let found = value::describe(value.get_ref());
            let hint = "a number of bytes, or a text such as \"64MiB\" (KiB, MiB, GiB)".to_owned();
            self.doc.note(value.span().start, &self.at(key), wanted, found, Some(hint));
        }
        size
    }

    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        self.default(key, default);
        let Some(value) = self.leaf(key) else { return default };
        match value.get_ref() {
            DeValue::Boolean(flag) => *flag,
            _ => {
                self.note_value(key, "true or false", value);
                default
            }
        }
    }

    /// One word of a few. None when it is missing or wrong; only wrong is noted.
    pub fn choice<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let choice = words.iter().find(|(word, _)| *word == text.value).map(|(_, choice)| *choice);
        if choice.is_none() {
            let hint = suggest(&text.value, &known, "words");
            self.note(
                key,
                format!("one of {}", known.join(", ")),
                value::quoted(&text.value),
                hint,
            );
        }
        choice
    }

    /// A table of any shape, as JSON text; `{}` when it is missing.
    pub fn json(&mut self, key: &str) -> String {
        let Some(value) = self.leaf(key) else { return "{}".into() };
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            self.note_value(key, "a table", value);
        }
        match value::json(value.get_ref()) {
            Ok(json) => json.to_string(),
            Err(found) => {
                let wanted = "what JSON can say";
                self.doc.note(value.span().start, &self.at(key), wanted, found, None);
                "{}".into()
            }
        }
    }
}
