//! Licences, sources, duplicates and advisories, as `deny.toml` has them.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::work::{Work, ask};

/// The version `deny.toml` was written for.
const CARGO_DENY: &str = "0.20.2";

pub fn run(work: &mut Work) -> Result<ExitCode> {
    install(work)?;
    let mut command = work.cargo();
    command.args(["deny", "check", "bans", "licenses", "sources"]);
    let mut good = work.try_stage("checking dependencies", &mut command)?;

    if advisories_reachable(work) {
        let mut command = work.cargo();
        command.args(["deny", "check", "advisories"]);
        good &= work.try_stage("checking advisories", &mut command)?;
    } else {
        work.lack("advisories: the RustSec database was not reachable, so none were checked");
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// From source where it is missing; without its own git client, since cargo's
/// registry and the git on the path do.
fn install(work: &mut Work) -> Result<()> {
    if ask("cargo-deny", &["--version"]).is_some() {
        return Ok(());
    }
    let mut command = work.cargo();
    command.args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked"]);
    command.args(["--debug", "--no-default-features"]);
    work.stage("installing cargo-deny (some minutes)", &mut command)
}

/// A database that was fetched before, or one that git can see now.
fn advisories_reachable(work: &Work) -> bool {
    let mut fetch = Command::new("timeout");
    fetch.args(["20", "git", "ls-remote", "--exit-code", "--heads"]);
    fetch.arg("https://github.com/RustSec/advisory-db");
    fetch.env("GIT_TERMINAL_PROMPT", "0").current_dir(&work.root);
    fetch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    fetch.status().is_ok_and(|status| status.success())
}
