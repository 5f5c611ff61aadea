//! Fuzzing what is read from outside, within a budget of time; the corpus stays
//! small, and what was spent is logged.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::work::{Work, ask};

const TARGETS: [&str; 4] = ["envelope", "package", "manifest", "recording"];
/// The version that the targets were written for.
const CARGO_FUZZ: &str = "0.13.2";
/// What is fuzzed is safe Rust: a panic, a loop or memory without end is what it can
/// do, and no sanitizer is needed to see that.
const SANITIZER: &str = "--sanitizer=none";
/// Larger inputs find nothing that smaller ones do not.
const INPUT_BYTES_MAX: u64 = 64 << 10;

#[derive(Args)]
pub struct Options {
    /// For each target
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Only these
    targets: Vec<String>,
}

pub fn run(work: &mut Work, options: &Options) -> Result<ExitCode> {
    if ask("cargo-fuzz", &["--version"]).is_none() {
        let mut install = work.cargo();
        install.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--debug"]);
        work.stage("installing cargo-fuzz (some minutes)", &mut install)?;
    }
    let dir = work.root.join("tests/fuzz");
    let mut good = true;
    for target in TARGETS {
        let wanted = options.targets.is_empty() || options.targets.iter().any(|it| it == target);
        if wanted {
            good &= one(work, &dir, target, options.seconds)?;
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(work: &mut Work, dir: &Path, target: &str, seconds: u64) -> Result<bool> {
    let corpus = dir.join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    let mut build = fuzz(dir);
    build.args(["build", SANITIZER, target]);
    work.stage(&format!("building the fuzz target {target}"), &mut build)?;
    let began = Instant::now();
    let mut run = fuzz(dir);
    // What is found goes into the first folder; the seeds stay as they are.
    run.args(["run", SANITIZER, target]).arg(&corpus).arg(dir.join("seeds").join(target));
    run.arg("--");
    run.arg(format!("-max_total_time={seconds}"));
    run.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    run.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    let good = work.try_stage(&format!("fuzzing {target} for {seconds} s"), &mut run)?;
    let spent = began.elapsed().as_secs();
    let mut shrink = fuzz(dir);
    shrink.args(["cmin", SANITIZER, target, "--", &format!("-max_len={INPUT_BYTES_MAX}")]);
    work.stage(&format!("keeping of the corpus of {target} what covers most"), &mut shrink)?;
    log(dir, target, spent, &corpus, good)?;
    Ok(good)
}

/// Coverage and sanitizers are unstable flags; the compiler is the pinned one.
fn fuzz(dir: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.arg("fuzz").current_dir(dir).env("RUSTC_BOOTSTRAP", "1");
    command.env("CARGO_TARGET_DIR", dir.join("target")).stdin(Stdio::null());
    command
}

fn log(dir: &Path, target: &str, seconds: u64, corpus: &Path, good: bool) -> Result<()> {
    let path = dir.join("time.log");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let spent: u64 = before
        .lines()
        .filter(|line| line.split_whitespace().next() == Some(target))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(corpus)? {
        files += 1;
        bytes += entry?.metadata()?.len();
    }
    let word = if good { "no crash" } else { "CRASHED: see artifacts/" };
    let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
    writeln!(
        file,
        "{target} {seconds} s, {} s in all, corpus of {files} files and {bytes} bytes, {word}",
        spent + seconds
    )
    .with_context(|| format!("writing {}", path.display()))
}
