//! Who may publish plugins: `[trust]`.
//!
//! Invariant: a key that is noted as a mistake never reaches the keyring; what
//! stands in for it is thrown away with the whole configuration.

use ed25519_dalek::VerifyingKey;

use super::document::At;
use super::machine::read_trusted;
use super::reader::Section;
use super::{PublisherKey, TrustConfig, value};

const KEY_WANTED: &str = "an ed25519 public key: 32 bytes in hex or base64";

pub(super) fn trust(section: &mut Section<'_>) -> (TrustConfig, Vec<At<String>>) {
    let publishers = section.each("publishers", |section| {
        let name = section.need_name("name");
        let key = key(section);
        (name, key)
    });
    let (names, keys): (Vec<_>, Vec<_>) = publishers.into_iter().unzip();
    let keys = names
        .iter()
        .zip(keys)
        .filter_map(|(name, key)| Some(PublisherKey { name: name.value.clone(), key: key? }));
    (TrustConfig { publishers: keys.collect() }, names)
}

fn key(section: &mut Section<'_>) -> Option<[u8; 32]> {
    let (typed, file) = (section.text("key"), section.text("key_file"));
    match (typed, file) {
        (Some(_), Some(_)) => {
            section.note("key_file", "either key or key_file", "both", "");
            None
        }
        (Some(typed), None) => checked(section, "key", &typed.value),
        (None, Some(file)) => {
            let path = section.doc.resolve(&file.value);
            match read_trusted(&path) {
                Ok(text) => checked(section, "key_file", &text),
                Err(unreadable) => {
                    let wanted = format!("a readable key file {}", path.display());
                    section.note("key_file", wanted, unreadable.found, unreadable.hint);
                    None
                }
            }
        }
        (None, None) => {
            if !section.has("key") && !section.has("key_file") {
                section.note("key", KEY_WANTED, "nothing", "give key, or key_file with its path");
            }
            None
        }
    }
}

fn checked(section: &Section<'_>, key: &str, text: &str) -> Option<[u8; 32]> {
    let Some(bytes) = value::bytes32(text) else {
        let found = value::quoted(text.trim());
        section.note(key, KEY_WANTED, found, "it is the public half, without a header");
        return None;
    };
    match VerifyingKey::from_bytes(&bytes) {
        Ok(point) if !point.is_weak() => Some(bytes),
        Ok(_) => {
            section.note(key, KEY_WANTED, "a weak key", "anybody can sign for it; make a new one");
            None
        }
        Err(_) => {
            let hint = "it is no point of the curve: was it copied whole?";
            section.note(key, KEY_WANTED, "32 other bytes", hint);
            None
        }
    }
}
