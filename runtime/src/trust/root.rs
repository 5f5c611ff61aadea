//! The key root: who may say what, and who may change that.
//!
//! Invariant: a root is followed only by the next one, signed by enough keys of
//! both, so that neither a thief of the old keys alone nor a mistake in the new
//! ones takes a box over. What is revoked stays revoked. (The rules are TUF's,
//! <https://theupdateframework.github.io/specification/v1.0.34/>, 5.3.)

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use super::envelope::sign_by_all;
use super::{Keyring, TrustError, key_id, verify};
use crate::model::selects;

/// Type of the envelope of a key root.
pub const ROOT_PAYLOAD_TYPE: &str = "application/vnd.homeostat.root+json";

const SPEC: u32 = 1;
const KEYS_MAX: usize = 64;
const GRANTS_MAX: usize = 64;
const REVOKED_MAX: usize = 512;
const KEY_ID_LEN: usize = 16;
const DIGEST_LEN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Changes the root itself.
    Root,
    /// Signs plugins.
    Publisher,
    /// Signs policies.
    Fleet,
    /// Signs whatever carries an argument list. Kept offline.
    Workload,
}

/// So many of these keys together may speak in that role, under these names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    pub role: Role,
    /// Names, or beginnings of names and `*`.
    pub names: Vec<String>,
    /// Ids of keys.
    pub keys: BTreeSet<String>,
    pub threshold: usize,
}

/// One version of the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    pub spec: u32,
    /// Counted from 1, one by one.
    pub version: u64,
    /// ed25519 public keys in base64, by their id.
    pub keys: BTreeMap<String, String>,
    pub grants: Vec<Grant>,
    /// Ids of keys, those of the box's own file too.
    #[serde(default)]
    pub revoked_keys: BTreeSet<String>,
    /// SHA-256 of components, in lower-case hex.
    #[serde(default)]
    pub revoked_digests: BTreeSet<String>,
}

impl Grant {
    /// Whether those keys suffice for that name.
    pub fn is_met(&self, name: &str, keys: &[String]) -> bool {
        let named = self.names.iter().any(|it| selects(it, name));
        let found: BTreeSet<&String> = keys.iter().filter(|it| self.keys.contains(*it)).collect();
        named && found.len() >= self.threshold
    }
}

impl Root {
    /// The first root of a box that has nobody else's: its own key holds it.
    pub fn of_one_key(key: &SigningKey) -> Self {
        let public = key.verifying_key().to_bytes();
        let id = key_id(&public);
        let grant = Grant {
            role: Role::Root,
            names: vec!["*".into()],
            keys: [id.clone()].into(),
            threshold: 1,
        };
        Self {
            spec: SPEC,
            version: 1,
            keys: [(id, STANDARD.encode(public))].into(),
            grants: vec![grant],
            revoked_keys: BTreeSet::new(),
            revoked_digests: BTreeSet::new(),
        }
    }

    /// As text that was accepted before, and kept where nobody else writes.
    pub fn accepted(text: &str) -> Result<Self, TrustError> {
        Self::parse(text.as_bytes())
    }

    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a root is texts and numbers")
    }

    pub fn sign(&self, keys: &[&SigningKey]) -> Vec<u8> {
        sign_by_all(ROOT_PAYLOAD_TYPE, self.to_text().as_bytes(), keys)
    }

    /// The next root, if `envelope` holds it and enough keys of this one and of
    /// that one signed it.
    pub fn followed_by(&self, envelope: &[u8]) -> Result<Self, TrustError> {
        let verified = verify(envelope, ROOT_PAYLOAD_TYPE, &self.ring(Role::Root)?)?;
        self.check_met("the root that this box has", &verified.keys)?;
        let next = Self::parse(&verified.payload)?;
        if next.version != self.version + 1 {
            return Err(TrustError::RootVersion { wanted: self.version + 1, found: next.version });
        }
        // By the new keys too: a root that nobody could follow is none.
        let verified = verify(envelope, ROOT_PAYLOAD_TYPE, &next.ring(Role::Root)?)?;
        next.check_met("the new root", &verified.keys)?;
        let forgotten =
            |what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>| match before
                .difference(after)
                .next()
            {
                Some(lost) => Err(TrustError::Root {
                    why: format!("it no longer revokes {what} {lost}: what is revoked stays so"),
                }),
                None => Ok(()),
            };
        forgotten("key", &self.revoked_keys, &next.revoked_keys)?;
        forgotten("digest", &self.revoked_digests, &next.revoked_digests)?;
        Ok(next)
    }

    /// The next version, with these revoked as well.
    pub fn revoking(&self, keys: &[String], digests: &[String]) -> Result<Self, TrustError> {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        next.revoked_keys.extend(keys.iter().map(|it| it.to_ascii_lowercase()));
        next.revoked_digests.extend(digests.iter().map(|it| it.to_ascii_lowercase()));
        next.check()?;
        Ok(next)
    }

    /// Public keys of a role that are not revoked, by id.
    pub fn keys_of(&self, role: Role) -> Vec<(String, [u8; 32])> {
        let granted: BTreeSet<&String> =
            self.grants.iter().filter(|it| it.role == role).flat_map(|it| &it.keys).collect();
        let standing = granted.into_iter().filter(|id| !self.revoked_keys.contains(*id));
        standing.filter_map(|id| Some((id.clone(), public(self.keys.get(id)?)?))).collect()
    }

    pub fn grants_of(&self, role: Role) -> Vec<Grant> {
        self.grants.iter().filter(|it| it.role == role).cloned().collect()
    }

    fn ring(&self, role: Role) -> Result<Keyring, TrustError> {
        let mut ring = Keyring::default();
        for (_, public) in self.keys_of(role) {
            ring.add_nameless(&public)?;
        }
        Ok(ring)
    }

    fn check_met(&self, whose: &'static str, keys: &[String]) -> Result<(), TrustError> {
        let grants = self.grants_of(Role::Root);
        if grants.iter().any(|grant| grant.is_met("root", keys)) {
            return Ok(());
        }
        let wanted = grants.iter().map(|it| it.threshold).min().unwrap_or(1);
        Err(TrustError::Threshold { whose, wanted, found: keys.len() })
    }

    fn parse(payload: &[u8]) -> Result<Self, TrustError> {
        let root: Self = serde_json::from_slice(payload)
            .map_err(|error| TrustError::Root { why: error.to_string() })?;
        root.check()?;
        Ok(root)
    }

    fn check(&self) -> Result<(), TrustError> {
        let wrong = |why: String| Err(TrustError::Root { why });
        if self.spec != SPEC {
            return wrong(format!("wanted spec {SPEC}, found {}", self.spec));
        }
        let revoked = self.revoked_keys.len().max(self.revoked_digests.len());
        if self.keys.len() > KEYS_MAX || self.grants.len() > GRANTS_MAX || revoked > REVOKED_MAX {
            return wrong(format!(
                "wanted at most {KEYS_MAX} keys, {GRANTS_MAX} grants and {REVOKED_MAX} revoked of \
                 a kind, found {}, {} and {revoked}",
                self.keys.len(),
                self.grants.len()
            ));
        }
        for (id, text) in &self.keys {
            let Some(public) = public(text).filter(|public| key_id(public) == *id) else {
                return wrong(format!("{id} is not the id of its key {text:?}"));
            };
            // One that nobody can verify by would take the whole ring with it.
            Keyring::default().add_nameless(&public)?;
        }
        check_hex("key", &self.revoked_keys, KEY_ID_LEN)?;
        check_hex("digest", &self.revoked_digests, DIGEST_LEN)?;
        for grant in &self.grants {
            let standing = grant
                .keys
                .iter()
                .filter(|id| self.keys.contains_key(*id) && !self.revoked_keys.contains(*id))
                .count();
            let reachable = grant.threshold >= 1 && grant.threshold <= standing;
            if grant.role == Role::Root && !reachable {
                return wrong(format!(
                    "{standing} keys are left to change the root, and {} are wanted",
                    grant.threshold
                ));
            }
            if grant.threshold == 0 {
                return wrong(format!("a threshold of 0 for {:?} lets anybody speak", grant.names));
            }
        }
        match self.grants_of(Role::Root).len() {
            1 => Ok(()),
            found => wrong(format!("wanted one grant of role root, found {found}")),
        }
    }
}

/// What is written otherwise would match nothing, and revoke nothing.
fn check_hex(what: &str, revoked: &BTreeSet<String>, len: usize) -> Result<(), TrustError> {
    let plain = |it: &String| {
        it.len() == len && it.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    match revoked.iter().find(|it| !plain(it)) {
        Some(odd) => Err(TrustError::Root {
            why: format!("a revoked {what} is {len} lower-case hex digits, found {odd:?}"),
        }),
        None => Ok(()),
    }
}

fn public(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
