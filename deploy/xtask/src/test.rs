//! Every test there is, after everything they need.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::work::{FEATURES, Work, ask, say};
use crate::{build, setup};

#[derive(Args)]
pub struct Options {
    /// Also the long campaigns: more kills, more seeds
    #[arg(long)]
    all: bool,
    /// Only tests whose name contains one of these
    filters: Vec<String>,
}

pub fn run(work: &mut Work, options: &Options) -> Result<ExitCode> {
    build::run(work)?;
    setup::others(work)?;
    let skips = work.target.join("test-skips");
    let controls = work.target.join("controls");
    for folder in [&skips, &controls] {
        let _ = fs::remove_dir_all(folder);
    }

    let mut good = plain(work, options)?;
    if options.filters.is_empty() {
        good &= examples(work)?;
    }
    for skipped in fs::read_dir(&skips).into_iter().flatten().flatten() {
        let why = fs::read_to_string(skipped.path()).unwrap_or_default();
        work.lack(format!("test {}: {}", skipped.file_name().to_string_lossy(), why.trim()));
    }
    tell_controls(&controls);
    say(if good { "every test that ran passed" } else { "FAILED: see above" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The benign controls: how near the box came to acting where nothing was wrong.
fn tell_controls(folder: &Path) {
    let mut lines: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let near = fs::read_to_string(entry.path()).ok()?;
            Some(format!("{}: {near}", entry.file_name().to_string_lossy()))
        })
        .collect();
    lines.sort();
    if !lines.is_empty() {
        say(&format!("{} benign controls; how near the box came to acting:", lines.len()));
    }
    for line in lines {
        say(&format!("  {line}"));
    }
}

/// Unit tests and stories: with nextest where it is, which runs each in a
/// process of its own and ends one that hangs; otherwise with cargo's own.
fn plain(work: &mut Work, options: &Options) -> Result<bool> {
    let nextest = ask("cargo-nextest", &["--version"]).is_some();
    let mut command = work.cargo();
    if nextest {
        command.args(["nextest", "run", "--workspace", "--features", FEATURES]);
        if options.all {
            command.args(["--profile", "all"]);
        }
        command.args(&options.filters);
    } else {
        work.lack("cargo-nextest: tests ran under cargo's own runner, without time limits");
        command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--features", FEATURES]);
        command.args(["--no-fail-fast", "--"]);
        // The heavy stories share two cores with what they measure.
        command.arg("--test-threads=2");
        command.args(&options.filters);
    }
    if options.all {
        command.env("HOMEOSTAT_TEST_ALL", "1");
    }
    work.try_stage("testing", &mut command)
}

/// The examples in the documentation, which nextest does not run.
fn examples(work: &mut Work) -> Result<bool> {
    let mut command = work.cargo();
    command.args(["test", "--doc", "--workspace", "--quiet", "--features", FEATURES]);
    work.try_stage("testing the documentation's examples", &mut command)
}
