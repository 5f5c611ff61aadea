//! Shell completions and man pages, from the same source as `--help`.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::build;
use crate::work::{Work, say};

pub fn run(work: &mut Work) -> Result<ExitCode> {
    build::programs(work)?;
    let out = work.target.join("docs");
    let mut write = Command::new(work.programs().join("homeostat-docs"));
    work.stage("writing completions and man pages", write.arg(&out))?;
    say(&format!("completions and man pages lie in {}", out.display()));
    Ok(ExitCode::SUCCESS)
}
