//! The public keys that the box's own configuration names.

use ed25519_dalek::VerifyingKey;

use super::{TrustError, hex};
use crate::config::TrustConfig;

/// Publishers and their keys. One publisher may have several, while it changes
/// from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub id: String,
    pub name: String,
    pub public: VerifyingKey,
}

impl Keyring {
    pub fn new(config: &TrustConfig) -> Result<Self, TrustError> {
        let mut ring = Self::default();
        for publisher in &config.publishers {
            ring.add(&publisher.name, &publisher.key)?;
        }
        Ok(ring)
    }

    /// Trusts `public` to speak as `name`.
    pub fn add(&mut self, name: &str, public: &[u8; 32]) -> Result<(), TrustError> {
        let bad = |why: String| TrustError::BadKey { name: name.to_owned(), why };
        let key = VerifyingKey::from_bytes(public).map_err(|error| bad(error.to_string()))?;
        if key.is_weak() {
            return Err(bad("it is of small order, so it would verify what nobody signed".into()));
        }
        self.keys.push(Key { id: key_id(public), name: name.to_owned(), public: key });
        Ok(())
    }

    /// `ID (NAME)` of each key, for messages.
    pub(super) fn known(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("{} ({})", key.id, key.name)).collect()
    }

    /// The keys that a hint names; all of them where there is no hint.
    pub(super) fn hinted<'a>(&'a self, hint: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| hint.is_empty() || key.id == hint)
    }
}

/// Names a public key in an envelope: the first 8 bytes of its SHA-256, in hex.
pub fn key_id(public: &[u8; 32]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(public)[..8])
}
