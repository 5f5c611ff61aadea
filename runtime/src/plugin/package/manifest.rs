//! What a publisher signs.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::PackageError;
use crate::trust::sha256_hex;

/// The manifest format of this runtime.
pub const MANIFEST_SPEC: u32 = 1;

const NAME_BYTES_MAX: usize = 64;
const LIST_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub spec: u32,
    /// Lower-case letters, digits and `-`.
    pub name: String,
    /// For people, such as `1.2.0`.
    pub version: String,
    /// For machines: a box never goes below one it accepted.
    pub sequence: u64,
    pub publisher: String,
    /// A [`World`]'s word. Text here, so that a world of a later time is
    /// refused by name and not as broken JSON.
    pub world: String,
    /// Version of the `homeostat:plugin` contract.
    pub api: String,
    pub min_runtime: String,
    pub component: Blob,
    /// Selectors of the series it reads.
    pub reads: Vec<String>,
    /// Actions it may propose.
    pub actions: Vec<String>,
    /// Kinds of finding that may absorb others.
    pub explains: BTreeMap<String, Vec<String>>,
    pub limits: Limits,
    /// JSON schema of its configuration.
    pub config_schema: Option<serde_json::Value>,
    pub golden: Vec<Golden>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// In lower-case hex.
    pub sha256: String,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Linear memory it says it needs, in bytes.
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// `golden/NAME`
    pub path: String,
    pub sha256: String,
    pub size: u64,
}

/// The worlds of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum World {
    Detector,
    DetectorResumable,
    Healer,
}

impl World {
    pub const ALL: [Self; 3] = [Self::Detector, Self::DetectorResumable, Self::Healer];

    pub fn word(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::DetectorResumable => "detector-resumable",
            Self::Healer => "healer",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|world| world.word() == word)
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Blob {
    pub fn of(bytes: &[u8]) -> Self {
        Self { sha256: sha256_hex(bytes), size: bytes.len() as u64 }
    }
}

impl fmt::Display for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with sha256 {}", self.size, self.sha256)
    }
}

impl Manifest {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, PackageError> {
        let refuse = |why: String| PackageError::Manifest { why };
        let manifest: Self =
            serde_json::from_slice(payload).map_err(|error| refuse(error.to_string()))?;
        if manifest.spec != MANIFEST_SPEC {
            return Err(refuse(format!("wanted spec {MANIFEST_SPEC}, found {}", manifest.spec)));
        }
        if !is_name(&manifest.name) {
            return Err(refuse(format!(
                "wanted a name of 1 to {NAME_BYTES_MAX} lower-case letters, digits and `-`, \
                 found {:?}",
                manifest.name
            )));
        }
        let longest = [manifest.reads.len(), manifest.actions.len(), manifest.explains.len()];
        if longest.into_iter().any(|len| len > LIST_MAX) {
            return Err(refuse(format!("a list in it has more than {LIST_MAX} entries")));
        }
        Ok(manifest)
    }

    /// This runtime can run it.
    pub(super) fn check_contract(
        &self,
        apis: &[&str],
        runtime: &'static str,
    ) -> Result<World, PackageError> {
        let world = World::from_word(&self.world).ok_or_else(|| PackageError::World {
            wanted: "detector, detector-resumable or healer",
            found: self.world.clone(),
        })?;
        if !apis.contains(&self.api.as_str()) {
            return Err(PackageError::Api { wanted: apis.join(" or "), found: self.api.clone() });
        }
        let wanted = version(&self.min_runtime).ok_or_else(|| PackageError::Manifest {
            why: format!("wanted min_runtime such as 0.1.0, found {:?}", self.min_runtime),
        })?;
        if version(runtime).expect("our own version is three numbers") < wanted {
            return Err(PackageError::Runtime { wanted: self.min_runtime.clone(), found: runtime });
        }
        Ok(world)
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn version(text: &str) -> Option<[u64; 3]> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}
