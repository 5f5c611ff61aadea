//! What a section notes of its values for `config show`.

use std::path::Path;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::DeValue;

use super::Section;
use crate::config::shown::ValueOrigin;
use crate::config::value;

impl<'d> Section<'d> {
    /// Asks for a value that is no table to walk into, and notes it.
    pub(super) fn leaf(&mut self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        let value = self.get(key)?;
        let line = self.doc.line(value.span().start);
        // What JSON has no word for is a mistake, and never shown.
        let json = value::json(value.get_ref()).unwrap_or(Json::Null);
        self.put(key, json, ValueOrigin::File { line });
        Some(value)
    }

    /// Notes what a key that was left out means.
    pub(in crate::config) fn default(&self, key: &str, value: impl Into<Json>) {
        self.left_out(key, value, ValueOrigin::Default);
    }

    /// As [`Self::default`], where the machine says it.
    pub(in crate::config) fn machine_says(&self, key: &str, value: impl Into<Json>) {
        self.left_out(key, value, ValueOrigin::Machine);
    }

    /// A path as it is meant, where it was typed in relation to the file.
    pub(in crate::config) fn amend_path(&self, key: &str, path: &Path) {
        let text = path.to_string_lossy().into_owned();
        self.doc.shown.borrow_mut().amend(self.shown, key, text.into());
    }

    pub(super) fn default_duration(&self, key: &str, ms: u64, origin: ValueOrigin) {
        let (key, value) = match ms % 1000 {
            0 => (format!("{key}_s"), ms / 1000),
            _ => (format!("{key}_ms"), ms),
        };
        self.left_out(&key, value, origin);
    }

    pub(super) fn left_out(&self, key: &str, value: impl Into<Json>, origin: ValueOrigin) {
        if !self.has(key) {
            self.put(key, value.into(), origin);
        }
    }

    fn put(&self, key: &str, value: Json, origin: ValueOrigin) {
        self.doc.shown.borrow_mut().put(self.shown, key, value, origin);
    }
}
