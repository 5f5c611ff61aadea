//! A plugin file: who wrote it, what it is, and that not a bit of it changed.
//!
//! Invariant: a [`Package`] exists only after [`Package::verify`] (or
//! [`Package::inspect`], for tools without a box) passed, and no byte of the
//! component is parsed before. Order: size, tar, signature, manifest, name and
//! sequence, component, the box's own digest, contract, runtime.
//!
//! ```text
//! NAME-VERSION.plugin   tar, in this order
//!   plugin.dsse.json      DSSE envelope around the manifest
//!   component.wasm        what runs
//!   golden/*              recordings with the findings expected of them
//! ```

mod error;
mod manifest;
mod tar;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use ed25519_dalek::SigningKey;

pub use self::error::PackageError;
pub use self::manifest::{Blob, Golden, Limits, MANIFEST_SPEC, Manifest, World};
use crate::config::PluginConfig;
use crate::trust::{self, Keyring, sha256_hex};

/// Type of the envelope in a plugin file.
pub const PAYLOAD_TYPE: &str = "application/vnd.homeostat.plugin+json";
/// The contract's versions that this runtime serves.
pub const API_VERSIONS: &[&str] = &["0.1.0"];
pub const COMPONENT_BYTES_MAX: usize = 8 << 20;
pub const GOLDEN_BYTES_MAX: usize = 4 << 20;
pub const ENTRIES_MAX: usize = 64;
/// Largest file that is read: the parts, a header and padding for each, and the end.
pub const PACKAGE_BYTES_MAX: usize = trust::ENVELOPE_BYTES_MAX
    + COMPONENT_BYTES_MAX
    + GOLDEN_BYTES_MAX
    + ENTRIES_MAX * 1024
    + tar::END_BYTES_MAX;

const ENVELOPE: &str = "plugin.dsse.json";
const COMPONENT: &str = "component.wasm";
const GOLDEN: &str = "golden/";

/// What the box itself says about a plugin, beside its publisher's word.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    pub name: &'a str,
    /// SHA-256 of the component, in hex.
    pub digest: &'a str,
    /// The highest sequence seen so far; older ones are refused.
    pub sequence_floor: u64,
}

impl<'a> Admission<'a> {
    pub fn of(config: &'a PluginConfig, sequence_floor: u64) -> Self {
        Self { name: &config.name, digest: &config.digest, sequence_floor }
    }
}

/// A plugin file that was verified.
#[derive(Clone, Debug)]
pub struct Package {
    manifest: Manifest,
    world: World,
    component: Vec<u8>,
    golden: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// The file's bytes, no more than a plugin can have.
    pub fn read(path: &Path) -> Result<Vec<u8>, PackageError> {
        let io = |source| PackageError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(PACKAGE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        check_size("file", bytes.len(), PACKAGE_BYTES_MAX)?;
        Ok(bytes)
    }

    /// Two must agree before code runs: a publisher of `ring` signed it, and
    /// the box's policy names this very component.
    pub fn verify(
        bytes: &[u8],
        ring: &Keyring,
        admission: &Admission<'_>,
    ) -> Result<Self, PackageError> {
        let signed = Signed::open(bytes, ring)?;
        signed.check_identity(admission)?;
        signed.check_contents()?;
        signed.check_digest(admission)?;
        signed.into_package()
    }

    /// Everything but the box's word; for tools, never for loading.
    pub fn inspect(bytes: &[u8], ring: &Keyring) -> Result<Self, PackageError> {
        let signed = Signed::open(bytes, ring)?;
        signed.check_contents()?;
        signed.into_package()
    }

    /// A plugin file. Fills in `manifest.component` and `manifest.golden`,
    /// signs, and packs; the same input gives the same bytes. `golden` is by
    /// file name, without the folder.
    pub fn write(
        mut manifest: Manifest,
        component: &[u8],
        golden: &BTreeMap<String, Vec<u8>>,
        key: &SigningKey,
    ) -> Result<Vec<u8>, PackageError> {
        manifest.component = Blob::of(component);
        manifest.golden = golden
            .iter()
            .map(|(name, bytes)| Golden {
                path: format!("{GOLDEN}{name}"),
                sha256: sha256_hex(bytes),
                size: bytes.len() as u64,
            })
            .collect();
        let payload = serde_json::to_vec(&manifest).expect("a manifest always serialises");
        let envelope = trust::sign(PAYLOAD_TYPE, &payload, key);
        let mut out = tar::Writer::default();
        out.append(ENVELOPE, &envelope);
        out.append(COMPONENT, component);
        for (name, bytes) in golden {
            out.append(&format!("{GOLDEN}{name}"), bytes);
        }
        let bytes = out.finish();
        // An author hears of a mistake now, not from the first box.
        let mut ring = Keyring::default();
        ring.add(&manifest.publisher, key.verifying_key().as_bytes())?;
        Self::inspect(&bytes, &ring)?;
        Ok(bytes)
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn world(&self) -> World {
        self.world
    }

    pub fn component(&self) -> &[u8] {
        &self.component
    }

    /// SHA-256 of the component, in hex.
    pub fn digest(&self) -> &str {
        &self.manifest.component.sha256
    }

    /// Golden recordings by file name, without the folder.
    pub fn golden(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.golden
    }
}

/// Signed by a publisher of ours, and read; nothing in it is compared yet.
struct Signed<'a> {
    manifest: Manifest,
    component: &'a [u8],
    golden: Vec<tar::Entry<'a>>,
}

impl<'a> Signed<'a> {
    fn open(bytes: &'a [u8], ring: &Keyring) -> Result<Self, PackageError> {
        check_size("file", bytes.len(), PACKAGE_BYTES_MAX)?;
        let mut entries = tar::entries(bytes, ENTRIES_MAX)?.into_iter();
        let envelope = expect(entries.next(), ENVELOPE, trust::ENVELOPE_BYTES_MAX)?;
        let component = expect(entries.next(), COMPONENT, COMPONENT_BYTES_MAX)?;
        let golden: Vec<_> = entries.collect();
        check_golden_entries(&golden)?;
        let verified = trust::verify(envelope, PAYLOAD_TYPE, ring)?;
        let manifest = Manifest::parse(&verified.payload)?;
        if !ring.vouches(&manifest.publisher, &verified) {
            return Err(PackageError::Publisher {
                wanted: manifest.publisher,
                found: verified.signers.join(", "),
            });
        }
        if ring.is_revoked(&manifest.component.sha256) {
            let (name, digest) = (manifest.name, manifest.component.sha256);
            return Err(PackageError::Revoked { name, digest });
        }
        Ok(Self { manifest, component, golden })
    }

    fn check_identity(&self, admission: &Admission<'_>) -> Result<(), PackageError> {
        if self.manifest.name != admission.name {
            return Err(PackageError::Name {
                wanted: admission.name.to_owned(),
                found: self.manifest.name.clone(),
            });
        }
        if self.manifest.sequence < admission.sequence_floor {
            return Err(PackageError::Rollback {
                name: self.manifest.name.clone(),
                floor: admission.sequence_floor,
                found: self.manifest.sequence,
            });
        }
        Ok(())
    }

    /// The files are those that the publisher signed, all of them and no others.
    fn check_contents(&self) -> Result<(), PackageError> {
        check_blob(COMPONENT, &self.manifest.component, self.component)?;
        let listed: Vec<_> = self.manifest.golden.iter().map(|g| g.path.as_str()).collect();
        let found: Vec<_> = self.golden.iter().map(|entry| entry.path).collect();
        if listed != found {
            return Err(PackageError::GoldenList {
                wanted: listed.join(", "),
                found: found.join(", "),
            });
        }
        for (golden, entry) in self.manifest.golden.iter().zip(&self.golden) {
            let signed = Blob { sha256: golden.sha256.clone(), size: golden.size };
            check_blob(entry.path, &signed, entry.bytes)?;
        }
        Ok(())
    }

    fn check_digest(&self, admission: &Admission<'_>) -> Result<(), PackageError> {
        let found = &self.manifest.component.sha256;
        if !found.eq_ignore_ascii_case(admission.digest) {
            return Err(PackageError::NotAdmitted {
                name: self.manifest.name.clone(),
                wanted: admission.digest.to_owned(),
                found: found.clone(),
            });
        }
        Ok(())
    }

    fn into_package(self) -> Result<Package, PackageError> {
        let world = self.manifest.check_contract(API_VERSIONS, env!("CARGO_PKG_VERSION"))?;
        let golden = self
            .golden
            .into_iter()
            .map(|entry| (entry.path[GOLDEN.len()..].to_owned(), entry.bytes.to_vec()))
            .collect();
        Ok(Package { manifest: self.manifest, world, component: self.component.to_vec(), golden })
    }
}

fn expect<'a>(
    entry: Option<tar::Entry<'a>>,
    path: &'static str,
    max: usize,
) -> Result<&'a [u8], PackageError> {
    let entry = entry.ok_or(PackageError::Missing { wanted: path, found: "the end".into() })?;
    if entry.path != path {
        return Err(PackageError::Missing { wanted: path, found: format!("{:?}", entry.path) });
    }
    check_size(path, entry.bytes.len(), max)?;
    Ok(entry.bytes)
}

fn check_golden_entries(entries: &[tar::Entry<'_>]) -> Result<(), PackageError> {
    for entry in entries {
        let name = entry.path.strip_prefix(GOLDEN).unwrap_or("");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(PackageError::Unexpected { path: entry.path.to_owned() });
        }
    }
    check_size(GOLDEN, entries.iter().map(|entry| entry.bytes.len()).sum(), GOLDEN_BYTES_MAX)
}

fn check_blob(path: &str, signed: &Blob, bytes: &[u8]) -> Result<(), PackageError> {
    let found = Blob::of(bytes);
    if found != *signed {
        return Err(PackageError::Altered {
            path: path.to_owned(),
            wanted: signed.to_string(),
            found: found.to_string(),
        });
    }
    Ok(())
}

fn check_size(what: &'static str, found: usize, max: usize) -> Result<(), PackageError> {
    if found > max {
        return Err(PackageError::TooLarge { what, found, max });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
