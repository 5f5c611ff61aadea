//! From a crate to a component, with cargo and without any other tool.
//!
//! Invariant: the module that is encoded is the one cargo named in this very
//! run, so a failed build never leaves an old one to be signed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use wit_component::ComponentEncoder;

pub const TARGET: &str = "wasm32-unknown-unknown";

/// Small and fast to load. Said here, so that a crate outside our workspace
/// needs no profile of its own.
const PROFILE: &[&str] = &[
    "inherits='release'",
    "opt-level='s'",
    "lto=true",
    "codegen-units=1",
    "panic='abort'",
    "strip=true",
];

/// Builds the crate in `dir` and encodes its module as a component.
pub fn build(dir: &Path) -> Result<Vec<u8>> {
    let module = compile(dir)?;
    let bytes = std::fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
    componentize(&bytes).with_context(|| format!("making a component of {}", module.display()))
}

pub fn componentize(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module)?;
    encoder.encode()
}

/// The part of cargo's messages that names what it made.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

fn compile(dir: &Path) -> Result<PathBuf> {
    let manifest = dir
        .join("Cargo.toml")
        .canonicalize()
        .with_context(|| format!("no Cargo.toml in {}", dir.display()))?;
    let mut cargo = cargo();
    cargo.args(["build", "--lib", "--target", TARGET, "--profile", "plugin"]);
    cargo.arg("--message-format=json-render-diagnostics").arg("--manifest-path").arg(&manifest);
    for setting in PROFILE {
        cargo.arg("--config").arg(format!("profile.plugin.{setting}"));
    }
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not start: is Rust installed?")?;
    if !output.status.success() {
        bail!(
            "{} does not build for {TARGET}; if the target is missing: rustup target add {TARGET}",
            manifest.display()
        );
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|it| it.reason == "compiler-artifact" && it.manifest_path == manifest)
        .flat_map(|it| it.filenames)
        .find(|file| file.extension().is_some_and(|it| it == "wasm"))
        .with_context(|| {
            format!("{} made no module: wants [lib] crate-type = [\"cdylib\"]", manifest.display())
        })
}

/// Cargo without what the cargo that started us says of another crate.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}
