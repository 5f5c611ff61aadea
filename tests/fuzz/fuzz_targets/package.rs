#![no_main]
//! Whatever bytes come, a plugin file is read or refused.

use ed25519_dalek::SigningKey;
use homeostat::plugin::package::Package;
use homeostat::trust::Keyring;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut ring = Keyring::default();
    ring.add("acme", SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes()).expect("a key");
    let _ = Package::inspect(bytes, &ring);
});
