//! `homeostat-plugin`: build, check, replay and sign a plugin.
//!
//! Exit code 0 is success, 1 a failure that is told on standard error, 2 a
//! command line that makes no sense.

mod tool;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use homeostat_plugin::project::Project;
use homeostat_plugin::{replay, wasm};
use homeostat_sdk::recording::Recording;

use tool::args::{At, Cli, Command, Engine, KeyVerb};
use tool::{make, play};

/// As long as anybody develops.
const DEV_SHADOW: &str = "30d";

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
        Command::New { name, kind, dir } => make::new(&dir, &name, kind),
        Command::Build { at, out } => make::build(&at, out),
        Command::Check(at) => make::check(&at),
        Command::Replay { of, recordings, captured } => {
            play::replay(play::subject(&of)?, &of.engine, &recordings, &captured)
        }
        Command::Bench { of, recording, baseline, plugin_config, json } => {
            let how = replay::How { config: plugin_config, targets: vec!["*".into()] };
            let first = play::subject(&of)?;
            let other = baseline.as_deref().map(play::of_file).transpose()?;
            play::bench(first, other, &Recording::read(&recording)?, &how, &of.engine, json)
        }
        Command::Fuzz { of, recordings } => {
            play::fuzz(play::subject(&of)?, &of.engine, &recordings)
        }
        Command::Package { at, engine, key, out, json } => {
            make::package(&at, &engine, &key, &out, json)
        }
        Command::Dev { at, engine, key, plugin_config, targets, live } => {
            let mut more = Vec::new();
            if let Some(config) = plugin_config {
                more.extend(["--plugin-config".to_owned(), config.display().to_string()]);
            }
            more.extend(targets.into_iter().flat_map(|it| ["--target".to_owned(), it]));
            if !live {
                more.extend(["--shadow".to_owned(), DEV_SHADOW.to_owned()]);
            }
            make::develop(&at, &engine, &key, &more)
        }
        Command::Key(KeyVerb::New { name, out, json }) => make::new_key(&name, &out, json),
        Command::Inspect { file, public, json } => make::inspect(&file, public.as_deref(), json),
    }
}

impl At {
    /// The project and its component, built unless one was named.
    pub fn component(&self) -> Result<(Project, Vec<u8>)> {
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
    pub fn programs(&self) -> Result<PathBuf> {
        match &self.programs {
            Some(folder) => Ok(folder.clone()),
            None => {
                let own = std::env::current_exe().context("finding homeostat-compile")?;
                Ok(own.parent().unwrap_or(Path::new(".")).to_owned())
            }
        }
    }
}
