//! A publisher's signing key, in a file.
//!
//! Invariant: the secret half is never printed, never an argument, and never in
//! a file that others can read.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 4 << 10;

pub struct Publisher {
    pub name: String,
    pub key: SigningKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    homeostat_key: u32,
    name: String,
    /// ed25519 seed, in base64.
    secret: String,
}

impl Publisher {
    pub fn generate(name: &str) -> Result<Self> {
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            bail!(
                "a publisher's name is made of letters, digits, `-`, `_` and `.`, found {name:?}"
            );
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).context("the kernel gives no random numbers")?;
        Ok(Self { name: name.to_owned(), key: SigningKey::from_bytes(&seed) })
    }

    /// Writes a new file that only its owner can read. An old one stays.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = KeyFile {
            homeostat_key: FORMAT,
            name: self.name.clone(),
            secret: STANDARD.encode(self.key.to_bytes()),
        };
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("making {}", path.display()))?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.write_all(b"\n")?;
        out.sync_all().with_context(|| format!("writing {}", path.display()))
    }

    pub fn load(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path)
            .with_context(|| format!("opening the signing key {}", path.display()))?;
        // Of the open file: nobody can swap it in between.
        let mode = file.metadata()?.mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!(
                "the signing key {} has mode {mode:03o}, so others may have read it: make a new \
                 one, or `chmod 600` it if you know that nobody did",
                path.display()
            );
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        // No cause is passed on: it could quote the secret.
        let wrong = || format!("{} is no signing key of `homeostat key new`", path.display());
        let Ok(file) = serde_json::from_str::<KeyFile>(&text) else { bail!(wrong()) };
        let seed = STANDARD.decode(&file.secret).ok().and_then(|it| <[u8; 32]>::try_from(it).ok());
        match seed {
            Some(seed) if file.homeostat_key == FORMAT => {
                Ok(Self { name: file.name, key: SigningKey::from_bytes(&seed) })
            }
            _ => bail!(wrong()),
        }
    }

    /// The public half, as the box's `[[trust.publishers]]` takes it.
    pub fn public(&self) -> String {
        STANDARD.encode(self.key.verifying_key().to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_and_its_file_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = Publisher::generate("acme").unwrap();
        made.save(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let loaded = Publisher::load(&path).unwrap();
        assert_eq!((loaded.name.as_str(), loaded.public()), ("acme", made.public()));
        assert!(made.save(&path).is_err(), "an old key is never written over");
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        Publisher::generate("acme").unwrap().save(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = Publisher::load(&path).err().unwrap().to_string();
        assert!(error.contains("mode 640"), "{error}");
    }

    #[test]
    fn a_broken_key_file_is_refused_without_a_word_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for text in ["", "{\"homeostat_key\":1,\"name\":\"a\",\"secret\":\"c2VjcmV0\"}", "secret"] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = format!("{:#}", Publisher::load(&path).err().unwrap());
            assert!(error.contains("no signing key") && !error.contains("c2Vj"), "{error}");
        }
    }

    #[test]
    fn a_name_that_no_file_could_hold_is_refused() {
        for name in ["", "a b", "a\nb", &"x".repeat(65)] {
            assert!(Publisher::generate(name).is_err(), "{name:?}");
        }
    }
}
