//! Who may say what: one envelope, one key ring, one verifier for everything
//! that is trusted.
//!
//! The key root says which keys speak in which role, under which names and how
//! many together, and what is revoked.
//!
//! Invariant: bytes under a signature are handed out only by [`verify`], after
//! an ed25519 signature over exactly those bytes held (`verify_strict`, so no
//! malleable or small-order key passes). Nothing parses them before.
//!
//! The envelope is DSSE (<https://github.com/secure-systems-lab/dsse>, v1.0.2):
//! JSON `{payloadType, payload, signatures: [{keyid, sig}]}`, signed over its
//! pre-authentication encoding. A `keyid` is a hint and is believed in nothing
//! but which key to try.

mod envelope;
mod keyring;
mod local;
mod root;

pub use envelope::{ENVELOPE_BYTES_MAX, Verified, sign, verify};
pub use keyring::{Keyring, key_id};
pub use local::{LocalKeyError, local_key};
pub use root::{Grant, ROOT_PAYLOAD_TYPE, Role, Root};

use sha2::{Digest, Sha256};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("the envelope has {found} bytes, at most {max} are read; sign less")]
    TooLarge { found: usize, max: usize },
    #[error("this is no DSSE envelope: {why}; wrap and sign it again")]
    Malformed { why: String },
    #[error(
        "wanted an envelope of type {wanted:?}, found {found:?}; the file is of another kind than its place"
    )]
    WrongType { wanted: String, found: String },
    #[error("this is no key root: {why}; make it anew from the root that the box has")]
    Root { why: String },
    #[error(
        "wanted version {wanted} of the key root, found {found}: roots follow one another one by \
         one, and never go back; apply those between first"
    )]
    RootVersion { wanted: u64, found: u64 },
    #[error(
        "wanted signatures by {wanted} keys of {whose}, found {found}; have those sign who hold \
         the others"
    )]
    Threshold { whose: &'static str, wanted: usize, found: usize },
    #[error("wanted a signature, found none; sign it with a publisher's key")]
    Unsigned,
    #[error(
        "wanted a signature by one of the keys {known:?}, found only by {found:?}; \
         sign it with a known key, or add its publisher under [trust]"
    )]
    UnknownKey { known: Vec<String>, found: Vec<String> },
    #[error(
        "the signature under key {key_id} ({name}) does not hold: the content was altered \
         after signing, or signed with another key; fetch or sign it again"
    )]
    BadSignature { key_id: String, name: String },
    #[error(
        "the public key of publisher {name:?} is not usable: {why}; \
         wanted 32 bytes of an ed25519 key, correct it under [trust]"
    )]
    BadKey { name: String, why: String },
}

/// SHA-256, in lower-case hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}
