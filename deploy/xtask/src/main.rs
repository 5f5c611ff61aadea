//! `cargo xtask`: from a fresh clone to a demo, to every test, to the figures.
//!
//! Each command does its own set-up, says in one line what it is doing, and
//! ends with a clear word about what it could not get. Invariant: nothing here
//! is needed to build, run or ship Homeostat; it only saves typing.

mod bench;
mod build;
mod demo;
mod deny;
mod fuzz;
mod man;
mod setup;
mod test;
mod work;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use work::Work;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set-up, demo, test and bench of the Homeostat workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// One box, two faults, two repairs: the main job, before your eyes
    Demo(demo::Options),
    /// Every test: plain ones, plugins, and the stories on real parts
    Test(test::Options),
    /// The programs (development profile) and the plugin packages
    Build,
    /// What it costs, beside the ceilings of the design
    Bench(bench::Options),
    /// Shell completions and man pages, from the same source as --help
    Man,
    /// Compile targets, system packages, a development signing key
    Setup,
    /// What is read from outside, against whatever bytes: 10 minutes each
    Fuzz(fuzz::Options),
    /// Licences, sources, duplicates and advisories of all dependencies
    Deny,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut work = Work::open()?;
    let done = match arguments.task {
        Task::Demo(options) => demo::run(&mut work, &options),
        Task::Test(options) => test::run(&mut work, &options),
        Task::Build => build::run(&mut work).map(|_| ExitCode::SUCCESS),
        Task::Bench(options) => bench::run(&mut work, &options),
        Task::Man => man::run(&mut work),
        Task::Setup => setup::run(&mut work).map(|()| ExitCode::SUCCESS),
        Task::Fuzz(options) => fuzz::run(&mut work, &options),
        Task::Deny => deny::run(&mut work),
    };
    work.tell();
    done
}
