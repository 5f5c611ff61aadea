//! A client that asks model servers for known answers at a steady rate and keeps
//! its own record of what it got.
//!
//! Invariant: it is an open loop. A request is due when the clock says so,
//! whatever became of the ones before, and latency counts from then on: a server
//! that hangs is charged for every request that a user would have sent.
//!
//! It prints nothing but a summary at the end. Exit codes: 0 ended as asked
//! (whatever the servers did), 1 cannot go on, 2 usage.

mod exchange;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use model_server::golden::Golden;
use model_server::moment::Moment;
use model_server::record::{self, Outcome, Sent};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use exchange::{Exchange, Target};

/// Sends inference requests at a fixed rate and records every answer.
#[derive(Debug, Parser)]
struct Args {
    /// A server and its address, NAME=http://HOST:PORT; may be repeated.
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    #[arg(long, default_value = "digits")]
    model: String,
    /// Requests a second to each server.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
    /// The most requests waiting for one server; further ones are recorded as unsent.
    #[arg(long, default_value_t = 64)]
    in_flight_max: usize,
    /// JSON lines are appended here, one a request.
    #[arg(long)]
    record: PathBuf,
    /// Other golden cases than the committed ones.
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Ends by itself after so many seconds.
    #[arg(long = "for")]
    for_s: Option<f64>,
    /// Ends by itself after so many requests to each server.
    #[arg(long)]
    count: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Summary {
    servers: BTreeMap<String, Tally>,
}

#[derive(Debug, Default, Serialize)]
struct Tally {
    requests: u64,
    results: BTreeMap<Outcome, u64>,
    latency_us_max: u64,
}

/// When a request is due: to wait for, and to be written down.
#[derive(Clone, Copy)]
struct Due {
    instant: Instant,
    moment: Moment,
}

/// All that changes while it runs.
struct Run {
    exchange: Arc<Exchange>,
    record: File,
    in_flight: BTreeMap<String, usize>,
    in_flight_max: usize,
    tasks: JoinSet<Sent>,
    summary: Summary,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<String> {
    ensure!(args.rate.is_finite() && args.rate > 0.0, "--rate is {}, wanted above 0", args.rate);
    let golden = args.golden.as_deref().map(Golden::read).transpose()?;
    let golden = golden.unwrap_or_else(Golden::committed);
    let record = record::open(&args.record)
        .with_context(|| format!("cannot write the record {}", args.record.display()))?;
    let timeout = Duration::from_millis(args.timeout_ms);
    let run = Run {
        exchange: Arc::new(Exchange::new(golden, &args.model, timeout)),
        record,
        in_flight: BTreeMap::new(),
        in_flight_max: args.in_flight_max,
        tasks: JoinSet::new(),
        summary: Summary { servers: BTreeMap::new() },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let summary = runtime.block_on(run.until_done(&args))?;
    Ok(serde_json::to_string(&summary)?)
}

impl Due {
    fn after(self, length: Duration) -> Self {
        Self { instant: self.instant + length, moment: self.moment.after(length) }
    }
}

impl Run {
    async fn until_done(mut self, args: &Args) -> anyhow::Result<Summary> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let start = Due { instant: Instant::now(), moment: Moment::now() };
        let end = args.for_s.map(Duration::try_from_secs_f64).transpose()?;
        let end = end.map(|length| start.instant + length);
        let mut n = 0;
        while args.count.is_none_or(|count| n < count) {
            let due = start.after(Duration::from_secs_f64(n as f64 / args.rate));
            if end.is_some_and(|end| due.instant >= end) {
                break;
            }
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                Some(sent) = self.tasks.join_next() => self.note(sent?)?,
                () = sleep_until(due.instant) => {
                    n += 1;
                    for target in &args.targets {
                        self.send(target, n, due)?;
                    }
                }
            }
        }
        while let Some(sent) = self.tasks.join_next().await {
            self.note(sent?)?;
        }
        Ok(self.summary)
    }

    fn send(&mut self, target: &Target, n: u64, due: Due) -> anyhow::Result<()> {
        let mut sent = Sent {
            server: target.name.clone(),
            n,
            due: due.moment,
            latency_us: 0,
            result: Outcome::Unsent,
            status: None,
            detail: String::new(),
        };
        let in_flight = self.in_flight.entry(target.name.clone()).or_default();
        if *in_flight >= self.in_flight_max {
            sent.detail = format!("{in_flight} requests wait already");
            return self.write(&sent);
        }
        *in_flight += 1;
        let (exchange, target) = (self.exchange.clone(), target.clone());
        self.tasks.spawn(async move {
            let answer = exchange.run(&target, n, due.instant).await;
            sent.latency_us = due.instant.elapsed().as_micros() as u64;
            (sent.result, sent.status, sent.detail) = (answer.result, answer.status, answer.detail);
            sent
        });
        Ok(())
    }

    fn note(&mut self, sent: Sent) -> anyhow::Result<()> {
        *self.in_flight.entry(sent.server.clone()).or_default() -= 1;
        self.write(&sent)
    }

    fn write(&mut self, sent: &Sent) -> anyhow::Result<()> {
        let tally = self.summary.servers.entry(sent.server.clone()).or_default();
        tally.requests += 1;
        *tally.results.entry(sent.result).or_default() += 1;
        tally.latency_us_max = tally.latency_us_max.max(sent.latency_us);
        record::append(&self.record, sent).context("cannot write the record")
    }
}
