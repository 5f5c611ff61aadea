//! What a production line says *not now* with, asked over and over.
//!
//! Invariant: it reads and never judges. Of each interlock one question is in
//! flight at most; one that never returns is not asked again, and whoever
//! judges sees its last answer grow old.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::outlet::{Open, Outlet};
use super::probe::Prober;
use super::{InterlockResult, ended};
use crate::clock::Clock;
use crate::config::ProbeConfig;

/// Asks until stopped.
pub(super) async fn watch(
    config: ProbeConfig,
    clock: Clock,
    outlet: Outlet,
    stop: watch::Receiver<bool>,
) {
    let prober = Prober::new(&config.kind, &stop);
    let mut stopped = stop.clone();
    tokio::select! {
        () = ended(&mut stopped) => {}
        () = ask(config, clock, outlet, prober) => {}
    }
}

async fn ask(config: ProbeConfig, clock: Clock, outlet: Outlet, mut prober: Prober) {
    let mut ticks = interval(Duration::from_millis(config.period_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let verdict = prober.ask(Duration::from_millis(config.timeout_ms)).await;
        let result = InterlockResult {
            name: config.name.clone(),
            clear: verdict.good,
            age_ms: clock.age_ms(),
            detail: verdict.detail,
        };
        if outlet.interlock(result).await == Open::No {
            return;
        }
    }
}
