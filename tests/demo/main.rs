//! The main job, before your eyes: one box, two model servers under load, two
//! faults, two repairs.
//!
//! Three processes keep three records: the injector what it broke and when, the
//! load client what it got, the daemon what it saw and did. Invariant: the
//! verdict is the client's record alone. What the daemon believes of itself
//! fills the timeline and the table, never the exit code.

mod table;
mod timeline;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use homeostat::model::view::{PluginState, WorkloadState};
use homeostat_tests::load::Load;
use homeostat_tests::process::MARK;
use homeostat_tests::testbox::TestBox;
use homeostat_tests::{Plan, program};
use model_server::record::{self, Injection, Outcome, Sent};
use model_server::timeline::Outage;
use serde_json::json;

use timeline::Timeline;

/// Dies at once, by SIGABRT.
const CRASHES: &str = "camera-1";
/// Stops answering inference; its health endpoint goes on saying 200.
const HANGS: &str = "camera-2";
/// Requests a second to each server.
const RATE: u32 = 50;
/// Good answers in a row that end an outage: two seconds of them.
const SUSTAIN: usize = 100;
/// The whole demonstration ends by itself after this, whatever happens.
const AT_MOST: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut demo = Demo::new(plan())?;
    let played = demo.play();
    let kept = demo.end();
    match &kept {
        Ok(folder) => println!("\nThe records and the daemon's log are in {}.", folder.display()),
        Err(error) => eprintln!("demo: the records could not be kept: {error}"),
    }
    played
}

/// As a user would write it: the `fast` profile, and nothing tuned.
fn plan() -> Plan {
    Plan::plain()
        .with(|settings| {
            settings.set("box.name", "demo").set("box.profile", "fast");
        })
        .server_with(CRASHES, |_| {})
        .server_with(HANGS, |_| {})
        .detector("liveness", json!({}))
        .healer("ladder", json!({}))
}

struct Demo {
    house: TestBox,
    load: Option<Load>,
    timeline: Timeline,
    begun: Instant,
    interrupted: Arc<AtomicBool>,
}

impl Demo {
    fn new(plan: Plan) -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        let (timeline, begun) = (Timeline::new(), Instant::now());
        Ok(Self { house: TestBox::new(plan), load: None, timeline, begun, interrupted })
    }

    fn play(&mut self) -> Result<bool> {
        println!(
            "One box, two model servers, a client that asks each of them {RATE} times a second."
        );
        println!("A separate process will crash one and hang the other.\n");
        self.house.spawn(&[]);
        for name in [CRASHES, HANGS] {
            self.until(30, &format!("{name} to serve"), |demo| demo.serves(name))?;
        }
        self.until(60, "both plugins to run", Self::is_protected)?;
        let load = Load::on(self.house.servers(), RATE, 1_000, self.house.folder());
        self.load = Some(load.context("the load client did not start")?);
        self.until(30, "two seconds of good answers", |demo| {
            let sent = demo.sent();
            [CRASHES, HANGS].iter().all(|name| good(&sent, name) >= SUSTAIN)
        })?;

        self.inject(CRASHES, "crash")?;
        self.inject(HANGS, "hang")?;
        if let Some(status) = self.house.server(HANGS).health() {
            self.timeline.note(HANGS, &format!("its health endpoint still says {status}"));
        }
        let healed = self.until(90, "both to be healed, by the client's record", |demo| {
            let (sent, injections) = (demo.sent(), demo.injections());
            injections.iter().all(|one| Outage::after(one, &injections, &sent, SUSTAIN).healed())
        });
        if healed.is_ok() {
            // The client is content; the daemon holds its breath a while longer.
            let proven = self.until(60, "the daemon to call both repairs proven", |demo| {
                demo.timeline.proven() >= 2
            });
            proven.unwrap_or_else(|error| eprintln!("demo: {error:#}"));
        }
        let interrupted = self.interrupted.load(Ordering::SeqCst);
        ensure!(!interrupted, "interrupted");

        let sent = self.load.as_mut().map(Load::end).unwrap_or_default();
        let injections = self.injections();
        let records = self.house.events();
        let rows = table::rows(&injections, &sent, &records, SUSTAIN);
        print!("\n{}", table::show(&rows));
        Ok(table::verdict(&rows))
    }

    /// Looks every now and then, and tells what happened meanwhile.
    fn until(&mut self, within_s: u64, what: &str, look: impl Fn(&Self) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            self.timeline.tell(&self.house.events());
            if look(self) {
                return Ok(());
            }
            if self.interrupted.load(Ordering::SeqCst) {
                bail!("interrupted while waiting for {what}");
            }
            if self.house.died() {
                bail!("the daemon ended; its log:\n{}", self.house.log_text());
            }
            let late = begun.elapsed().as_secs() >= within_s || self.begun.elapsed() >= AT_MOST;
            ensure!(!late, "waited {} s for {what}", begun.elapsed().as_secs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn serves(&self, name: &str) -> bool {
        let running = self.house.client.view().is_ok_and(|view| {
            view.workloads.iter().any(|it| it.name == name && it.state == WorkloadState::Running)
        });
        running && self.house.server(name).answers().is_ok()
    }

    fn is_protected(&self) -> bool {
        self.house.client.view().is_ok_and(|view| {
            view.plugins.len() == 2
                && view.plugins.iter().all(|it| it.state == PluginState::Running)
                && view.unprotected.is_empty()
        })
    }

    /// By a program that knows nothing of the daemon.
    fn inject(&mut self, server: &str, fault: &str) -> Result<()> {
        let mut injector = Command::new(program::program("injector"));
        injector.arg("--control").arg(self.house.server(server).control());
        injector.args(["--server", server]).arg("--record").arg(self.record("injector.jsonl"));
        injector.arg(fault).env(MARK, self.house.folder()).stdin(Stdio::null());
        self.timeline.note(server, &format!("FAULT: {fault}, by the injector"));
        let status = injector.status().context("the injector did not start")?;
        ensure!(status.success(), "the injector could not {fault} {server}: {status}");
        Ok(())
    }

    fn record(&self, name: &str) -> PathBuf {
        self.house.folder().join(name)
    }

    fn injections(&self) -> Vec<Injection> {
        record::read(&self.record("injector.jsonl")).unwrap_or_default()
    }

    fn sent(&self) -> Vec<Sent> {
        self.load.as_ref().map(Load::sent).unwrap_or_default()
    }

    /// Ends client, workloads and daemon in good order, and keeps the records.
    fn end(mut self) -> Result<PathBuf> {
        self.load = None;
        let journal = self.house.events();
        self.house.close();
        let kept = kept()?;
        let lines =
            journal.iter().map(|record| serde_json::to_string(record).map(|line| line + "\n"));
        fs::write(kept.join("journal.jsonl"), lines.collect::<Result<String, _>>()?)?;
        for name in ["client.jsonl", "injector.jsonl", "daemon.log", "homeostat.toml"] {
            copy(&self.record(name), &kept.join(name))?;
        }
        Ok(kept)
    }
}

/// The folder for the records: the one that was asked for, or one beside the
/// programs, which may be somebody else's.
fn kept() -> Result<PathBuf> {
    let asked = std::env::args_os().nth(1).map(PathBuf::from);
    let kept = asked.unwrap_or_else(|| {
        let own = program::target().join("demo");
        let _ = fs::remove_dir_all(&own);
        own
    });
    fs::create_dir_all(&kept).with_context(|| format!("{} cannot be made", kept.display()))?;
    Ok(kept)
}

/// What was never written, because it never came to that, is no error.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.exists() {
        fs::copy(from, to)?;
    }
    Ok(())
}

fn good(sent: &[Sent], server: &str) -> usize {
    sent.iter().filter(|sent| sent.server == server && sent.result == Outcome::Good).count()
}
