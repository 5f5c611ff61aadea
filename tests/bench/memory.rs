//! What it takes of a box's memory, and how soon it protects.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use homeostat::model::View;
use homeostat::model::view::PluginState;
use homeostat_tests::{Plan, TestBox};
use serde_json::json;

use crate::copies;
use crate::row::Row;

const STARTS: usize = 10;

pub fn rows() -> Result<Vec<Row>> {
    let plan = Plan::plain()
        .with(|settings| {
            settings
                .push("workload", json!({ "name": "idle", "command": ["/bin/sleep", "1000000"] }));
        })
        .detector("liveness", json!({}))
        .detector("threshold", json!({ "rules": [] }))
        .healer("ladder", json!({}));
    let plan = copies::add(plan, "echo", 7, &json!({}))?;
    let mut house = plan.raise();
    house.until_view("every detector to be called a few times", |view| {
        let called = |it: &&homeostat::model::view::PluginView| it.world != "healer";
        view.plugins.iter().filter(called).all(|it| it.calls >= 5).then_some(())
    });
    let shim = house.workload("idle").shim_pid.context("the workload has a shim")?;
    let (daemon, shim) = (pss_mb(house.daemon().pid())?, pss_mb(shim)?);

    let mut taken_ms = Vec::new();
    for _ in 0..STARTS {
        house.stop_daemon();
        taken_ms.push(until_protected_ms(&mut house)?);
    }
    taken_ms.sort_by(f64::total_cmp);
    Ok(vec![
        Row::new("PSS of the daemon, 10 plugins and the API", daemon, "MB")
            .at_most(12.0)
            .note("no MQTT yet"),
        Row::new("PSS of a shim", shim, "MB").at_most(1.0),
        Row::new("start to first protection, plugins cached, p50", taken_ms[STARTS / 2], "ms")
            .at_most(150.0)
            .note("10 plugins; until the socket says that none is unprotected"),
    ])
}

fn until_protected_ms(house: &mut TestBox) -> Result<f64> {
    let begun = Instant::now();
    house.spawn(&[]);
    while !house.client.view().is_ok_and(|view| is_protected(&view)) {
        ensure!(begun.elapsed() < Duration::from_secs(10), "not protected after 10 s");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}

fn is_protected(view: &View) -> bool {
    view.plugins.len() == 10
        && view.plugins.iter().all(|it| it.state == PluginState::Running)
        && view.unprotected.is_empty()
}

/// Proportional set size: shared pages count once, divided among their users.
fn pss_mb(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss line")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}
