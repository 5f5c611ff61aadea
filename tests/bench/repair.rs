//! A process dies: how long until its successor's first instruction?
//!
//! The workload is this program itself: the first thing it does is to write
//! down when. On a file system in memory a durable write costs nothing, so the
//! difference between the two rows is the disk's.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use homeostat::model::TargetId;
use homeostat_tests::{Plan, TestBox, process, program};
use model_server::moment::Moment;
use serde_json::{Value, json};

use crate::row::{Row, percentile};

pub const SUCCESSOR: &str = "--successor";
const KILLS: usize = 200;
/// Killed in turns, so that each is well again before it is killed again.
const WORKLOADS: usize = 8;

/// Writes down when it began, then sleeps until it is killed.
pub fn succeed(log: Option<&str>) -> ExitCode {
    let now = Moment::now();
    let Some(log) = log else { return ExitCode::FAILURE };
    let file = fs::File::options().create(true).append(true).open(log);
    let line = format!("{} {}\n", now.mono_ns, std::process::id());
    if file.and_then(|mut file| file.write_all(line.as_bytes())).is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        std::thread::park();
    }
}

pub fn rows() -> Result<Vec<Row>> {
    let memory = Path::new("/dev/shm");
    let mut rows = Vec::new();
    if memory.is_dir() {
        rows.extend(killed("without a durable write", memory, Some(5.0))?);
    }
    rows.extend(killed("with the durable write", &program::target(), None)?);
    Ok(rows)
}

fn killed(how: &str, under: &Path, ceiling: Option<f64>) -> Result<Vec<Row>> {
    let state = tempfile::Builder::new().prefix("bench-").tempdir_in(under)?;
    let house = plan(state.path())?.raise();
    let mut taken_ms = Vec::with_capacity(KILLS);
    let mut lives = Vec::new();
    for n in 0..WORKLOADS {
        lives.push(until_life(&log(&house, n), 1)?);
    }
    for kill in 0..KILLS {
        let n = kill % WORKLOADS;
        until_well(&house, n)?;
        let (_, pid) = lives[n];
        let killed = Moment::now();
        process::kill(pid);
        let successor = until_life(&log(&house, n), kill / WORKLOADS + 2)?;
        taken_ms.push((successor.0.saturating_sub(killed.mono_ns)) as f64 / 1e6);
        lives[n] = successor;
    }
    taken_ms.sort_by(f64::total_cmp);
    let row = |percent| -> Result<Row> {
        let value = percentile(&taken_ms, percent).context("no kill was measured")?;
        let row = Row::new(format!("killed → restarted, {how}, p{percent}"), value, "ms");
        Ok(row.note(format!("{KILLS} kills")))
    };
    let p50 = row(50)?;
    Ok(vec![
        match ceiling {
            Some(ceiling) => p50.at_most(ceiling),
            None => p50,
        },
        row(99)?,
    ])
}

fn log(house: &TestBox, n: usize) -> PathBuf {
    house.folder().join(format!("w{n}.log"))
}

fn plan(state: &Path) -> Result<Plan> {
    let own = std::env::current_exe()?;
    let plan = Plan::bare();
    let logs: Vec<_> = (0..WORKLOADS).map(|n| plan.path().join(format!("w{n}.log"))).collect();
    let workload = |n: usize, log: &Path| -> Value {
        json!({ "name": format!("w{n}"), "command": [own, SUCCESSOR, log] })
    };
    Ok(plan
        .with(|settings| {
            settings.set("paths.state", json!(state)).set("guard.cooldown_ms", 0);
            settings.set("guard.rate_max", 10_000);
            for (n, log) in logs.iter().enumerate() {
                settings.push("workload", workload(n, log));
            }
        })
        .detector("liveness", json!({}))
        .healer("ladder", Plan::ladder(1000, 0.1)))
}

/// When the life of that number began (monotonic nanoseconds), and its process,
/// as a [`succeed`]ing program wrote it down.
pub fn until_life(log: &Path, number: usize) -> Result<(u64, u32)> {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(log).unwrap_or_default();
        let mut lines = text.lines().skip(number - 1);
        if let Some((at, pid)) = lines.next().and_then(|line| line.split_once(' ')) {
            return Ok((at.parse()?, pid.parse()?));
        }
        let waited = begun.elapsed();
        ensure!(waited < Duration::from_secs(20), "{}: no life {number}", log.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// No incident of it is open, so that the next kill opens one of its own.
fn until_well(house: &TestBox, n: usize) -> Result<()> {
    let root = TargetId::workload(&format!("w{n}"));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let view = house.client.view()?;
        let mut of_it = view.incidents.iter().filter(|incident| incident.root == root);
        if of_it.all(|incident| incident.phase == "closed") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("an incident stays open: {:#?}", house.view().incidents)
}
