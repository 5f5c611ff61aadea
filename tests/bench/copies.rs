//! Plugins under other names, so that one box can have ten of a kind.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use homeostat::plugin::package::Package;
use homeostat::trust::Keyring;
use homeostat_tests::Plan;
use homeostat_tests::program::{index, packaged};
use serde_json::{Value, json};

const PUBLISHER: &str = "bench";

/// Adds `count` copies of `plugin` to the plan, signed by a key it trusts.
pub fn add(plan: Plan, plugin: &str, count: usize, keys: &Value) -> Result<Plan> {
    let key = SigningKey::from_bytes(&[0xB; 32]);
    let public = STANDARD.encode(key.verifying_key().as_bytes());
    let original = read(plugin)?;
    let mut tables = Vec::new();
    for n in 0..count {
        let name = format!("{plugin}-{n}");
        let file = plan.path().join(format!("{name}.plugin"));
        fs::write(&file, renamed(&original, &name, &key)?)?;
        let mut table = json!({
            "name": name, "package": file, "digest": format!("sha256:{}", original.digest()),
        });
        let fields = table.as_object_mut().context("it was just made as one")?;
        fields.extend(keys.as_object().cloned().unwrap_or_default());
        tables.push(table);
    }
    Ok(plan.with(|settings| {
        settings.push("trust.publishers", json!({ "name": PUBLISHER, "key": public }));
        for table in tables {
            settings.push("plugin", table);
        }
    }))
}

fn read(plugin: &str) -> Result<Package> {
    let publisher = &index().publisher;
    let mut ring = Keyring::default();
    ring.add(&publisher.name, &public_key(&publisher.key)?)?;
    Ok(Package::inspect(&Package::read(Path::new(&packaged(plugin).package))?, &ring)?)
}

fn renamed(original: &Package, name: &str, key: &SigningKey) -> Result<Vec<u8>> {
    let mut manifest = original.manifest().clone();
    name.clone_into(&mut manifest.name);
    PUBLISHER.clone_into(&mut manifest.publisher);
    Ok(Package::write(manifest, original.component(), &Default::default(), key)?)
}

pub fn public_key(base64: &str) -> Result<[u8; 32]> {
    STANDARD.decode(base64)?.try_into().map_err(|_| anyhow!("a public key has 32 bytes"))
}
