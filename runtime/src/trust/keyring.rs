//! The public keys that this box believes, and whom it believes them to be.

use std::collections::BTreeSet;

use ed25519_dalek::VerifyingKey;

use super::root::{Grant, Role, Root};
use super::{TrustError, Verified, hex};
use crate::config::TrustConfig;

/// Publishers and their keys. One publisher may have several, while it changes
/// from one to the next.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
    /// By the key root: which of them, and how many together, speak as whom.
    grants: Vec<Grant>,
    revoked_digests: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub id: String,
    /// The publisher that it alone speaks as; a key of the root speaks by grants.
    pub name: Option<String>,
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

    /// Publishers of the box's file and of the key root, less what that revokes.
    pub fn under(config: &TrustConfig, root: &Root) -> Result<Self, TrustError> {
        let mut ring = Self::default();
        for publisher in &config.publishers {
            if !root.revoked_keys.contains(&key_id(&publisher.key)) {
                ring.add(&publisher.name, &publisher.key)?;
            }
        }
        for (id, public) in root.keys_of(Role::Publisher) {
            ring.add_key(&id, None, &public)?;
        }
        ring.grants = root.grants_of(Role::Publisher);
        ring.revoked_digests.clone_from(&root.revoked_digests);
        Ok(ring)
    }

    /// Trusts `public` to speak as `name`.
    pub fn add(&mut self, name: &str, public: &[u8; 32]) -> Result<(), TrustError> {
        self.add_key(name, Some(name), public)
    }

    /// Believes that key; what it may say is the grants' affair.
    pub(super) fn add_nameless(&mut self, public: &[u8; 32]) -> Result<(), TrustError> {
        self.add_key(&key_id(public), None, public)
    }

    fn add_key(
        &mut self,
        whose: &str,
        name: Option<&str>,
        public: &[u8; 32],
    ) -> Result<(), TrustError> {
        let bad = |why: String| TrustError::BadKey { name: whose.to_owned(), why };
        let key = VerifyingKey::from_bytes(public).map_err(|error| bad(error.to_string()))?;
        if key.is_weak() {
            return Err(bad("it is of small order, so it would verify what nobody signed".into()));
        }
        let name = name.map(str::to_owned);
        self.keys.push(Key { id: key_id(public), name, public: key });
        Ok(())
    }

    /// Whether those who signed may speak as that publisher.
    pub fn vouches(&self, publisher: &str, verified: &Verified) -> bool {
        verified.signers.iter().any(|signer| signer == publisher)
            || self.grants.iter().any(|grant| grant.is_met(publisher, &verified.keys))
    }

    /// Whether nobody may run that component any more, whoever signed it.
    pub fn is_revoked(&self, digest: &str) -> bool {
        self.revoked_digests.contains(&digest.to_ascii_lowercase())
    }

    /// `ID (NAME)` of each key, for messages.
    pub(super) fn known(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("{} ({})", key.id, key.whose())).collect()
    }

    /// The keys that a hint names; all of them where there is no hint.
    pub(super) fn hinted<'a>(&'a self, hint: &'a str) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| hint.is_empty() || key.id == hint)
    }
}

impl Key {
    pub fn whose(&self) -> &str {
        self.name.as_deref().unwrap_or("of the key root")
    }
}

/// Names a public key in an envelope: the first 8 bytes of its SHA-256, in hex.
pub fn key_id(public: &[u8; 32]) -> String {
    use sha2::{Digest, Sha256};
    hex(&Sha256::digest(public)[..8])
}
