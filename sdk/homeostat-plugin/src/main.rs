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
use homeostat::plugin::package::{Package, World};
use homeostat::trust::Keyring;
use homeostat_plugin::contract::Faces;
use homeostat_plugin::key::Publisher;
use homeostat_plugin::player::Stage;
use homeostat_plugin::project::Project;
use homeostat_plugin::scaffold::{self, Kind};
use homeostat_plugin::{bench, dev, fuzz, pack, replay, wasm};
use homeostat_sdk::recording::{Recording, Step};

/// As long as anybody develops.
const DEV_SHADOW: &str = "30d";

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
    ///
    /// A golden recording must be answered as it says. One that a box made
    /// (`homeostat record`) is played to the component as the daemon would, and
    /// what it says is shown: the same each time, to the last bit.
    #[command(after_help = "Examples:\n  homeostat plugin replay\n  \
        homeostat plugin replay i42.rec --plugin-config config.toml\n  \
        homeostat plugin replay i42.rec --plugin-config config.toml --bless golden/i42.jsonl\n  \
        homeostat plugin replay i42.rec --plugin-config config.toml --expect golden/i42.jsonl")]
    Replay {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// Recordings; all of golden/ by default
        recordings: Vec<PathBuf>,
        /// A plugin file, instead of the folder's own component
        #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "component"])]
        plugin: Option<PathBuf>,
        #[command(flatten)]
        captured: Captured,
    },
    /// What a call costs on a recording, beside a baseline
    ///
    /// In the real engine, a fresh instance each round, turn and turn about with the
    /// baseline. Times are this machine's; compare what was measured in one run.
    #[command(after_help = "Examples:\n  homeostat plugin bench golden/first.jsonl\n  \
        homeostat plugin bench today.rec --plugin-config config.toml --baseline too-hot-0.1.0.plugin")]
    Bench {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        recording: PathBuf,
        /// A plugin file to measure beside it
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
        /// A plugin file, instead of the folder's own component
        #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "component"])]
        plugin: Option<PathBuf>,
        /// The plugin's configuration, a .json or .toml file, for a recording of a box
        #[arg(long, value_name = "FILE")]
        plugin_config: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },
    /// Play recordings twisted in every way that a bad day has
    ///
    /// No readings, rows in reverse, years between frames, endless lines, marks and
    /// outcomes of a later time, restarts after each frame: nothing of it may trap.
    #[command(after_help = "Examples:\n  homeostat plugin fuzz\n  \
        homeostat plugin fuzz golden/first.jsonl --plugin too-hot-0.1.0.plugin")]
    Fuzz {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// Recordings of the plugin; all of golden/ by default
        recordings: Vec<PathBuf>,
        /// A plugin file, instead of the folder's own component
        #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "component"])]
        plugin: Option<PathBuf>,
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
    /// Build, sign and install with every change, and show what the plugin says
    ///
    /// On the box that `homeostat` here talks to: in shadow, so that nothing follows,
    /// or live with --live. What it learnt is carried over. A build that fails changes
    /// nothing. Ends with Ctrl-C; `homeostat plugin remove NAME` takes it away.
    #[command(
        after_help = "Example:\n  homeostat plugin dev --key acme.key --plugin-config too-hot.toml"
    )]
    Dev {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// File of the signing key, of a publisher that the box trusts
        #[arg(long)]
        key: PathBuf,
        /// The plugin's configuration, a .json or .toml file
        #[arg(long, value_name = "FILE")]
        plugin_config: Option<PathBuf>,
        /// Targets that it judges, with an optional `*` at the end
        #[arg(long = "target", value_name = "SELECTOR")]
        targets: Vec<String>,
        /// In its place, and not in shadow
        #[arg(long)]
        live: bool,
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

/// For one recording that a box made.
#[derive(Args)]
struct Captured {
    /// The plugin's configuration, a .json or .toml file
    #[arg(long, value_name = "FILE")]
    plugin_config: Option<PathBuf>,
    /// Targets that the plugin judges, with an optional `*` at the end
    #[arg(long = "target", value_name = "SELECTOR", default_value = "*")]
    targets: Vec<String>,
    /// Answers written down before, which are to come again
    #[arg(long, value_name = "FILE", conflicts_with = "bless")]
    expect: Option<PathBuf>,
    /// Write down what it sees and answers: a golden recording
    #[arg(long, value_name = "FILE")]
    bless: Option<PathBuf>,
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
        Command::Replay { at, engine, recordings, plugin, captured } => {
            replay(subject(&at, plugin.as_deref())?, &engine, &recordings, &captured)
        }
        Command::Bench { at, engine, recording, baseline, plugin, plugin_config, json } => {
            let how = replay::How { config: plugin_config, targets: vec!["*".into()] };
            let first = subject(&at, plugin.as_deref())?;
            let other = baseline.as_deref().map(of_file).transpose()?;
            bench(first, other, &Recording::read(&recording)?, &how, &engine, json)
        }
        Command::Fuzz { at, engine, recordings, plugin } => {
            fuzz(subject(&at, plugin.as_deref())?, &engine, &recordings)
        }
        Command::Package { at, engine, key, out, json } => package(&at, &engine, &key, &out, json),
        Command::Dev { at, engine, key, plugin_config, targets, live } => {
            let mut more = Vec::new();
            if let Some(config) = plugin_config {
                more.extend(["--plugin-config".to_owned(), config.display().to_string()]);
            }
            more.extend(targets.into_iter().flat_map(|it| ["--target".to_owned(), it]));
            if !live {
                more.extend(["--shadow".to_owned(), DEV_SHADOW.to_owned()]);
            }
            develop(&at, &engine, &key, &more)
        }
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

/// What recordings are played to.
struct Subject {
    name: String,
    package: Package,
    golden: BTreeMap<String, Vec<u8>>,
}

fn subject(at: &At, file: Option<&Path>) -> Result<Subject> {
    match file {
        Some(file) => of_file(file),
        None => of_project(at),
    }
}

fn of_project(at: &At) -> Result<Subject> {
    let (project, component) = at.component()?;
    Faces::of(&component)?.check(project.world)?;
    let package = pack::rehearsal(project.manifest("rehearsal"), &component)?;
    Ok(Subject { name: project.about.name, package, golden: project.golden })
}

fn of_file(file: &Path) -> Result<Subject> {
    let bytes = Package::read(file)?;
    let (manifest, component) = pack::unverified(&bytes)
        .with_context(|| format!("{} is no plugin file", file.display()))?;
    let name = manifest.name.clone();
    let package = pack::rehearsal(manifest, &component)?;
    Ok(Subject { name, package, golden: BTreeMap::new() })
}

fn bench(
    first: Subject,
    baseline: Option<Subject>,
    recording: &Recording,
    how: &replay::How,
    engine: &Engine,
    json: bool,
) -> Result<()> {
    let mut names = Vec::new();
    let mut stages = Vec::new();
    for it in std::iter::once(first).chain(baseline) {
        names.push((it.name.clone(), format!("{} {}", it.name, it.package.manifest().version)));
        stages.push(Stage::new(it.package, &engine.programs()?)?);
    }
    let seen =
        |(stage, (name, _)): (&Stage, &(String, String))| bench::seen(stage, name, recording, how);
    let seen: Vec<_> = stages.iter().zip(&names).map(seen).collect::<Result<_>>()?;
    let contenders: Vec<_> = stages
        .iter()
        .zip(&seen)
        .map(|(stage, recording)| bench::Contender { stage, recording })
        .collect();
    let costs = bench::run(&contenders)?;
    if json {
        let rows = names
            .iter()
            .zip(&costs)
            .map(|((_, name), costs)| serde_json::json!({ "plugin": name, "costs": costs }));
        println!("{}", serde_json::Value::from_iter(rows));
        return Ok(());
    }
    println!(
        "{:24} {:>10} {:>10} {:>12} {:>10} {:>10} {:>8}",
        "", "p50", "p99", "per row", "fuel/call", "memory", "calls"
    );
    for ((_, name), it) in names.iter().zip(&costs) {
        let us = |ns: f64| format!("{:.2} µs", ns / 1_000.0);
        println!(
            "{name:24} {:>10} {:>10} {:>12} {:>10} {:>10} {:>8}",
            us(it.p50_ns as f64),
            us(it.p99_ns as f64),
            us(it.ns_per_row),
            it.fuel_per_call,
            format!("{} KiB", it.memory_bytes >> 10),
            it.calls
        );
    }
    if let [first, baseline] = costs.as_slice() {
        let ratio = first.p50_ns as f64 / baseline.p50_ns.max(1) as f64;
        let fuel = first.fuel_per_call as f64 / baseline.fuel_per_call.max(1) as f64;
        println!(
            "a call takes {ratio:.2} times what the baseline's does, and {fuel:.2} of its fuel"
        );
    }
    Ok(())
}

fn fuzz(subject: Subject, engine: &Engine, recordings: &[PathBuf]) -> Result<()> {
    let recordings = match recordings {
        [] => subject.golden,
        paths => read_all(paths)?,
    };
    if recordings.is_empty() {
        bail!("no recordings: name some, or put them in the folder golden/ of the plugin");
    }
    let resumable = subject.package.world() == World::DetectorResumable;
    let stage = Stage::new(subject.package, &engine.programs()?)?;
    let mut fell = 0;
    for (name, bytes) in &recordings {
        let text = std::str::from_utf8(bytes).with_context(|| format!("{name} is no text"))?;
        let recording = Recording::parse(text).with_context(|| name.clone())?;
        if recording.is_captured() {
            bail!("{name} is a box's: make a golden one of it with `replay --bless`");
        }
        let (count, wrong) = fuzz::run(&recording, resumable, || stage.subject());
        println!("{name}: {} of {count} twists survived", count - wrong.len());
        wrong.iter().for_each(|it| println!("  {}: {}", it.twist, it.why));
        fell += wrong.len();
    }
    if fell > 0 {
        bail!("{fell} twists were more than it could stand; a box may hand it any of them");
    }
    Ok(())
}

fn replay(
    subject: Subject,
    engine: &Engine,
    recordings: &[PathBuf],
    captured: &Captured,
) -> Result<()> {
    let Subject { name: plugin, package, golden } = subject;
    let recordings = match recordings {
        [] => golden,
        paths => read_all(paths)?,
    };
    if recordings.is_empty() {
        bail!("no recordings: name some, or put them in the folder golden/ of the plugin");
    }
    let of_a_box = |bytes: &Vec<u8>| {
        let parsed = std::str::from_utf8(bytes).ok().and_then(|it| Recording::parse(it).ok());
        parsed.filter(Recording::is_captured)
    };
    let (of_boxes, golden): (BTreeMap<_, _>, BTreeMap<_, _>) =
        recordings.into_iter().partition(|(_, bytes)| of_a_box(bytes).is_some());
    if (of_boxes.len(), golden.len()) != (1, 0) {
        captured.is_for_one()?;
    }
    let stage = Stage::new(package, &engine.programs()?)?;
    pack::replay_on(&stage, &golden)?;
    golden.keys().for_each(|name| println!("{name}: as recorded"));
    for (name, recording) in of_boxes.iter().filter_map(|(k, it)| Some((k, of_a_box(it)?))) {
        let how = replay::How {
            config: captured.plugin_config.clone(),
            targets: captured.targets.clone(),
        };
        let played =
            replay::play(&stage, &plugin, &recording, &how).with_context(|| name.clone())?;
        captured.judge(name, &played)?;
    }
    Ok(())
}

impl Captured {
    fn is_for_one(&self) -> Result<()> {
        let said = self.plugin_config.is_some() || self.expect.is_some() || self.bless.is_some();
        if said {
            bail!("--plugin-config, --expect and --bless are for one recording that a box made");
        }
        Ok(())
    }

    fn judge(&self, name: &str, played: &Recording) -> Result<()> {
        if let Some(expect) = &self.expect {
            replay::compare(played, &Recording::read(expect)?)?;
            println!("{name}: as {} expects", expect.display());
            return Ok(());
        }
        let frames = played.steps.iter().filter(|it| matches!(it, Step::Frame(_))).count();
        println!("{name}: {frames} frames of {} series", played.header.series.len());
        print!("{}", replay::timeline(played));
        if let Some(bless) = &self.bless {
            std::fs::write(bless, played.to_text())
                .with_context(|| format!("writing {}", bless.display()))?;
            println!("{}: read it before you commit it", bless.display());
        }
        Ok(())
    }
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

/// Until Ctrl-C.
fn develop(at: &At, engine: &Engine, key: &Path, more: &[String]) -> Result<()> {
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
