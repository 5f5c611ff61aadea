//! `homeostat-plugin`: build, check, replay and sign a plugin.
//!
//! Exit code 0 is success, 1 a failure that is told on standard error, 2 a
//! command line that makes no sense.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, Subcommand};
use homeostat::plugin::package::{Manifest, Package};
use homeostat::trust::Keyring;
use homeostat_plugin::contract::Faces;
use homeostat_plugin::key::Publisher;
use homeostat_plugin::project::Project;
use homeostat_plugin::scaffold::{self, Kind};
use homeostat_plugin::{pack, wasm};

#[derive(Parser)]
#[command(
    name = "homeostat-plugin",
    version,
    about = "Build, check, replay and sign a Homeostat plugin"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a crate to begin with: a plugin, its test and a recording
    #[command(after_help = "Example:\n  homeostat plugin new too-hot --kind detector")]
    New {
        /// Lower-case letters, digits and dashes
        name: String,
        #[arg(long, value_enum, default_value = "detector")]
        kind: Kind,
        /// Folder that the crate's own is made in
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Build the component
    Build {
        #[command(flatten)]
        at: At,
        /// Where to write it; NAME.component.wasm here by default
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Build, and check imports, exports and size
    Check(At),
    /// Replay recordings against the component in the real engine
    Replay {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// Recordings; all of golden/ by default
        recordings: Vec<PathBuf>,
    },
    /// Build, check, replay and sign: writes NAME-VERSION.plugin
    #[command(alias = "sign", alias = "pack")]
    Package {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// File of the signing key, as `keygen` wrote it
        #[arg(long)]
        key: PathBuf,
        /// Folder for the plugin file
        #[arg(long, default_value = ".")]
        out: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Make a signing key, and print its public half
    Keygen {
        /// Your name as a publisher
        #[arg(long)]
        name: String,
        /// New file for the key; nobody but you can read it
        #[arg(long)]
        out: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Show what a plugin file says of itself
    Inspect {
        file: PathBuf,
        /// The publisher's public key, in base64: without it the signature is not checked
        #[arg(long)]
        public: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct At {
    /// The plugin's folder
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// A component that was built before, instead of building one
    #[arg(long)]
    component: Option<PathBuf>,
}

#[derive(Args)]
struct Engine {
    /// Folder of homeostat-compile; this program's own by default
    #[arg(long, env = "HOMEOSTAT_PROGRAMS")]
    programs: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homeostat-plugin: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::New { name, kind, dir } => new(&dir, &name, kind),
        Command::Build { at, out } => build(&at, out),
        Command::Check(at) => check(&at),
        Command::Replay { at, engine, recordings } => replay(&at, &engine, &recordings),
        Command::Package { at, engine, key, out, json } => package(&at, &engine, &key, &out, json),
        Command::Keygen { name, out, json } => keygen(&name, &out, json),
        Command::Inspect { file, public, json } => inspect(&file, public.as_deref(), json),
    }
}

fn new(dir: &Path, name: &str, kind: Kind) -> Result<()> {
    let made = scaffold::create(dir, name, kind)?;
    let dir = made.display();
    println!("{dir}: write {dir}/src/lib.rs where it says THE ONE FUNCTION TO WRITE, then");
    println!("  cd {dir}");
    println!("  cargo test                          # plain, without Wasm or a daemon");
    println!("  homeostat plugin check              # the component: imports, exports, size");
    Ok(())
}

fn build(at: &At, out: Option<PathBuf>) -> Result<()> {
    let (project, component) = at.component()?;
    let out = out.unwrap_or_else(|| format!("{}.component.wasm", project.about.name).into());
    std::fs::write(&out, &component).with_context(|| format!("writing {}", out.display()))?;
    println!("{} ({} bytes)", out.display(), component.len());
    Ok(())
}

fn check(at: &At) -> Result<()> {
    let (project, component) = at.component()?;
    let faces = Faces::of(&component)?;
    faces.check(project.world)?;
    println!("world    {}", project.world);
    println!("imports  {}", faces.imports.join(", "));
    println!("exports  {}", faces.exports.join(", "));
    println!("bytes    {}", faces.bytes);
    Ok(())
}

fn replay(at: &At, engine: &Engine, recordings: &[PathBuf]) -> Result<()> {
    let (project, component) = at.component()?;
    Faces::of(&component)?.check(project.world)?;
    let recordings = match recordings {
        [] => project.golden.clone(),
        paths => read_all(paths)?,
    };
    if recordings.is_empty() {
        bail!("no recordings: name some, or put them in {}", project.dir.join("golden").display());
    }
    let package = pack::rehearsal(project.manifest("rehearsal"), &component)?;
    pack::replay(package, &recordings, &engine.programs()?)?;
    recordings.keys().for_each(|name| println!("{name}: as recorded"));
    Ok(())
}

fn package(at: &At, engine: &Engine, key: &Path, out: &Path, json: bool) -> Result<()> {
    // Before minutes of building.
    let publisher = Publisher::load(key)?;
    let (project, component) = at.component()?;
    Faces::of(&component)?.check(project.world)?;
    let packed = pack::pack(&project, &component, &publisher, out, &engine.programs()?)?;
    if json {
        println!("{}", serde_json::to_string(&packed)?);
        return Ok(());
    }
    println!("{}", packed.package.display());
    println!(
        "{} {} ({}), signed by {}",
        packed.name, packed.version, packed.world, packed.publisher
    );
    println!("{} golden recordings replayed; for the box's file:", packed.golden);
    println!("digest = \"{}\"", packed.digest);
    Ok(())
}

fn keygen(name: &str, out: &Path, json: bool) -> Result<()> {
    let publisher = Publisher::generate(name)?;
    publisher.save(out)?;
    if json {
        println!("{}", serde_json::json!({ "name": name, "key": publisher.public() }));
        return Ok(());
    }
    println!(
        "{} is your signing key: keep it to yourself. A box that trusts you says:",
        out.display()
    );
    println!("[[trust.publishers]]\nname = \"{name}\"\nkey = \"{}\"", publisher.public());
    Ok(())
}

fn inspect(file: &Path, public: Option<&str>, json: bool) -> Result<()> {
    let bytes = Package::read(file)?;
    let unverified = unverified_manifest(&bytes)
        .with_context(|| format!("{} is no plugin file", file.display()))?;
    let manifest = match public {
        None => {
            eprintln!("homeostat-plugin: the signature was NOT checked: say --public KEY");
            unverified
        }
        Some(public) => {
            let key = STANDARD.decode(public).ok().and_then(|it| <[u8; 32]>::try_from(it).ok());
            let key = key.context("--public wants the 32 bytes of an ed25519 key in base64")?;
            let mut ring = Keyring::default();
            ring.add(&unverified.publisher, &key)?;
            Package::inspect(&bytes, &ring)?.manifest().clone()
        }
    };
    if json {
        println!("{}", serde_json::to_string(&manifest)?);
    } else {
        println!("{}", serde_json::to_string_pretty(&manifest)?);
        println!("digest = \"{}\"", manifest.component.sha256);
    }
    Ok(())
}

/// What the file says of itself, on nobody's word.
fn unverified_manifest(bytes: &[u8]) -> Result<Manifest> {
    let mut archive = tar::Archive::new(bytes);
    let entry = archive.entries()?.next().context("it is empty")??;
    let envelope: serde_json::Value = serde_json::from_reader(entry)?;
    let payload = envelope["payload"].as_str().context("its envelope has no payload")?;
    Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
}

fn read_all(paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok((path.display().to_string(), bytes))
    };
    paths.iter().map(read).collect()
}

impl At {
    /// The project and its component, built unless one was named.
    fn component(&self) -> Result<(Project, Vec<u8>)> {
        let project = Project::open(&self.dir)?;
        let component = match &self.component {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?
            }
            None => wasm::build(&self.dir)?,
        };
        Ok((project, component))
    }
}

impl Engine {
    fn programs(&self) -> Result<PathBuf> {
        match &self.programs {
            Some(folder) => Ok(folder.clone()),
            None => {
                let own = std::env::current_exe().context("finding homeostat-compile")?;
                Ok(own.parent().unwrap_or(Path::new(".")).to_owned())
            }
        }
    }
}
