//! Builds what the demonstration needs, then becomes it.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Result, anyhow};
use clap::Args;

use crate::build;
use crate::work::{Work, say};

#[derive(Args)]
pub struct Options {}

/// Does not come back when all is well: the demonstration takes our place, so
/// that Ctrl-C and the exit code are its own.
pub fn run(work: &mut Work, _: &Options) -> Result<ExitCode> {
    build::run(work)?;
    work.tell();
    say("the demonstration begins; it takes about half a minute");
    let program = work.programs().join("homeostat-demo");
    let error = Command::new(&program).exec();
    Err(anyhow!("{} did not start: {error}", program.display()))
}
