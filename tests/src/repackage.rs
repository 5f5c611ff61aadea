//! A plugin under another name, version or sequence: signed by the development
//! key, as its publisher would.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use homeostat::plugin::package::{Manifest, Package};
use homeostat::trust::Keyring;

use crate::program;

/// The component of `from` in a plugin file in `folder`, its manifest changed.
pub fn repackage(from: &str, folder: &Path, change: impl FnOnce(&mut Manifest)) -> PathBuf {
    signed_by(&development_key(), from, folder, change)
}

/// The same, by that key.
pub fn signed_by(
    key: &SigningKey,
    from: &str,
    folder: &Path,
    change: impl FnOnce(&mut Manifest),
) -> PathBuf {
    let publisher = &program::index().publisher;
    let public = STANDARD.decode(&publisher.key).expect("the index has base64");
    let mut ring = Keyring::default();
    let public: [u8; 32] = public.try_into().expect("a public key has 32 bytes");
    ring.add(&publisher.name, &public).expect("it is a key");
    let bytes = fs::read(&program::packaged(from).package).expect("it was packaged");
    let package = Package::inspect(&bytes, &ring).expect("it is ours");
    let mut manifest = package.manifest().clone();
    change(&mut manifest);
    let file = folder.join(format!("{}-{}.plugin", manifest.name, manifest.version));
    let bytes = Package::write(manifest, package.component(), package.golden(), key)
        .expect("it can be packaged");
    fs::write(&file, bytes).expect("the story's folder can be written");
    file
}

fn development_key() -> SigningKey {
    let text = fs::read(program::signing_key()).expect("`cargo xtask build` made it");
    let file: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
    let secret = STANDARD.decode(file["secret"].as_str().expect("it has a secret"));
    let secret: [u8; 32] =
        secret.expect("it is base64").try_into().expect("a signing key has 32 bytes");
    SigningKey::from_bytes(&secret)
}
