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
use crate::trust::sha256_hex;

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
    #[error(
        "what was installed is not known, so nothing is written over it: {why}; mend or remove \
         the index, and start the daemon anew"
    )]
    Broken { why: String },
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
    /// In place of the file's settings, where the box's file has no such plugin.
    #[serde(default)]
    pub settings: PluginSettings,
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

    pub fn put_on_trial(&mut self, what: Installed, until_age_ms: u64) {
        let before = match self.trial.take() {
            // What did not stand its trial yet is nothing to go back to.
            Some(trial) => trial.before,
            None => self.live.take(),
        };
        self.live = Some(what);
        self.trial = Some(Trial { until_age_ms, before });
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
    places: BTreeMap<String, Place>,
    /// Why the index does not read. Then nothing is written over it.
    broken: Option<String>,
}

impl Shelf {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, places: BTreeMap::new(), broken: None }
    }

    /// As it was left. One that does not read is empty, and says why.
    pub fn open(state: &Path) -> (Self, Option<InstalledError>) {
        let mut shelf = Self::new(state.join("plugins"));
        match shelf.load() {
            Ok(()) => (shelf, None),
            Err(error) => {
                shelf.broken = Some(error.to_string());
                (shelf, Some(error))
            }
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

    /// Lets go of what the box's file has since spoken of anew. Gives them.
    pub fn follow(&mut self, file: &[PluginConfig]) -> BTreeMap<String, Place> {
        let digest = |name: &String| file.iter().find(|it| it.name == *name).map(|it| &it.digest);
        let places = std::mem::take(&mut self.places);
        let (kept, overruled) =
            places.into_iter().partition(|(name, place)| digest(name) == place.over.as_ref());
        self.places = kept;
        overruled
    }

    pub fn places(&self) -> &BTreeMap<String, Place> {
        &self.places
    }

    pub fn has_room_for(&self, name: &str) -> Result<(), InstalledError> {
        let full = self.places.len() >= PLACES_MAX && !self.places.contains_key(name);
        if full { Err(InstalledError::Full) } else { Ok(()) }
    }

    pub fn path(&self, installed: &Installed) -> PathBuf {
        self.folder.join(&installed.file)
    }

    /// Puts a plugin file among them, under a name that is its content's: two
    /// plugins may have one component.
    pub fn put(&self, bytes: &[u8]) -> Result<String, InstalledError> {
        self.check_whole()?;
        let name = format!("{}.{ENDING}", sha256_hex(bytes));
        self.write(&name, bytes)?;
        Ok(name)
    }

    fn check_whole(&self) -> Result<(), InstalledError> {
        match &self.broken {
            Some(why) => Err(InstalledError::Broken { why: why.clone() }),
            None => Ok(()),
        }
    }

    /// Changes what is installed, once it is written down.
    pub fn change(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<String, Place>),
    ) -> Result<(), InstalledError> {
        let mut places = self.places.clone();
        change(&mut places);
        places.retain(|_, place| !place.is_empty());
        self.save(&places)?;
        self.places = places;
        self.sweep();
        Ok(())
    }

    /// Changes what is installed, written down or not: what is bad does not go on
    /// running because a disk is full.
    pub fn change_anyway(&mut self, change: impl FnOnce(&mut BTreeMap<String, Place>)) {
        change(&mut self.places);
        self.places.retain(|_, place| !place.is_empty());
        match self.save(&self.places) {
            Ok(()) => self.sweep(),
            Err(error) => tracing::error!(%error, "what is installed is not written down"),
        }
    }

    fn save(&self, places: &BTreeMap<String, Place>) -> Result<(), InstalledError> {
        self.check_whole()?;
        let index = Index { homeostat_installed: FORMAT, plugins: places.clone() };
        let text = serde_json::to_vec_pretty(&index)
            .map_err(|why| self.io(INDEX, std::io::Error::other(why)))?;
        self.write(INDEX, &text)
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
        written().map_err(|why| {
            let _ = fs::remove_file(self.folder.join(format!("{name}.unfinished")));
            self.io(name, why)
        })
    }

    fn io(&self, name: &str, why: std::io::Error) -> InstalledError {
        InstalledError::Io { path: self.folder.join(name), why }
    }
}
