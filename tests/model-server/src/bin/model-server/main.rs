//! A model server like those that run at the edge: real inference on a real
//! ONNX model, the Open Inference Protocol over HTTP, metrics; and a control
//! socket through which it can be made to fail in the ways such servers do.
//!
//! Invariant: the HTTP side and the inference worker are different threads with
//! a bounded queue between them, so that health answers while inference hangs.
//!
//! Exit codes: 0 stopped on SIGTERM or SIGINT, 1 cannot serve, 2 usage, 3 the
//! file named by `--fail-file` is there.

mod control;
mod faults;
mod http;
mod metrics;
mod model;
mod server;
mod worker;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use model_server::moment::Moment;
use model_server::record::{self, Start};

const FAIL_FILE_EXIT: u8 = 3;

/// Serves one model over the Open Inference Protocol, and breaks on request.
#[derive(Debug, Parser)]
pub struct Args {
    /// Where to serve; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The name it goes by in records.
    #[arg(long, default_value = "model-server")]
    name: String,
    /// An ONNX file; the committed digits model when not given.
    #[arg(long)]
    model: Option<PathBuf>,
    #[arg(long, default_value = "digits")]
    model_name: String,
    /// The port taken is written here, once it listens.
    #[arg(long)]
    port_file: Option<PathBuf>,
    /// One line for each start is appended here before anything else happens.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// A Unix socket that takes faults.
    #[arg(long)]
    control: Option<PathBuf>,
    /// While this file exists every start ends at once with exit code 3.
    #[arg(long)]
    fail_file: Option<PathBuf>,
    /// A fault to apply some time after each start, read at start:
    /// {"after_ms":N,"fault":{"kind":"hang"}}.
    #[arg(long)]
    fault_file: Option<PathBuf>,
    /// Loading the model takes this much longer; until then it is live, not ready.
    #[arg(long, default_value_t = 0)]
    start_delay_ms: u64,
    /// How long a stop waits for requests in flight.
    #[arg(long, default_value_t = 1000)]
    drain_ms: u64,
    /// A leak stops growing here.
    #[arg(long, default_value_t = 1024)]
    leak_mb_max: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.ledger {
        note_start(path, &args.name)
            .with_context(|| format!("cannot write the ledger {}", path.display()))?;
    }
    if let Some(path) = args.fail_file.as_deref().filter(|path| path.exists()) {
        complain(&format!("{} is there, so this start fails", path.display()));
        return Ok(ExitCode::from(FAIL_FILE_EXIT));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(server::run(args));
    // The worker may hang for good, and waits on this runtime: dropping it
    // under the worker would make an orderly exit end in a panic's noise.
    std::mem::forget(runtime);
    result.map(|()| ExitCode::SUCCESS)
}

/// Durable before it goes on: a start that is not in the ledger did not happen.
fn note_start(path: &Path, name: &str) -> std::io::Result<()> {
    let file = record::open(path)?;
    let start = Start {
        server: name.into(),
        attempt: std::env::var("HOMEOSTAT_ATTEMPT").ok(),
        pid: std::process::id(),
        unix_ns: Moment::now().unix_ns,
    };
    record::append(&file, &start)?;
    file.sync_all()
}

/// A line on standard output. A reader that went away is no reason to die.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error, as servers log their errors.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "ERROR {line}");
}
