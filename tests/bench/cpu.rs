//! What it takes of a core while nothing happens.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use homeostat_tests::Plan;
use serde_json::{Value, json};

use crate::copies;
use crate::row::Row;

const DETECTORS: usize = 10;
const SERIES: usize = 500;
const RUNNING: usize = 10;
const SPAN: Duration = Duration::from_secs(30);

pub fn rows() -> Result<Vec<Row>> {
    let rule = json!({ "name": "high", "series": "*", "op": ">", "raise": 1e18, "clear": 1e17 });
    let keys = json!({ "config": { "rules": [rule] }, "period_s": 1 });
    let plan = Plan::plain().with(|settings| {
        settings.set("source.period_s", 1);
        for n in 0..60 {
            settings.push("workload", workload(n));
        }
    });
    let mut house = copies::add(plan, "threshold", DETECTORS, &keys)?.raise();
    let bound = house.until_view("every detector to be called a few times", |view| {
        let ready = view.plugins.iter().all(|it| it.calls >= 5);
        ready.then(|| view.plugins[0].detail.clone())
    });
    let series: usize = bound.split(' ').next().unwrap_or_default().parse().unwrap_or(0);
    ensure!(series >= SERIES, "{bound}, wanted {SERIES}");

    let pid = house.daemon().pid();
    let (begun, before_ns) = (Instant::now(), cpu_ns(pid)?);
    std::thread::sleep(SPAN);
    let used_ns = cpu_ns(pid)? - before_ns;
    let percent = used_ns as f64 / begun.elapsed().as_nanos() as f64 * 100.0;
    Ok(vec![
        Row::new(
            format!("{DETECTORS} detectors × {SERIES} series at 1 Hz"),
            percent,
            "% of a core",
        )
        .at_most(0.5)
        .note(format!("{bound}; {RUNNING} workloads run, over {} s", SPAN.as_secs())),
    ])
}

fn workload(n: usize) -> Value {
    let desired = if n < RUNNING { "running" } else { "stopped" };
    json!({ "name": format!("w{n}"), "command": ["/bin/sleep", "1000000"], "desired": desired })
}

/// Nanoseconds on a core, of all threads (`/proc/PID/task/TID/schedstat`).
fn cpu_ns(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().unwrap_or("0").parse::<u64>()?;
    }
    Ok(sum)
}
