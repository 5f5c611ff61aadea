use std::collections::BTreeMap;

use super::*;
use crate::trust::TrustError;

const WASM: &[u8] = b"\0asm any bytes: nothing here may parse them";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn ring() -> Keyring {
    let mut ring = Keyring::default();
    ring.add("acme", key(1).verifying_key().as_bytes()).unwrap();
    ring
}

fn manifest() -> Manifest {
    Manifest {
        spec: MANIFEST_SPEC,
        name: "liveness".into(),
        version: "1.0.0".into(),
        sequence: 7,
        publisher: "acme".into(),
        world: "detector".into(),
        api: "0.1.0".into(),
        min_runtime: "0.1.0".into(),
        component: Blob::default(),
        reads: vec!["homeostat.*".into()],
        actions: vec![],
        explains: BTreeMap::new(),
        limits: Limits { memory_bytes: 1 << 20 },
        config_schema: None,
        golden: vec![],
    }
}

fn golden() -> BTreeMap<String, Vec<u8>> {
    [("crash.jsonl".to_owned(), b"{}\n".to_vec())].into()
}

fn written() -> Vec<u8> {
    Package::write(manifest(), WASM, &golden(), &key(1)).unwrap()
}

fn digest() -> String {
    sha256_hex(WASM)
}

fn verify(bytes: &[u8]) -> Result<Package, PackageError> {
    let digest = digest();
    let admission = Admission { name: "liveness", digest: &digest, sequence_floor: 7 };
    Package::verify(bytes, &ring(), &admission)
}

/// Signs what the author's tool would not: no check on the way out.
fn forged(manifest: &serde_json::Value, component: &[u8], signer: u8) -> Vec<u8> {
    let envelope = trust::sign(PAYLOAD_TYPE, &serde_json::to_vec(manifest).unwrap(), &key(signer));
    packed(&[(ENVELOPE, &envelope), (COMPONENT, component)])
}

fn forged_manifest(edit: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let mut signed = manifest();
    signed.component = Blob::of(WASM);
    let mut json = serde_json::to_value(signed).unwrap();
    edit(&mut json);
    json
}

fn packed(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = tar::Writer::default();
    for (path, bytes) in entries {
        out.append(path, bytes);
    }
    out.finish()
}

/// Changes a header and makes its checksum hold again.
fn with_header(mut bytes: Vec<u8>, at: usize, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let block = &mut bytes[at..at + 512];
    edit(block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[test]
fn a_written_package_verifies_and_says_what_it_is() {
    let package = verify(&written()).unwrap();
    assert_eq!(package.world(), World::Detector);
    assert_eq!(package.component(), WASM);
    assert_eq!(package.digest(), digest());
    assert_eq!(package.golden(), &golden());
    assert_eq!(package.manifest().sequence, 7);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    assert_eq!(written(), written());
}

#[test]
fn a_general_tar_reader_reads_it_too() {
    let bytes = written();
    let mut archive = ::tar::Archive::new(&bytes[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["plugin.dsse.json", "component.wasm", "golden/crash.jsonl"]);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = written();
    for len in 0..bytes.len() {
        assert!(verify(&bytes[..len]).is_err(), "cut to {len} of {} bytes", bytes.len());
    }
    let half = verify(&bytes[..bytes.len() / 2]).unwrap_err();
    assert!(matches!(half, PackageError::Truncated { .. }), "{half}");
}

#[test]
fn every_altered_byte_of_content_is_refused() {
    let bytes = written();
    let reference = verify(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        // What tar says of owner and mode is nobody's; the content is the same.
        if let Ok(package) = verify(&altered) {
            assert_eq!(package.manifest(), reference.manifest(), "byte {at}");
            assert_eq!(package.component(), reference.component(), "byte {at}");
            assert_eq!(package.golden(), reference.golden(), "byte {at}");
        }
    }
}

#[test]
fn an_altered_component_is_named() {
    let other = forged(&forged_manifest(|_| ()), b"\0asm other", 1);
    let error = verify(&other).unwrap_err();
    assert!(matches!(&error, PackageError::Altered { path, .. } if path == COMPONENT), "{error}");
}

#[test]
fn unsigned_and_wrongly_signed_are_told_apart() {
    let unsigned = packed(&[
        (ENVELOPE, br#"{"payloadType":"application/vnd.homeostat.plugin+json","payload":"e30=","signatures":[]}"#),
        (COMPONENT, WASM),
    ]);
    assert!(matches!(verify(&unsigned), Err(PackageError::Trust(TrustError::Unsigned))));
    let stranger = forged(&forged_manifest(|_| ()), WASM, 9);
    assert!(matches!(verify(&stranger), Err(PackageError::Trust(TrustError::UnknownKey { .. }))));
}

#[test]
fn a_publisher_signs_only_in_its_own_name() {
    let posing = forged(&forged_manifest(|m| m["publisher"] = "other".into()), WASM, 1);
    assert!(matches!(
        verify(&posing),
        Err(PackageError::Publisher { wanted, found }) if wanted == "other" && found == "acme"
    ));
}

#[test]
fn each_wrong_word_of_the_manifest_has_its_own_refusal() {
    type Check = fn(&PackageError) -> bool;
    let table: [(&str, serde_json::Value, Check); 10] = [
        ("name", "other".into(), |e| matches!(e, PackageError::Name { .. })),
        ("name", "../up".into(), |e| matches!(e, PackageError::Manifest { .. })),
        ("sequence", 6.into(), |e| matches!(e, PackageError::Rollback { floor: 7, found: 6, .. })),
        ("world", "oracle".into(), |e| matches!(e, PackageError::World { .. })),
        ("api", "0.2.0".into(), |e| matches!(e, PackageError::Api { .. })),
        ("min_runtime", "99.0.0".into(), |e| matches!(e, PackageError::Runtime { .. })),
        ("min_runtime", "new".into(), |e| matches!(e, PackageError::Manifest { .. })),
        ("spec", 2.into(), |e| matches!(e, PackageError::Manifest { .. })),
        ("unheard_of", 1.into(), |e| matches!(e, PackageError::Manifest { .. })),
        ("sequence", (-1).into(), |e| matches!(e, PackageError::Manifest { .. })),
    ];
    for (field, value, is_expected) in table {
        let bytes = forged(&forged_manifest(|m| m[field] = value.clone()), WASM, 1);
        let error = verify(&bytes).unwrap_err();
        assert!(is_expected(&error), "{field} = {value}: {error}");
    }
}

#[test]
fn a_signed_component_that_the_box_did_not_admit_is_refused() {
    let elsewhere = sha256_hex(b"another component");
    let admission = Admission { name: "liveness", digest: &elsewhere, sequence_floor: 0 };
    let error = Package::verify(&written(), &ring(), &admission).unwrap_err();
    assert!(matches!(error, PackageError::NotAdmitted { .. }), "{error}");
    assert!(error.to_string().contains(&digest()), "{error}");
}

#[test]
fn too_large_is_refused_part_by_part() {
    let envelope = vec![b' '; trust::ENVELOPE_BYTES_MAX + 1];
    let component = vec![0; COMPONENT_BYTES_MAX + 1];
    let golden = vec![0; GOLDEN_BYTES_MAX / 2 + 1];
    for (what, bytes) in [
        (ENVELOPE, packed(&[(ENVELOPE, &envelope), (COMPONENT, WASM)])),
        (COMPONENT, packed(&[(ENVELOPE, b"{}"), (COMPONENT, &component)])),
        (
            GOLDEN,
            packed(&[
                (ENVELOPE, b"{}"),
                (COMPONENT, WASM),
                ("golden/a", &golden),
                ("golden/b", &golden),
            ]),
        ),
        ("file", vec![0; PACKAGE_BYTES_MAX + 1]),
    ] {
        let error = verify(&bytes).unwrap_err();
        assert!(matches!(error, PackageError::TooLarge { what: w, .. } if w == what), "{error}");
    }
}

#[test]
fn the_tar_holds_plain_files_in_order_once_each_and_nothing_else() {
    let good = written();
    let many: Vec<_> = (0..ENTRIES_MAX).map(|n| format!("golden/{n}")).collect();
    let mut many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
    many.splice(0..0, [(ENVELOPE, &b"{}"[..]), (COMPONENT, WASM)]);
    for (story, bytes) in [
        ("a link", with_header(good.clone(), 0, |h| h[156] = b'2')),
        ("a device", with_header(good.clone(), 0, |h| h[156] = b'3')),
        ("a long name record", with_header(good.clone(), 0, |h| h[156] = b'L')),
        ("a pax record", with_header(good.clone(), 0, |h| h[156] = b'x')),
        ("a name in two parts", with_header(good.clone(), 0, |h| h[345] = b'd')),
        ("a size without end", with_header(good.clone(), 0, |h| h[124..135].fill(b'7'))),
        ("data behind the end", [&good[..], &[1; 512]].concat()),
        ("another archive behind", [&good[..], &good[..]].concat()),
        ("endless padding", [&good[..], &[0; tar::END_BYTES_MAX]].concat()),
        ("absolute", packed(&[(ENVELOPE, b"{}"), (COMPONENT, WASM), ("/golden/a", b"")])),
        ("upward", packed(&[(ENVELOPE, b"{}"), (COMPONENT, WASM), ("golden/../a", b"")])),
        ("hidden", packed(&[(ENVELOPE, b"{}"), (COMPONENT, WASM), ("golden/.a", b"")])),
        ("unknown", packed(&[(ENVELOPE, b"{}"), (COMPONENT, WASM), ("run.sh", b"")])),
        ("deeper", packed(&[(ENVELOPE, b"{}"), (COMPONENT, WASM), ("golden/a/b", b"")])),
        ("twice", packed(&[(ENVELOPE, b"{}"), (COMPONENT, WASM), (COMPONENT, WASM)])),
        ("out of order", packed(&[(COMPONENT, WASM), (ENVELOPE, b"{}")])),
        ("no component", packed(&[(ENVELOPE, b"{}")])),
        ("nothing", packed(&[])),
        ("too many", packed(&many)),
    ] {
        let error = verify(&bytes).expect_err(story);
        assert!(
            matches!(
                error,
                PackageError::Malformed { .. }
                    | PackageError::Missing { .. }
                    | PackageError::Unexpected { .. }
            ),
            "{story}: {error}"
        );
    }
}

#[test]
fn recordings_are_those_that_were_signed() {
    let envelope = &written()[512..];
    let size = envelope.iter().position(|byte| *byte == 0).unwrap();
    let envelope = &envelope[..size];
    for recordings in [
        &[][..],
        &[("golden/crash.jsonl", &b"[]\n"[..])],
        &[("golden/crash.jsonl", b"{}\n"), ("golden/more.jsonl", b"")],
    ] {
        let mut entries = vec![(ENVELOPE, envelope), (COMPONENT, WASM)];
        entries.extend(recordings);
        assert!(matches!(
            verify(&packed(&entries)),
            Err(PackageError::GoldenList { .. } | PackageError::Altered { .. })
        ));
    }
}

#[test]
fn an_author_hears_of_a_mistake_when_writing() {
    let wrong = Manifest { world: "oracle".into(), ..manifest() };
    assert!(matches!(
        Package::write(wrong, WASM, &golden(), &key(1)),
        Err(PackageError::World { .. })
    ));
    let golden = [("a/b".to_owned(), vec![])].into();
    assert!(matches!(
        Package::write(manifest(), WASM, &golden, &key(1)),
        Err(PackageError::Unexpected { .. })
    ));
}

#[test]
fn reading_stops_at_the_largest_possible_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(PACKAGE_BYTES_MAX as u64 * 2).unwrap();
    assert!(matches!(Package::read(file.path()), Err(PackageError::TooLarge { .. })));
    let gone = file.path().with_extension("gone");
    assert!(matches!(Package::read(&gone), Err(PackageError::Read { .. })));
}
