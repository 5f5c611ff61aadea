//! Recordings, played to a component: replay, bench, fuzz.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use homeostat::plugin::package::{Package, World};
use homeostat_plugin::contract::Faces;
use homeostat_plugin::player::Stage;
use homeostat_plugin::{bench, fuzz, pack, replay};
use homeostat_sdk::recording::{Recording, Step};

use super::args::{At, Captured, Engine, Of};

/// What recordings are played to.
pub struct Subject {
    name: String,
    package: Package,
    golden: BTreeMap<String, Vec<u8>>,
}

pub fn subject(of: &Of) -> Result<Subject> {
    match &of.plugin {
        Some(file) => of_file(file),
        None => of_project(&of.at),
    }
}

pub fn of_project(at: &At) -> Result<Subject> {
    let (project, component) = at.component()?;
    Faces::of(&component)?.check(project.world)?;
    let package = pack::rehearsal(project.manifest("rehearsal"), &component)?;
    Ok(Subject { name: project.about.name, package, golden: project.golden })
}

pub fn of_file(file: &Path) -> Result<Subject> {
    let bytes = Package::read(file)?;
    let (manifest, component) = pack::unverified(&bytes)
        .with_context(|| format!("{} is no plugin file", file.display()))?;
    let name = manifest.name.clone();
    let package = pack::rehearsal(manifest, &component)?;
    Ok(Subject { name, package, golden: BTreeMap::new() })
}

pub fn bench(
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

pub fn fuzz(subject: Subject, engine: &Engine, recordings: &[PathBuf]) -> Result<()> {
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

pub fn replay(
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

pub fn read_all(paths: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>> {
    let read = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        Ok((path.display().to_string(), bytes))
    };
    paths.iter().map(read).collect()
}
