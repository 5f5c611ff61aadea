//! What a component costs on a recording: in the real engine, call by call.
//!
//! Invariant: measured, and beside a baseline in the same run, turn and turn
//! about, because a machine is never the same twice.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use homeostat_sdk::RawFrame;
use homeostat_sdk::recording::{Recording, Step};

use crate::player::Stage;

/// A round plays the recording once; so many, and for at least so long.
const ROUNDS_MIN: usize = 5;
const MEASURE: Duration = Duration::from_secs(2);
const ROUNDS_MAX: usize = 2_000;

#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Costs {
    pub calls: usize,
    pub rows: usize,
    /// Of a call, in nanoseconds.
    pub p50_ns: u128,
    pub p99_ns: u128,
    pub ns_per_row: f64,
    /// What a call executes on the mean, in wasmtime's units of fuel: the same on
    /// every machine.
    pub fuel_per_call: u64,
    /// Linear memory at the end, in bytes.
    pub memory_bytes: usize,
}

/// One that is measured.
pub struct Contender<'a> {
    pub stage: &'a Stage,
    pub recording: &'a Recording,
}

/// Costs of each, in their order.
pub fn run(contenders: &[Contender<'_>]) -> Result<Vec<Costs>> {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contenders.len()];
    let began = Instant::now();
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && began.elapsed() >= MEASURE {
            break;
        }
        for (contender, times) in contenders.iter().zip(&mut times) {
            contender.round(times)?;
        }
    }
    contenders.iter().zip(times).map(|(it, times)| it.costs(times)).collect()
}

impl Contender<'_> {
    fn frames(&self) -> impl Iterator<Item = &RawFrame> {
        self.recording.steps.iter().filter_map(|step| match step {
            Step::Frame(frame) => Some(frame),
            _ => None,
        })
    }

    /// A fresh instance, so that each round sees what the first did.
    fn round(&self, times: &mut Vec<Duration>) -> Result<()> {
        let mut session = self.stage.session(&config_of(self.recording))?;
        session.bind(&self.recording.header.series)?;
        for frame in self.frames() {
            let frame = session.frame(frame)?;
            let began = Instant::now();
            session.observe(frame).context("it did not survive the recording")?;
            times.push(began.elapsed());
        }
        Ok(())
    }

    /// Counted in a round of its own: a count does not change with the day.
    fn counted(&self) -> Result<(u64, usize)> {
        let mut session = self.stage.metered_session(&config_of(self.recording))?;
        session.bind(&self.recording.header.series)?;
        let before = session.fuel_used().unwrap_or(0);
        let mut calls = 0;
        for frame in self.frames() {
            let frame = session.frame(frame)?;
            session.observe(frame).context("it did not survive the recording")?;
            calls += 1;
        }
        let fuel = session.fuel_used().context("nothing was counted")? - before;
        Ok((fuel / calls.max(1), session.memory_bytes()))
    }

    fn costs(&self, mut times: Vec<Duration>) -> Result<Costs> {
        let (fuel_per_call, memory_bytes) = self.counted()?;
        times.sort_unstable();
        let at = |share: f64| -> u128 {
            let index = ((times.len() as f64 - 1.0) * share).round();
            times.get(index as usize).map_or(0, Duration::as_nanos)
        };
        let rows_once: usize = self.frames().map(|it| it.rows.len()).sum();
        let rounds = times.len() / self.frames().count().max(1);
        let rows = rows_once * rounds;
        let sum: u128 = times.iter().map(Duration::as_nanos).sum();
        Ok(Costs {
            calls: times.len(),
            rows,
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            ns_per_row: if rows == 0 { 0.0 } else { sum as f64 / rows as f64 },
            fuel_per_call,
            memory_bytes,
        })
    }
}

fn config_of(recording: &Recording) -> String {
    match &recording.header.config {
        serde_json::Value::Null => String::new(),
        config => config.to_string(),
    }
}

/// The frames of a recording as a plugin sees them, whoever made it.
pub fn seen(
    stage: &Stage,
    plugin: &str,
    recording: &Recording,
    how: &crate::replay::How,
) -> Result<Recording> {
    let seen = match recording.is_captured() {
        true => crate::replay::seen(stage, plugin, recording, how)?,
        false => recording.clone(),
    };
    if !seen.steps.iter().any(|it| matches!(it, Step::Frame(_))) {
        bail!("there is no frame in it that the plugin sees: it is a detector that is measured");
    }
    Ok(seen)
}
