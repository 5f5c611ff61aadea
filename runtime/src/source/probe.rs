//! Asking a target whether it does its work, over and over.
//!
//! ```text
//!          period, or hasten              ended
//!   idle ───────────────────▶ in flight ─────────▶ result: good, bad or none
//!                                 │  past its timeout
//!                                 └──▶ overdue, said again and again until it ends
//! ```
//!
//! Invariant: of each probe one is in flight at most, however long it takes, and
//! none of them can hold up another. A probe that never returns is not asked
//! again, because that could be as endless; it is heard of by its growing
//! `homeostat.probe.overdue`.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

pub(super) use self::kind::Prober;
use super::outlet::{Open, Outlet};
use super::read::Said;
use super::series::{Registry, Values};
use super::{ProbeResult, ended};
use crate::clock::{self, Clock};
use crate::config::{ProbeConfig, ProbeKind};
use crate::model::{Batch, SeriesId, TargetId};

mod command;
mod kind;

/// While a proof is wanted, a probe begins this often.
const HASTENED_PERIOD: Duration = Duration::from_millis(250);
/// Probes of a box do not all begin at once, and none waits longer than this to begin.
const JITTER_MAX: Duration = Duration::from_secs(1);
/// An overdue probe is spoken of this often at least.
const OVERDUE_STEP_MAX: Duration = Duration::from_secs(1);
const OVERDUE_STEP_MIN: Duration = Duration::from_millis(20);

/// What a probe found. `good` is none when it could not judge.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub good: Option<bool>,
    pub detail: String,
    /// What it measured besides, by label.
    pub numbers: Vec<(String, f64)>,
}

impl Verdict {
    fn good(detail: impl Into<String>) -> Self {
        Self { good: Some(true), detail: detail.into(), numbers: Vec::new() }
    }

    fn bad(detail: impl Into<String>) -> Self {
        Self { good: Some(false), detail: detail.into(), numbers: Vec::new() }
    }

    fn none(detail: impl Into<String>) -> Self {
        Self { good: None, detail: detail.into(), numbers: Vec::new() }
    }
}

#[derive(Debug)]
pub(super) struct Probe {
    target: TargetId,
    config: ProbeConfig,
    up: SeriesId,
    duration: SeriesId,
    overdue: SeriesId,
    /// By label, of what its command measures.
    perfdata: Vec<(String, SeriesId)>,
}

/// What a probe needs of the room while it runs.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub clock: Clock,
    pub outlet: Outlet,
    /// The age until which this probe's target is in haste; a change means *now*.
    pub haste: watch::Receiver<u64>,
    pub stop: watch::Receiver<bool>,
}

impl Probe {
    pub(super) fn new(target: &TargetId, config: &ProbeConfig, registry: &mut Registry) -> Self {
        registry.set_period_ms(config.period_ms);
        let labels = [("probe", config.name.as_str())];
        let wanted: &[String] = match &config.kind {
            ProbeKind::Command { perfdata, .. } => perfdata,
            _ => &[],
        };
        let perfdata = wanted
            .iter()
            .map(|label| {
                let labels = [labels[0], ("label", label.as_str())];
                let series = registry.add("homeostat.probe.perfdata", "1", target, &labels);
                (label.clone(), series)
            })
            .collect();
        let mut gauge = |name, unit| registry.add(name, unit, target, &labels);
        Self {
            perfdata,
            up: gauge("homeostat.probe.up", "1"),
            duration: gauge("homeostat.probe.duration", "s"),
            overdue: gauge("homeostat.probe.overdue", "s"),
            target: target.clone(),
            config: config.clone(),
        }
    }

    pub(super) fn target(&self) -> &TargetId {
        &self.target
    }

    /// Probes until stopped.
    pub(super) async fn watch(self, around: Surroundings) {
        let prober = Prober::new(&self.config.kind, &around.stop);
        let mut stop = around.stop.clone();
        tokio::select! {
            () = ended(&mut stop) => {}
            () = Watch::new(self, around).run(prober) => {}
        }
    }

    fn period(&self) -> Duration {
        Duration::from_millis(self.config.period_ms.max(1))
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    /// The same for the same probe each time, so that a recording can be compared.
    fn jitter(&self) -> Duration {
        let hash = clock::spread([self.target.as_str(), self.config.name.as_str()].join("/"));
        let span = self.period().min(JITTER_MAX).as_millis() as u64;
        Duration::from_millis(hash % span)
    }
}

/// A probe at work.
struct Watch {
    probe: Probe,
    clock: Clock,
    outlet: Outlet,
    haste: watch::Receiver<u64>,
    said: Said,
}

/// When a probe in flight began, on both clocks.
#[derive(Clone, Copy)]
struct Began {
    age_ms: u64,
    at: Instant,
}

impl Watch {
    fn new(probe: Probe, around: Surroundings) -> Self {
        let said = Said::new(format!("probe {} of {}", probe.config.name, probe.target));
        let Surroundings { clock, outlet, haste, stop: _ } = around;
        Self { probe, clock, outlet, haste, said }
    }

    async fn run(mut self, mut prober: Prober) {
        let mut next = Instant::now() + self.probe.jitter();
        loop {
            tokio::select! {
                () = sleep_until(next) => {}
                changed = self.haste.changed() => if changed.is_err() { return },
            }
            // Haste asked for from here on wants a probe that begins later than this one.
            self.haste.borrow_and_update();
            let began = Began { age_ms: self.clock.age_ms(), at: Instant::now() };
            let Some(verdict) = self.one(&mut prober, began).await else { return };
            if self.tell(began, verdict).await == Open::No {
                return;
            }
            next = (began.at + self.pause()).max(Instant::now());
        }
    }

    fn pause(&self) -> Duration {
        let period = self.probe.period();
        match self.clock.age_ms() < *self.haste.borrow() {
            true => period.min(HASTENED_PERIOD),
            false => period,
        }
    }

    /// One probe from begin to end. None when nobody listens any more.
    async fn one(&mut self, prober: &mut Prober, began: Began) -> Option<Verdict> {
        let timeout = self.probe.timeout();
        let step = self.probe.period().clamp(OVERDUE_STEP_MIN, OVERDUE_STEP_MAX);
        let mut late = interval_at(began.at + timeout + step, step);
        late.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut verdict = pin!(prober.ask(timeout));
        let mut times_late = 0_u64;
        loop {
            tokio::select! {
                biased;
                verdict = &mut verdict => return Some(verdict),
                _ = late.tick() => {
                    times_late += 1;
                    if self.tell_late(began, times_late).await == Open::No {
                        return None;
                    }
                }
            }
        }
    }

    async fn tell(&mut self, began: Began, verdict: Verdict) -> Open {
        let known = verdict.good.ok_or(&verdict.detail);
        let mut values = vec![(self.probe.overdue, 0.0)];
        if let Some(good) = self.said.note(known) {
            values.push((self.probe.up, f64::from(u8::from(good))));
            values.push((self.probe.duration, began.at.elapsed().as_secs_f64()));
            let numbers = verdict.numbers.iter();
            values.extend(numbers.filter_map(|(label, value)| {
                let (_, series) = self.probe.perfdata.iter().find(|(wanted, _)| wanted == label)?;
                Some((*series, *value))
            }));
        }
        self.send(began, Some(verdict), values).await
    }

    /// How late it is, again and again; that it is late, as a result, once.
    async fn tell_late(&mut self, began: Began, times: u64) -> Open {
        let late = began.at.elapsed().saturating_sub(self.probe.timeout());
        let first = (times == 1).then(|| {
            let timeout_ms = self.probe.config.timeout_ms;
            Verdict::none(format!("it has not returned, and had {timeout_ms} ms to"))
        });
        if let Some(verdict) = &first {
            self.said.note(Err::<(), _>(&verdict.detail));
        }
        self.send(began, first, vec![(self.probe.overdue, late.as_secs_f64())]).await
    }

    async fn send(&self, began: Began, verdict: Option<Verdict>, values: Values) -> Open {
        let age_ms = self.clock.age_ms();
        if let Some(Verdict { good, detail, .. }) = verdict {
            let result = ProbeResult {
                target: self.probe.target.clone(),
                probe: self.probe.config.name.clone(),
                good,
                began_age_ms: began.age_ms,
                age_ms,
                detail,
            };
            if self.outlet.probe(result).await == Open::No {
                return Open::No;
            }
        }
        self.outlet.batch(Batch { age_ms, values })
    }
}

#[cfg(test)]
mod tests;
