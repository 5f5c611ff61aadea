//! The programs, and the plugins packaged and signed with a development key.
//!
//! One invocation of cargo with one set of features builds what the tests and
//! the demo run, so that nothing is built twice. A package is made again only
//! when something it is made of is newer than it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::setup;
use crate::work::{FEATURES, Work, say};

/// `target/plugins/index.json`: what there is to load, and by whose word.
#[derive(Default, Serialize, Deserialize)]
pub struct Index {
    /// Name in the trust configuration, and ed25519 key in base64.
    pub publisher: Publisher,
    pub plugins: BTreeMap<String, Packaged>,
}

#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publisher {
    pub name: String,
    pub key: String,
}

#[derive(Clone, Serialize, Deserialize)]
pub struct Packaged {
    pub package: PathBuf,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    pub version: String,
    pub world: String,
}

pub fn run(work: &mut Work) -> Result<Index> {
    setup::prepare(work)?;
    programs(work)?;
    let publisher = key(work)?;
    let begun = Instant::now();
    let index = package(work, publisher)?;
    work.took("packaging", begun.elapsed());
    Ok(index)
}

pub fn programs(work: &mut Work) -> Result<()> {
    let mut command = work.cargo();
    command.args(["build", "--workspace", "--bins", "--features", FEATURES]);
    work.stage("building", &mut command)
}

fn key_file(work: &Work) -> PathBuf {
    work.target.join("dev-key/publisher.key")
}

/// The key this checkout signs with: made once, readable by its owner alone.
/// It is trusted by nothing but the boxes that the tests and the demo make.
pub fn key(work: &mut Work) -> Result<Publisher> {
    let (file, public) = (key_file(work), work.target.join("dev-key/publisher.json"));
    if !file.exists() || !public.exists() {
        let folder = work.target.join("dev-key");
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        let mut new_key = Command::new(work.programs().join("homeostat-plugin"));
        new_key.args(["key", "new", "--name", "dev", "--json", "--out"]).arg(&file);
        say(&format!("making a development signing key: {}", file.display()));
        let made: Publisher = serde_json::from_slice(&said(&mut new_key)?)
            .context("`homeostat-plugin key new --json` said something else than name and key")?;
        fs::write(&public, serde_json::to_vec(&made)?)?;
    }
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    if mode != 0o600 {
        bail!(
            "{} has mode {mode:o}, a signing key wants 600: delete it, it is made anew",
            file.display()
        );
    }
    Ok(serde_json::from_slice(&fs::read(&public)?)?)
}

/// First-party plugins and the tests' own.
fn package(work: &mut Work, publisher: Publisher) -> Result<Index> {
    let out = work.target.join("plugins");
    fs::create_dir_all(&out)?;
    let index_file = out.join("index.json");
    let old: Index = fs::read(&index_file)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .filter(|old: &Index| old.publisher == publisher)
        .unwrap_or_default();

    let shared = ["sdk", "wit", "Cargo.lock", "Cargo.toml"].map(|name| work.root.join(name));
    let tool = work.programs().join("homeostat-plugin");
    let shared = shared.iter().chain([&tool]).filter_map(|path| newest(path)).max();

    let mut plugins = BTreeMap::new();
    for folder in folders(work)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = newest(&folder).max(shared);
        let kept = old.plugins.get(&name).filter(|kept| newest(&kept.package) > wanted);
        let packaged = match kept {
            Some(kept) => kept.clone(),
            None => make(work, &folder, &out)?,
        };
        plugins.insert(name, packaged);
    }
    let index = Index { publisher, plugins };
    fs::write(&index_file, serde_json::to_vec_pretty(&index)?)?;
    Ok(index)
}

fn make(work: &mut Work, folder: &Path, out: &Path) -> Result<Packaged> {
    let mut command = Command::new(work.programs().join("homeostat-plugin"));
    command.current_dir(&work.root).args(["package", "--dir"]).arg(folder);
    command.arg("--out").arg(out).arg("--key").arg(key_file(work)).arg("--json");
    say(&format!("packaging {}", folder.strip_prefix(&work.root).unwrap_or(folder).display()));
    let text = said(&mut command)?;
    let mut packaged: Packaged = serde_json::from_slice(&text).with_context(|| {
        format!("`homeostat-plugin package --json` said {:?}", String::from_utf8_lossy(&text))
    })?;
    packaged.package = work.root.join(&packaged.package);
    Ok(packaged)
}

/// Each folder with a Cargo.toml under `plugins` and `tests/plugins`.
fn folders(work: &Work) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for parent in ["plugins", "tests/plugins"] {
        for entry in fs::read_dir(work.root.join(parent))? {
            let path = entry?.path();
            if path.join("Cargo.toml").exists() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// When the youngest file at or under `path` was written.
fn newest(path: &Path) -> Option<SystemTime> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_dir() {
        return meta.modified().ok();
    }
    fs::read_dir(path).ok()?.flatten().filter_map(|entry| newest(&entry.path())).max()
}

fn said(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{:?} did not start", command.get_program()))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    Ok(output.stdout)
}
