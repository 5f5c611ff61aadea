//! Builds what is measured as it is shipped, then measures it.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::build;
use crate::setup;
use crate::work::{FEATURES, Work};

#[derive(Args)]
pub struct Options {
    /// The table as JSON lines, for a machine to compare
    #[arg(long)]
    json: bool,
    /// Only rows whose name contains one of these
    rows: Vec<String>,
}

pub fn run(work: &mut Work, options: &Options) -> Result<ExitCode> {
    // Packages are made and signed by the development tools; a plugin's Wasm
    // has a profile of its own and is the same in either.
    build::run(work)?;

    // Last the daemon without any feature, so that it is the lean one that lies there.
    let mut tools = work.cargo();
    tools.args(["build", "--release", "--features", FEATURES]);
    tools.args(["--package", "homeostat", "--bin", "homeostat-compile"]);
    tools.args(["--package", "model-server", "--package", "homeostat-tests", "--bins"]);
    work.stage("building the benchmark and what it runs", &mut tools)?;
    let mut lean = work.cargo();
    lean.args(["build", "--release", "--package", "homeostat"]);
    lean.args(["--bin", "homeostat", "--bin", "homeostat-shim"]);
    work.stage("building the daemon as it is shipped", &mut lean)?;

    setup::peers(work)?;
    let mut bench = Command::new(work.target.join("release/homeostat-bench"));
    bench.args(&options.rows);
    if options.json {
        bench.arg("--json");
    }
    let good = work.try_stage("measuring", &mut bench)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
