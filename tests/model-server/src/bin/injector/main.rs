//! Breaks a model server, from outside and by request, and writes down when.
//!
//! Exit codes: 0 injected, 1 not, 2 usage. The record has a line either way.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use model_server::control::{self, Reply, Request};
use model_server::fault::Fault;
use model_server::moment::Moment;
use model_server::record::{self, Injection};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Injects one fault into one server.
#[derive(Debug, Parser)]
struct Args {
    /// The server's control socket.
    #[arg(long)]
    control: Option<PathBuf>,
    /// The server's name in the record.
    #[arg(long, default_value = "model-server")]
    server: String,
    /// A JSON line is appended here for each injection.
    #[arg(long)]
    record: Option<PathBuf>,
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Apply(Fault),
    /// Prints the server's pid and the faults that hold.
    Status,
    /// Kills the process.
    Sigkill(Victim),
    /// Stops the process: it is there and does nothing, its health too.
    Sigstop(Victim),
    /// Lets a stopped process go on.
    Sigcont(Victim),
    /// Asks the process to end.
    Sigterm(Victim),
}

#[derive(Debug, clap::Args)]
struct Victim {
    /// The process; asked of the control socket when not given.
    #[arg(long)]
    pid: Option<i32>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("injector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let (fault, inject): (&str, Box<dyn Fn() -> anyhow::Result<u32>>) = match &args.command {
        Command::Status => {
            println!("{}", serde_json::to_string(&args.reply(&Request::Status)?)?);
            return Ok(());
        }
        Command::Apply(fault) => (fault.name(), Box::new(|| args.apply(fault))),
        Command::Sigkill(victim) => ("sigkill", Box::new(|| args.signal(victim, Signal::KILL))),
        Command::Sigstop(victim) => ("sigstop", Box::new(|| args.signal(victim, Signal::STOP))),
        Command::Sigcont(victim) => ("sigcont", Box::new(|| args.signal(victim, Signal::CONT))),
        Command::Sigterm(victim) => ("sigterm", Box::new(|| args.signal(victim, Signal::TERM))),
    };
    // Opened first: a fault that nobody could write down is not injected.
    let file = args.record.as_deref().map(record::open).transpose();
    let file = file.context("cannot write the record")?;
    let asked = Moment::now();
    let injected = inject();
    let line = Injection {
        server: args.server.clone(),
        fault: fault.into(),
        pid: injected.as_ref().ok().copied(),
        asked,
        done: Moment::now(),
        error: injected.as_ref().err().map(|error| format!("{error:#}")),
    };
    if let Some(file) = &file {
        record::append(file, &line).context("cannot write the record")?;
    }
    injected.map(|_| ())
}

impl Args {
    fn apply(&self, fault: &Fault) -> anyhow::Result<u32> {
        self.ask(&Request::Apply(fault.clone()))
    }

    /// Gives the pid of the server that did as asked.
    fn ask(&self, request: &Request) -> anyhow::Result<u32> {
        match self.reply(request)? {
            Reply::Done { pid, .. } => Ok(pid),
            Reply::Refused { pid, why } => bail!("server {pid} refused: {why}"),
        }
    }

    fn reply(&self, request: &Request) -> anyhow::Result<Reply> {
        let path = self.control.as_deref().context("this takes --control SOCKET")?;
        Ok(control::ask(path, request, Duration::from_millis(self.timeout_ms))?)
    }

    fn signal(&self, victim: &Victim, signal: Signal) -> anyhow::Result<u32> {
        let pid = match victim.pid {
            Some(pid) => pid,
            None => self.ask(&Request::Status).context("no --pid was given")? as i32,
        };
        // A pidfd, so that what is signalled is what was found there.
        let process = Pid::from_raw(pid).with_context(|| format!("{pid} is no pid"))?;
        pidfd_open(process, PidfdFlags::empty())
            .and_then(|process| pidfd_send_signal(process, signal))
            .map_err(io::Error::from)
            .with_context(|| format!("cannot signal process {pid}"))?;
        Ok(pid as u32)
    }
}
