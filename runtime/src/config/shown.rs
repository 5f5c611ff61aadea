//! What the file and the defaults come to, each value with where it is from.
//!
//! Invariant: it is noted where a value is read, so nothing can be in force
//! that is not shown, or be shown and not be in force.

use serde::Serialize;
use serde_json::Value;

/// Tables in the order of the file's room, each behind the one it lies in.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Shown {
    pub tables: Vec<Table>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// As TOML has it: `[guard]`, `[[workload.probe]]`; empty at the top.
    pub header: String,
    /// Its own name: `workload.digits.probe.ready`.
    pub place: String,
    pub values: Vec<Shows>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shows {
    pub key: String,
    pub value: Value,
    pub origin: ValueOrigin,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum ValueOrigin {
    File {
        line: usize,
    },
    Default,
    /// The default of the profile that the file chose.
    Profile {
        name: &'static str,
    },
    /// What the machine says of itself, such as its host name.
    Machine,
}

impl Shown {
    /// Begins a table; gives back its place here.
    pub(super) fn open(&mut self, header: &str, place: &str) -> usize {
        let values = Vec::new();
        self.tables.push(Table { header: header.to_owned(), place: place.to_owned(), values });
        self.tables.len() - 1
    }

    /// What was said of a key last, counts.
    pub(super) fn put(&mut self, table: usize, key: &str, value: Value, origin: ValueOrigin) {
        let values = &mut self.tables[table].values;
        values.retain(|other| other.key != key);
        values.push(Shows { key: key.to_owned(), value, origin });
    }

    /// The same with another value, such as a path made whole.
    pub(super) fn amend(&mut self, table: usize, key: &str, value: Value) {
        let values = &mut self.tables[table].values;
        if let Some(shows) = values.iter_mut().find(|other| other.key == key) {
            shows.value = value;
        }
    }
}
