//! What a person installed, beside the plugins of the box's file.
//!
//! Invariant: `plugins/installed.json` is there whole or as it was, and names
//! only files that lie beside it. A file of the box that came to say another
//! digest is the newer word, and what was installed over the old one is let go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::PluginConfig;
use crate::model::PluginSettings;

const FORMAT: u32 = 1;
const INDEX: &str = "installed.json";
const ENDING: &str = "plugin";
/// Names that may be installed.
const PLACES_MAX: usize = 32;
/// Plugins that may come beside those that were there at the start.
pub const SPARE: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum InstalledError {
    #[error("{path}: {why}")]
    Io { path: PathBuf, why: std::io::Error },
    #[error("{path} does not read: {why}; install again what `homeostat plugin list` lacks")]
    Malformed { path: PathBuf, why: String },
    #[error("{PLACES_MAX} plugins are installed, and no more may be: remove one first")]
    Full,
}

/// One plugin file that a person had installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    pub version: String,
    pub sequence: u64,
    pub publisher: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Name of the plugin file in the folder.
    pub file: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    pub what: Installed,
    pub until_age_ms: u64,
    /// Of the trial that follows.
    pub trial_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    pub until_age_ms: u64,
    /// What was installed before; none goes back to the box's file.
    pub before: Option<Installed>,
}

/// What is installed under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Digest of the file's own entry, when this was installed.
    pub over: Option<String>,
    /// In place of the file's settings, where the file has no such plugin.
    #[serde(default)]
    pub settings: PluginSettings,
    pub live: Option<Installed>,
    pub shadow: Option<Shadow>,
    pub trial: Option<Trial>,
}

impl Place {
    pub fn all(&self) -> impl Iterator<Item = &Installed> {
        let shadow = self.shadow.iter().map(|it| &it.what);
        let before = self.trial.iter().filter_map(|it| it.before.as_ref());
        self.live.iter().chain(shadow).chain(before)
    }

    fn is_empty(&self) -> bool {
        self.live.is_none() && self.shadow.is_none()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    homeostat_installed: u32,
    plugins: BTreeMap<String, Place>,
}

/// The folder, and what its index says.
pub struct Shelf {
    folder: PathBuf,
    pub places: BTreeMap<String, Place>,
}

impl Shelf {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, places: BTreeMap::new() }
    }

    /// As it was left. One that does not read is empty, and says why.
    pub fn open(state: &Path) -> (Self, Option<InstalledError>) {
        let mut shelf = Self::new(state.join("plugins"));
        match shelf.load() {
            Ok(()) => (shelf, None),
            Err(error) => (shelf, Some(error)),
        }
    }

    fn load(&mut self) -> Result<(), InstalledError> {
        let path = self.folder.join(INDEX);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(InstalledError::Io { path, why }),
        };
        let malformed = |why: String| InstalledError::Malformed { path: path.clone(), why };
        let index: Index =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        if index.homeostat_installed != FORMAT {
            let found = index.homeostat_installed;
            return Err(malformed(format!("wanted format {FORMAT}, found {found}")));
        }
        self.places = index.plugins;
        Ok(())
    }

    /// Lets go of what the box's file has since spoken of anew. Gives the names.
    pub fn follow(&mut self, file: &[PluginConfig]) -> Vec<String> {
        let digest = |name: &String| file.iter().find(|it| it.name == *name).map(|it| &it.digest);
        let stale: Vec<String> = self
            .places
            .iter()
            .filter(|(name, place)| digest(name) != place.over.as_ref())
            .map(|(name, _)| name.clone())
            .collect();
        stale.iter().for_each(|name| drop(self.places.remove(name)));
        stale
    }

    pub fn has_room_for(&self, name: &str) -> Result<(), InstalledError> {
        let full = self.places.len() >= PLACES_MAX && !self.places.contains_key(name);
        if full { Err(InstalledError::Full) } else { Ok(()) }
    }

    pub fn path(&self, installed: &Installed) -> PathBuf {
        self.folder.join(&installed.file)
    }

    /// Puts a plugin file among them.
    pub fn put(&self, digest: &str, bytes: &[u8]) -> Result<String, InstalledError> {
        let name = format!("{digest}.{ENDING}");
        self.write(&name, bytes)?;
        Ok(name)
    }

    /// Writes the index, and removes the files that nobody names any more.
    pub fn save(&mut self) -> Result<(), InstalledError> {
        self.places.retain(|_, place| !place.is_empty());
        let index = Index { homeostat_installed: FORMAT, plugins: self.places.clone() };
        let text = serde_json::to_vec_pretty(&index)
            .map_err(|why| self.io(INDEX, std::io::Error::other(why)))?;
        self.write(INDEX, &text)?;
        self.sweep();
        Ok(())
    }

    fn sweep(&self) {
        let named: BTreeSet<&str> =
            self.places.values().flat_map(Place::all).map(|it| it.file.as_str()).collect();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let ours = path.extension().is_some_and(|it| it == ENDING);
            if ours && !named.contains(&*name.to_string_lossy()) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), InstalledError> {
        let written = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let unfinished = self.folder.join(format!("{name}.unfinished"));
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.create(true).write(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.folder.join(name))?;
            fs::File::open(&self.folder)?.sync_all()
        };
        written().map_err(|why| self.io(name, why))
    }

    fn io(&self, name: &str, why: std::io::Error) -> InstalledError {
        InstalledError::Io { path: self.folder.join(name), why }
    }
}
