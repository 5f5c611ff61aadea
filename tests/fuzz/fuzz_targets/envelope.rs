#![no_main]
//! Whatever bytes come, an envelope is opened or refused: nothing unsigned gets in.

use ed25519_dalek::SigningKey;
use homeostat::trust::{Keyring, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut ring = Keyring::default();
    ring.add("acme", SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes()).expect("a key");
    if let Ok(verified) = verify(bytes, "application/vnd.homeostat.test", &ring) {
        assert_eq!(verified.signers, ["acme"]);
    }
});
