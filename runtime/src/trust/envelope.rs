//! The DSSE envelope: wrapping, and the one way in.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ed25519_dalek::{Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};

use super::keyring::{Key, key_id};
use super::{Keyring, TrustError};

/// Largest envelope that is read, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 64 << 10;

/// Most signatures that are tried.
const SIGNATURES_MAX: usize = 8;

/// Bytes that somebody trusted has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub payload: Vec<u8>,
    /// Names of the publishers whose signature held, each once.
    pub signers: Vec<String>,
    /// Ids of the keys whose signature held, each once.
    pub keys: Vec<String>,
}

// Unknown fields are ignored, as the DSSE specification demands of a reader:
// nothing outside payload and type is under the signature anyway.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<SignatureEntry>,
}

#[derive(Serialize, Deserialize)]
struct SignatureEntry {
    #[serde(default)]
    keyid: String,
    sig: String,
}

/// Opens an envelope of type `payload_type`: at least one signature by a key
/// of `ring` must hold, and none that claims such a key may fail.
pub fn verify(envelope: &[u8], payload_type: &str, ring: &Keyring) -> Result<Verified, TrustError> {
    let malformed = |why: &dyn std::fmt::Display| TrustError::Malformed { why: why.to_string() };
    if envelope.len() > ENVELOPE_BYTES_MAX {
        return Err(TrustError::TooLarge { found: envelope.len(), max: ENVELOPE_BYTES_MAX });
    }
    let envelope: Envelope = serde_json::from_slice(envelope).map_err(|e| malformed(&e))?;
    if envelope.payload_type != payload_type {
        return Err(TrustError::WrongType {
            wanted: payload_type.to_owned(),
            found: envelope.payload_type,
        });
    }
    if envelope.signatures.is_empty() {
        return Err(TrustError::Unsigned);
    }
    if envelope.signatures.len() > SIGNATURES_MAX {
        return Err(malformed(&format_args!(
            "{} signatures, at most {SIGNATURES_MAX}",
            envelope.signatures.len()
        )));
    }
    let payload = decode(&envelope.payload).map_err(|e| malformed(&e))?;
    let signed = pae(payload_type, &payload);
    let (mut signers, mut keys) = (Vec::new(), Vec::new());
    for entry in &envelope.signatures {
        let Some(key) = signer(entry, &signed, ring)? else { continue };
        if let Some(name) = &key.name
            && !signers.contains(name)
        {
            signers.push(name.clone());
        }
        if !keys.contains(&key.id) {
            keys.push(key.id.clone());
        }
    }
    if keys.is_empty() {
        return Err(TrustError::UnknownKey {
            known: ring.known(),
            found: envelope.signatures.into_iter().map(|entry| entry.keyid).collect(),
        });
    }
    Ok(Verified { payload, signers, keys })
}

/// Wraps `payload` with one signature; for the tools of authors and operators.
pub fn sign(payload_type: &str, payload: &[u8], key: &SigningKey) -> Vec<u8> {
    sign_by_all(payload_type, payload, &[key])
}

/// The same with a signature by each of them, where one is not enough.
pub fn sign_by_all(payload_type: &str, payload: &[u8], keys: &[&SigningKey]) -> Vec<u8> {
    let signed = pae(payload_type, payload);
    let by = |key: &&SigningKey| SignatureEntry {
        keyid: key_id(key.verifying_key().as_bytes()),
        sig: STANDARD.encode(key.sign(&signed).to_bytes()),
    };
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload: STANDARD.encode(payload),
        signatures: keys.iter().map(by).collect(),
    };
    serde_json::to_vec(&envelope).expect("strings always serialise")
}

/// The key behind one signature; none where the key is not ours to judge.
fn signer<'r>(
    entry: &'r SignatureEntry,
    signed: &[u8],
    ring: &'r Keyring,
) -> Result<Option<&'r Key>, TrustError> {
    let signature = decode(&entry.sig)
        .ok()
        .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
        .map(|bytes| Signature::from_bytes(&bytes))
        .ok_or_else(|| TrustError::Malformed {
            why: format!("the signature by key {:?} is not 64 bytes of base64", entry.keyid),
        })?;
    let mut tried = None;
    for key in ring.hinted(&entry.keyid) {
        if key.public.verify_strict(signed, &signature).is_ok() {
            return Ok(Some(key));
        }
        tried = Some(key);
    }
    match tried {
        Some(key) if !entry.keyid.is_empty() => {
            Err(TrustError::BadSignature { key_id: key.id.clone(), name: key.whose().to_owned() })
        }
        _ => Ok(None),
    }
}

/// Pre-authentication encoding, DSSE protocol.md:
/// `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Standard or URL-safe base64: a reader of DSSE must take both.
fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text).or_else(|error| URL_SAFE.decode(text).map_err(|_| error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "application/vnd.homeostat.test";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn ring(keys: &[(&str, u8)]) -> Keyring {
        let mut ring = Keyring::default();
        for (name, seed) in keys {
            ring.add(name, key(*seed).verifying_key().as_bytes()).unwrap();
        }
        ring
    }

    fn edited(envelope: &[u8], edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut json = serde_json::from_slice(envelope).unwrap();
        edit(&mut json);
        serde_json::to_vec(&json).unwrap()
    }

    /// The example of protocol.md: `PAE("http://example.com/HelloWorld", "hello world")`.
    #[test]
    fn the_encoding_under_the_signature_is_that_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn what_a_known_key_signed_comes_out_as_it_went_in() {
        let envelope = sign(TYPE, b"{\"a\":1}", &key(1));
        let verified = verify(&envelope, TYPE, &ring(&[("acme", 1), ("other", 2)])).unwrap();
        assert_eq!(verified.payload, b"{\"a\":1}");
        assert_eq!(verified.signers, ["acme"]);
    }

    #[test]
    fn every_flipped_bit_of_the_payload_is_seen() {
        let payload = *b"sequence 7";
        let envelope = sign(TYPE, &payload, &key(1));
        for bit in 0..payload.len() * 8 {
            let mut altered = payload;
            altered[bit / 8] ^= 1 << (bit % 8);
            let envelope =
                edited(&envelope, |json| json["payload"] = STANDARD.encode(altered).into());
            assert!(matches!(
                verify(&envelope, TYPE, &ring(&[("acme", 1)])),
                Err(TrustError::BadSignature { name, .. }) if name == "acme"
            ));
        }
    }

    #[test]
    fn a_signature_of_another_type_does_not_carry_over() {
        let envelope = sign("application/vnd.homeostat.other", b"x", &key(1));
        let ring = ring(&[("acme", 1)]);
        assert!(matches!(verify(&envelope, TYPE, &ring), Err(TrustError::WrongType { .. })));
        let renamed = edited(&envelope, |json| json["payloadType"] = TYPE.into());
        assert!(matches!(verify(&renamed, TYPE, &ring), Err(TrustError::BadSignature { .. })));
    }

    #[test]
    fn nobody_and_strangers_are_told_apart() {
        let envelope = sign(TYPE, b"x", &key(1));
        let unsigned = edited(&envelope, |json| json["signatures"] = serde_json::json!([]));
        assert_eq!(verify(&unsigned, TYPE, &ring(&[("acme", 1)])), Err(TrustError::Unsigned));
        assert!(matches!(
            verify(&envelope, TYPE, &ring(&[("acme", 2)])),
            Err(TrustError::UnknownKey { .. })
        ));
    }

    #[test]
    fn a_wrong_hint_is_not_believed_and_a_missing_one_costs_only_time() {
        let envelope = sign(TYPE, b"x", &key(1));
        let ring = ring(&[("acme", 1), ("other", 2)]);
        let hint = key_id(key(2).verifying_key().as_bytes());
        let lying = edited(&envelope, |json| json["signatures"][0]["keyid"] = hint.into());
        assert!(matches!(verify(&lying, TYPE, &ring), Err(TrustError::BadSignature { .. })));
        let silent = edited(&envelope, |json| {
            json["signatures"][0].as_object_mut().unwrap().remove("keyid");
        });
        assert_eq!(verify(&silent, TYPE, &ring).unwrap().signers, ["acme"]);
    }

    #[test]
    fn url_safe_base64_and_unknown_fields_are_read_as_the_specification_demands() {
        let payload = [0xfb, 0xff, 0xfe];
        let envelope = edited(&sign(TYPE, &payload, &key(1)), |json| {
            json["payload"] = URL_SAFE.encode(payload).into();
            json["future"] = 1.into();
        });
        assert_eq!(verify(&envelope, TYPE, &ring(&[("acme", 1)])).unwrap().payload, payload);
    }

    #[test]
    fn garbage_and_floods_are_refused_before_any_signature_is_tried() {
        let ring = ring(&[("acme", 1)]);
        for garbage in [&b""[..], b"{", b"[]", b"{\"payloadType\":1}"] {
            assert!(matches!(verify(garbage, TYPE, &ring), Err(TrustError::Malformed { .. })));
        }
        let flood = vec![b' '; ENVELOPE_BYTES_MAX + 1];
        assert!(matches!(verify(&flood, TYPE, &ring), Err(TrustError::TooLarge { .. })));
        let many = edited(&sign(TYPE, b"x", &key(1)), |json| {
            let entry = json["signatures"][0].clone();
            json["signatures"] = vec![entry; SIGNATURES_MAX + 1].into();
        });
        assert!(matches!(verify(&many, TYPE, &ring), Err(TrustError::Malformed { .. })));
    }

    #[test]
    fn a_key_that_would_verify_what_nobody_signed_is_not_taken() {
        // The neutral element of the curve: small order.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert!(matches!(Keyring::default().add("acme", &weak), Err(TrustError::BadKey { .. })));
    }
}
