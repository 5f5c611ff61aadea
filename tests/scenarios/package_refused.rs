//! A package that is not, to the bit, what its publisher signed and the box
//! names, is not run; the box says so and goes on with what it has.

use std::fs;

use homeostat::model::view::PluginState;
use homeostat::model::{Event, TargetId};
use homeostat_tests::plan::path;
use homeostat_tests::{Plan, TestBox, program};
use serde_json::json;

/// A box whose only detector's package was changed by `tamper`.
fn with_package(tamper: impl FnOnce(&mut Vec<u8>)) -> TestBox {
    let plan = Plan::usual();
    let mut bytes = fs::read(&program::packaged("liveness").package).expect("it was packaged");
    tamper(&mut bytes);
    let file = plan.path().join("tampered.plugin");
    fs::write(&file, bytes).expect("the story's folder can be written");
    plan.with(|settings| {
        settings.named("plugin", "liveness").insert("package".into(), path(&file).into());
    })
    .raise()
}

/// It is refused with `word`, its targets are unprotected, the rest lives.
#[track_caller]
fn is_refused(house: &TestBox, word: &str) {
    let (_, why) = house.until_event(0, "the refusal", |event| match event {
        Event::PluginRefused { plugin, why } if plugin == "liveness" => Some(why.clone()),
        _ => None,
    });
    assert!(why.to_lowercase().contains(word), "no {word:?} in: {why}");
    let view = house.until_view("the refusal to be shown", |view| {
        let found = view.plugins.iter().find(|plugin| plugin.name == "liveness")?;
        (found.state == PluginState::Refused).then(|| view.clone())
    });
    assert!(view.unprotected.contains(&TargetId::workload("digits")), "{view:#?}");
    house.until_event(0, "the loss of protection", |event| match event {
        Event::ProtectionLost { target } if *target == TargetId::workload("digits") => Some(()),
        _ => None,
    });
    house.until_serving("digits");
    house.check();
}

/// Where `pattern` begins.
fn find(bytes: &[u8], pattern: &[u8]) -> usize {
    let at = bytes.windows(pattern.len()).position(|window| window == pattern);
    at.expect("the package has it")
}

#[test]
fn a_package_with_one_bit_of_its_component_flipped_is_refused() {
    let house = with_package(|bytes| {
        let at = find(bytes, b"\0asm") + 1000;
        bytes[at] ^= 1;
    });
    is_refused(&house, "sha256");
}

#[test]
fn a_package_with_one_bit_of_its_signed_manifest_flipped_is_refused() {
    let house = with_package(|bytes| {
        let at = find(bytes, b"\"payload\"") + 40;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    });
    is_refused(&house, "signature");
}

#[test]
fn a_package_that_is_cut_short_is_refused() {
    let house = with_package(|bytes| bytes.truncate(bytes.len() / 2));
    is_refused(&house, "liveness");
}

#[test]
fn a_package_that_this_box_does_not_name_is_refused_however_well_it_is_signed() {
    let house = Plan::usual()
        .with(|settings| {
            let other = format!("sha256:{}", "0".repeat(64));
            settings.named("plugin", "liveness").insert("digest".into(), other.into());
        })
        .raise();
    is_refused(&house, "digest");
}

#[test]
fn a_package_of_a_publisher_this_box_does_not_know_is_refused() {
    let house = Plan::usual()
        .with(|settings| {
            let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
            let hex: String = key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let name = program::index().publisher.name.clone();
            settings.named("trust.publishers", &name).insert("key".into(), json!(hex));
        })
        .raise();
    is_refused(&house, "signature");
}
