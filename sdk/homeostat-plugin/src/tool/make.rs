//! From nothing to a signed file: new, build, check, package, key new, inspect, dev.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homeostat::plugin::package::Package;
use homeostat::trust::Keyring;
use homeostat_plugin::contract::Faces;
use homeostat_plugin::key::Publisher;
use homeostat_plugin::project::Project;
use homeostat_plugin::scaffold::{self, Kind};
use homeostat_plugin::{dev, pack};

use super::args::{At, Engine};

pub fn new(dir: &Path, name: &str, kind: Kind) -> Result<()> {
    let made = scaffold::create(dir, name, kind)?;
    let dir = made.display();
    println!("{dir}: write {dir}/src/lib.rs where it says THE ONE FUNCTION TO WRITE, then");
    println!("  cd {dir}");
    println!("  cargo test                          # plain, without Wasm or a daemon");
    println!("  homeostat plugin check              # the component: imports, exports, size");
    Ok(())
}

pub fn build(at: &At, out: Option<PathBuf>) -> Result<()> {
    let (project, component) = at.component()?;
    let out = out.unwrap_or_else(|| format!("{}.component.wasm", project.about.name).into());
    std::fs::write(&out, &component).with_context(|| format!("writing {}", out.display()))?;
    println!("{} ({} bytes)", out.display(), component.len());
    Ok(())
}

pub fn check(at: &At) -> Result<()> {
    let (project, component) = at.component()?;
    let faces = Faces::of(&component)?;
    faces.check(project.world)?;
    println!("world    {}", project.world);
    println!("imports  {}", faces.imports.join(", "));
    println!("exports  {}", faces.exports.join(", "));
    println!("bytes    {}", faces.bytes);
    Ok(())
}

pub fn package(at: &At, engine: &Engine, key: &Path, out: &Path, json: bool) -> Result<()> {
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

/// Until Ctrl-C.
pub fn develop(at: &At, engine: &Engine, key: &Path, more: &[String]) -> Result<()> {
    let publisher = Publisher::load(key)?;
    let programs = engine.programs()?;
    let the_box = dev::Box::find();
    let out = tempfile::tempdir().context("a folder for what is built")?;
    let name = Project::open(&at.dir)?.about.name;
    let _following = the_box.follow(&name)?;
    let mut sources = dev::Sources::of(&at.dir);
    loop {
        let done = at.component().and_then(|(project, component)| {
            Faces::of(&component)?.check(project.world)?;
            let packed = pack::pack(&project, &component, &publisher, out.path(), &programs)?;
            the_box.install(&packed.package, more)
        });
        match done {
            Ok(said) => println!("{said}"),
            Err(error) => eprintln!("homeostat-plugin: {error:#}\nwhat ran before goes on"),
        }
        sources = sources.wait_for_change(&at.dir);
    }
}

pub fn new_key(name: &str, out: &Path, json: bool) -> Result<()> {
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

pub fn inspect(file: &Path, public: Option<&str>, json: bool) -> Result<()> {
    let bytes = Package::read(file)?;
    let (unverified, _) = pack::unverified(&bytes)
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
