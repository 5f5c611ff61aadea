//! Writing down: alone, and in company.

use std::time::Instant;

use anyhow::{Context, Result};
use homeostat::config::StoreConfig;
use homeostat::model::{self, Event, IncidentId};
use homeostat::store::{Journal, Store};
use homeostat_tests::program;

use crate::row::{Row, percentile};

const ALONE: usize = 200;
const TOGETHER: usize = 2_000;

pub fn rows() -> Result<Vec<Row>> {
    // On the disk the build lies on, not on a temporary file system in memory.
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(program::target())?;
    let config = StoreConfig { max_bytes: 64 << 20, cache_bytes: 2 << 20, commit_window_ms: 2 };
    let mut store = Store::open(folder.path(), &config, 0)?.store;
    let mut journal = store.journal();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;

    let mut alone_ms = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        let begun = Instant::now();
        let seq = append(&mut journal);
        runtime.block_on(until_durable(&journal, seq))?;
        alone_ms.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    alone_ms.sort_by(f64::total_cmp);

    let begun = Instant::now();
    let mut last = 0;
    for _ in 0..TOGETHER {
        last = append(&mut journal);
    }
    let handed_us = begun.elapsed().as_secs_f64() * 1e6 / TOGETHER as f64;
    runtime.block_on(until_durable(&journal, last))?;
    let each_us = begun.elapsed().as_secs_f64() * 1e6 / TOGETHER as f64;

    drop(journal);
    store.close();
    let at = |percent| percentile(&alone_ms, percent).unwrap_or(f64::NAN);
    Ok(vec![
        Row::new("journal: one record, until durable, p50", at(50), "ms"),
        Row::new("journal: one record, until durable, p99", at(99), "ms"),
        Row::new(format!("journal: each of {TOGETHER} together, until durable"), each_us, "µs"),
        Row::new("journal: append, without waiting", handed_us, "µs"),
    ])
}

fn append(journal: &mut Journal) -> u64 {
    let event = Event::ProofSeen {
        incident: IncidentId(1),
        good: true,
        detail: "workload:digits/infer: status 200".into(),
    };
    journal.append(model::Instant::default(), event).seq
}

async fn until_durable(journal: &Journal, seq: u64) -> Result<()> {
    let mut durable = journal.durable();
    durable.wait_for(|durable| durable.seq >= seq).await.context("the writer ended")?;
    Ok(())
}
