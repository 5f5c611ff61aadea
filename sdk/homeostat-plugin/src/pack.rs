//! Replay, sign and write: the last steps to a plugin file.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use homeostat::plugin::package::{Manifest, Package};
use homeostat::trust::Keyring;
use homeostat_sdk::recording::Recording;
use serde::Serialize;

use crate::key::Publisher;
use crate::player::Stage;
use crate::project::Project;

/// What a person, or the box's own configuration, needs to know of a file.
#[derive(Clone, Debug, Serialize)]
pub struct Packed {
    pub package: PathBuf,
    pub name: String,
    pub version: String,
    pub sequence: u64,
    pub world: String,
    pub publisher: String,
    /// SHA-256 of the component, in hex: what the box's policy names.
    pub digest: String,
    pub component_bytes: u64,
    pub golden: usize,
}

/// Signs a component that was checked. Its golden recordings are replayed from
/// the very file that is written; `programs` has `homeostat-compile`.
pub fn pack(
    project: &Project,
    component: &[u8],
    publisher: &Publisher,
    out: &Path,
    programs: &Path,
) -> Result<Packed> {
    let manifest = project.manifest(&publisher.name);
    let bytes = Package::write(manifest, component, &project.golden, &publisher.key)?;
    let package = Package::inspect(&bytes, &ring(&publisher.name, &publisher.key)?)?;
    let packed = Packed {
        package: out.join(project.file_name()),
        name: project.about.name.clone(),
        version: project.version.clone(),
        sequence: project.about.sequence,
        world: project.world.to_string(),
        publisher: publisher.name.clone(),
        digest: package.digest().to_owned(),
        component_bytes: component.len() as u64,
        golden: project.golden.len(),
    };
    if !project.golden.is_empty() {
        replay_on(&Stage::new(package, programs)?, &project.golden)?;
    }
    std::fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    write_whole(&packed.package, &bytes)?;
    Ok(packed)
}

/// A package for the engine's eyes only, under a key that nobody keeps.
pub fn rehearsal(manifest: Manifest, component: &[u8]) -> Result<Package> {
    let publisher = Publisher::generate("rehearsal")?;
    let manifest = Manifest { publisher: publisher.name.clone(), ..manifest };
    let bytes = Package::write(manifest, component, &BTreeMap::new(), &publisher.key)?;
    Ok(Package::inspect(&bytes, &ring(&publisher.name, &publisher.key)?)?)
}

/// What a plugin file says of itself, and its component, on nobody's word: for
/// looking at it, and for running it where it can touch nothing.
pub fn unverified(bytes: &[u8]) -> Result<(Manifest, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let mut entries = archive.entries()?;
    let mut part = |wanted: &str| -> Result<Vec<u8>> {
        let mut entry = entries.next().with_context(|| format!("it has no {wanted}"))??;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let envelope: serde_json::Value = serde_json::from_slice(&part("plugin.dsse.json")?)?;
    let component = part("component.wasm")?;
    let payload = envelope["payload"].as_str().context("its envelope has no payload")?;
    Ok((serde_json::from_slice(&STANDARD.decode(payload)?)?, component))
}

/// Plays each golden recording to the component in the real engine. Every
/// difference of every recording is in the error.
pub fn replay_on(stage: &Stage, recordings: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut wrong = Vec::new();
    for (name, bytes) in recordings {
        let text = std::str::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
        let played = Recording::parse(text).and_then(|it| it.play(&mut stage.subject()));
        match played {
            Ok((_, differences)) => {
                wrong.extend(differences.iter().map(|it| format!("{name}: {it}")))
            }
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    if !wrong.is_empty() {
        bail!("the component does not answer as recorded\n{}", wrong.join("\n"));
    }
    Ok(())
}

fn ring(name: &str, key: &SigningKey) -> Result<Keyring> {
    let mut ring = Keyring::default();
    ring.add(name, key.verifying_key().as_bytes())?;
    Ok(ring)
}

/// All of it or the file that was there before.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".package-")
        .tempfile_in(dir)
        .with_context(|| format!("writing in {}", dir.display()))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // A plugin file holds nothing secret, and the daemon may be another user.
    let all_read = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(all_read)?;
    file.persist(path).with_context(|| format!("writing {}", path.display()))?;
    Ok(())
}
