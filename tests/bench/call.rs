//! One call across the boundary: a frame in, a report out.

use std::time::Instant;

use anyhow::{Result, anyhow};
use homeostat::config::{Paths, PluginConfig, PublisherKey, TrustConfig};
use homeostat::model::{Frame, Series, TargetId};
use homeostat::plugin::Host;
use homeostat_tests::program::{self, packaged};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::copies;
use crate::row::{Row, percentile};

const SERIES: usize = 256;
const CALLS: usize = 50_000;

pub fn rows() -> Result<Vec<Row>> {
    let rule = json!({ "name": "high", "series": "*", "op": ">", "raise": 1e9, "clear": 1e8 });
    Ok(vec![
        call("echo", &json!({}))?.at_most(2.0),
        call("threshold", &json!({ "rules": [rule] }))?.at_most(10.0).note("one rule over all"),
    ])
}

/// The median of many calls with one row of readings each.
fn call(plugin: &str, config: &Value) -> Result<Row> {
    let bench = Bench::new()?;
    let config = bench.config(plugin, config);
    let loaded = bench.host.load(&config, 0)?;
    let mut session = bench.host.open_detector(&loaded)?;
    let fault = |fault| anyhow!("{plugin}: {fault}");
    session.configure(&config.config).map_err(fault)?;
    session.bind(series()).map_err(fault)?;

    let mut taken_us = Vec::with_capacity(CALLS);
    for seq in 0..CALLS as u64 {
        let frame = frame(seq);
        let begun = Instant::now();
        session.observe(frame).map_err(fault)?;
        taken_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    taken_us.sort_by(f64::total_cmp);
    let median = percentile(&taken_us, 50).unwrap_or(f64::NAN);
    Ok(Row::new(format!("call of {plugin}, {SERIES} series, p50"), median, "µs"))
}

fn series() -> Vec<Series> {
    let one = |n: usize| Series {
        name: format!("bench.{n}"),
        unit: "1".into(),
        target: TargetId::the_box(),
        period_ms: 1000,
        labels: Vec::new(),
    };
    (0..SERIES).map(one).collect()
}

fn frame(seq: u64) -> Frame {
    let mut frame = Frame { seq, rows: vec![seq * 1000], ..Frame::default() };
    frame.now.age_ms = seq * 1000;
    frame.values = (0..SERIES).map(|n| n as f64).collect();
    frame
}

/// A host with a cache of its own, that trusts whom the tests trust.
pub struct Bench {
    pub host: Host,
    pub trust: TrustConfig,
    _folder: TempDir,
}

impl Bench {
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let paths = Paths {
            state: folder.path().join("state"),
            run: folder.path().join("run"),
            programs: program::program("homeostat-compile").with_file_name(""),
        };
        let publisher = &program::index().publisher;
        let key = copies::public_key(&publisher.key)?;
        let trust =
            TrustConfig { publishers: vec![PublisherKey { name: publisher.name.clone(), key }] };
        Ok(Self { host: Host::new(&paths, &trust, 4)?, trust, _folder: folder })
    }

    pub fn config(&self, plugin: &str, config: &Value) -> PluginConfig {
        let packaged = packaged(plugin);
        PluginConfig {
            name: plugin.into(),
            package: packaged.package.clone(),
            digest: packaged.digest.clone(),
            grants: Default::default(),
            config: config.to_string(),
            targets: vec!["*".into()],
            judges: Default::default(),
            period_ms: 1000,
            deadline_ms: 1000,
            memory_max_bytes: 16 << 20,
            checkpoint_ms: 60_000,
            backoff_ms: 1000,
            quarantine_faults: 5,
            quarantine_window_ms: 600_000,
        }
    }
}
