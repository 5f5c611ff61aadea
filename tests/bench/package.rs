//! From a plugin file to a component that may run.

use std::time::Instant;

use anyhow::{Result, ensure};
use homeostat::plugin::CodeOrigin;
use homeostat::plugin::package::{Admission, Package};
use homeostat::trust::Keyring;
use serde_json::json;

use crate::call::Bench;
use crate::row::{Row, percentile};

const ROUNDS: usize = 100;

pub fn rows() -> Result<Vec<Row>> {
    let bench = Bench::new()?;
    let config = bench.config("liveness", &json!({}));
    let bytes = Package::read(&config.package)?;
    let ring = Keyring::new(&bench.trust)?;

    let verify = median_ms(|| {
        Package::verify(&bytes, &ring, &Admission::of(&config, 0))?;
        Ok(())
    })?;
    let begun = Instant::now();
    let compiled = bench.host.load(&config, 0)?;
    let cold_ms = begun.elapsed().as_secs_f64() * 1e3;
    ensure!(compiled.origin() == CodeOrigin::Compiled, "the first load found a cache");
    let cached = median_ms(|| {
        let loaded = bench.host.load(&config, 0)?;
        ensure!(loaded.origin() == CodeOrigin::Cached, "a later load compiled");
        Ok(())
    })?;
    let note = format!("liveness, {} kB", bytes.len() / 1000);
    Ok(vec![
        Row::new("package: verify, p50", verify, "ms").note(note),
        Row::new("package: verify, compile, self-test", cold_ms, "ms")
            .note("in a process of its own"),
        Row::new("package: verify, load from the cache, self-test, p50", cached, "ms"),
    ])
}

fn median_ms(mut one: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut taken = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        one()?;
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    taken.sort_by(f64::total_cmp);
    Ok(percentile(&taken, 50).unwrap_or(f64::NAN))
}
