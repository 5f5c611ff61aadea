#![no_main]
//! Whatever a publisher signs as a manifest, it is taken or refused: the bytes
//! are signed here, so that they get as far as its reader.

use ed25519_dalek::SigningKey;
use homeostat::plugin::package::{PAYLOAD_TYPE, Package};
use homeostat::trust::{Keyring, sign};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_bytes(&[7; 32]);
    let mut ring = Keyring::default();
    ring.add("acme", key.verifying_key().as_bytes()).expect("a key");
    let envelope = sign(PAYLOAD_TYPE, bytes, &key);
    let mut file = Vec::new();
    for (name, content) in [("plugin.dsse.json", &envelope[..]), ("component.wasm", b"\0asm")] {
        file.extend(header(name, content.len()));
        file.extend(content);
        file.resize(file.len().next_multiple_of(512), 0);
    }
    file.resize(file.len() + 1024, 0);
    let _ = Package::inspect(&file, &ring);
});

/// Of a ustar entry, as the packer writes it.
fn header(name: &str, len: usize) -> [u8; 512] {
    let mut head = [0; 512];
    head[..name.len()].copy_from_slice(name.as_bytes());
    head[100..108].copy_from_slice(b"0000644\0");
    head[108..116].copy_from_slice(b"0000000\0");
    head[116..124].copy_from_slice(b"0000000\0");
    head[124..136].copy_from_slice(format!("{len:011o}\0").as_bytes());
    head[136..148].copy_from_slice(b"00000000000\0");
    head[148..156].copy_from_slice(b"        ");
    head[156] = b'0';
    head[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    head
}
