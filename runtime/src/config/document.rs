//! The file's text, and what is wrong with it so far.
//!
//! Invariant: a mistake is noted by its byte in the text, and told by line and column.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::machine::Machine;
use super::mistake::{Mistake, Mistakes};
use super::reader::Section;
use super::secret::SecretConfig;
use super::shown::{Shown, ValueOrigin};
use super::syntax::{Broken, Lost};

/// A value and the byte of the file where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub value: T,
    pub offset: usize,
}

/// The file, and what is wrong with it so far.
pub(super) struct Document<'d> {
    file: &'d Path,
    text: &'d str,
    pub machine: &'d Machine,
    /// What is broken, and so was not read.
    pub lost: Lost,
    mistakes: RefCell<Vec<Mistake>>,
    pub secrets: RefCell<Vec<SecretConfig>>,
    pub shown: RefCell<Shown>,
    /// Whose defaults count; none names the usual ones.
    pub profile: Cell<Option<&'static str>>,
}

impl<'d> Document<'d> {
    pub fn new(file: &'d Path, text: &'d str, machine: &'d Machine, lost: Lost) -> Self {
        let (mistakes, shown) = (RefCell::default(), RefCell::default());
        let (secrets, profile) = (RefCell::default(), Cell::new(None));
        Self { file, text, machine, lost, mistakes, secrets, shown, profile }
    }

    /// SHA-256 of the text, in hex.
    pub fn digest(&self) -> String {
        Sha256::digest(self.text).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Says nothing of an entry whose syntax is broken: what is missing in it,
    /// or goes ill with something else, may be for what was not read.
    pub fn note(
        &self,
        offset: usize,
        place: &str,
        wanted: impl Into<String>,
        found: impl Into<String>,
        hint: Option<String>,
    ) {
        if !self.lost.is_of(offset) {
            self.push(offset, place, wanted.into(), found.into(), hint);
        }
    }

    pub fn note_syntax(&self, broken: Broken) {
        let Broken { offset, found, hint } = broken;
        self.push(offset, "", "TOML".into(), found, hint);
    }

    fn push(
        &self,
        offset: usize,
        place: &str,
        wanted: String,
        found: String,
        hint: Option<String>,
    ) {
        let before = self.before(offset);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.to_owned(),
            line: Some(self.line(offset)),
            column: Some(before[line_start..].chars().count() + 1),
            place: place.to_owned(),
            wanted,
            found,
            hint,
        });
    }

    fn before(&self, offset: usize) -> &'d str {
        self.text.get(..offset).unwrap_or(self.text)
    }

    /// Counted from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.before(offset).matches('\n').count() + 1
    }

    /// Reads the whole file through `read`.
    pub fn read<R>(&'d self, root: &'d DeTable<'d>, read: impl FnOnce(&mut Section<'d>) -> R) -> R {
        Section::new(self, Some(root), 0, String::new(), "").through(read)
    }

    /// A relative path starts at the folder of the file.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("/")).join(path)
    }

    /// Where the defaults come from that a profile changes.
    pub fn preset_origin(&self) -> ValueOrigin {
        self.profile.get().map_or(ValueOrigin::Default, |name| ValueOrigin::Profile { name })
    }

    pub fn mistakes(&self) -> Mistakes {
        Mistakes::sorted(self.mistakes.take())
    }

    pub fn finish<T>(&self, config: T) -> Result<T, Mistakes> {
        let mistakes = self.mistakes();
        if mistakes.mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }
}
