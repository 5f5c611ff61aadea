//! One rule over one series.
//!
//! Invariant: only a reading raises or clears; a hole changes nothing but how
//! long the series has been out of sight.

use std::collections::VecDeque;

use homeostat_sdk::latch::{forget, trim};
use homeostat_sdk::text::{number, selects, short};
use homeostat_sdk::{Finding, Series};
use serde::{Deserialize, Serialize};

use crate::config::{SeriesRule, When};

/// A pause in the readings longer than so many periods, and than the floor,
/// breaks what lasts: nobody knows what happened meanwhile.
const GAP_PERIODS: u64 = 3;
const GAP_MS_MIN: u64 = 10_000;
/// A series that never brought a reading is waited for so long before its
/// target is judged without it.
const BLIND_PERIODS: u64 = 5;
const BLIND_MS_MIN: u64 = 30_000;

pub struct Watch {
    pub rule: usize,
    pub column: usize,
    /// Index of its target.
    pub target: usize,
    pub memory: Memory,
    period_ms: u64,
    /// What `message` needs to know.
    series: Series,
}

/// What outlives a restart, under the watch's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    pub standing: Option<Standing>,
    beyond_since_age_ms: Option<u64>,
    last_age_ms: u64,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    hits: VecDeque<u64>,
    /// Whether it may be called well: it was seen well, or was raised by us.
    known: bool,
    #[serde(skip)]
    blind_ms: u64,
}

impl Memory {
    /// Whether a life without it would say something else.
    pub fn is_worth_saving(&self) -> bool {
        self.standing.is_some() || self.beyond_since_age_ms.is_some() || !self.hits.is_empty()
    }

    pub fn trim(&mut self, hits_left: &mut usize) {
        trim(&mut self.hits, hits_left);
    }
}

/// What was seen when it was raised; it does not change while it stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Standing {
    since_age_ms: u64,
    value: f64,
    count: usize,
}

impl Watch {
    pub fn new(rule: usize, column: usize, target: usize, series: &Series) -> Self {
        Self {
            rule,
            column,
            target,
            memory: Memory::default(),
            period_ms: series.period_ms.into(),
            series: series.clone(),
        }
    }

    /// Names its memory: the rule, and what tells the series from others.
    pub fn key(&self, rule: &SeriesRule) -> String {
        let Series { name, target, labels, .. } = &self.series;
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let place =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}/{target}/{name}{place}", rule.rule.name)
    }

    pub fn reading(&mut self, age_ms: u64, value: f64, rule: &SeriesRule) {
        let beyond = rule.op.is_beyond(value, rule.raise);
        let memory = &mut self.memory;
        match rule.when {
            When::Lasting { for_ms, clear } => {
                let gap_ms = (self.period_ms * GAP_PERIODS).max(GAP_MS_MIN);
                if age_ms.saturating_sub(memory.last_age_ms) > gap_ms || !beyond {
                    memory.beyond_since_age_ms = None;
                }
                if beyond {
                    let since_age_ms = *memory.beyond_since_age_ms.get_or_insert(age_ms);
                    if memory.standing.is_none() && age_ms.saturating_sub(since_age_ms) >= for_ms {
                        memory.standing = Some(Standing { since_age_ms, value, count: 1 });
                    }
                } else if !rule.op.is_beyond(value, clear) {
                    memory.standing = None;
                }
            }
            When::Repeated { times, within_ms } => {
                if beyond {
                    memory.hits.push_back(age_ms);
                }
                forget(&mut memory.hits, age_ms, times, within_ms);
                let (count, since_age_ms) = (memory.hits.len(), age_ms);
                if count < times {
                    memory.standing = None;
                } else if memory.standing.is_none() {
                    memory.standing = Some(Standing { since_age_ms, value, count });
                }
            }
        }
        memory.known |= !beyond || memory.standing.is_some();
        memory.last_age_ms = age_ms;
    }

    /// A frame without a reading.
    pub fn pass(&mut self, passed_ms: u64) {
        if !self.memory.known {
            self.memory.blind_ms += passed_ms.min(self.period_ms.max(1_000));
        }
    }

    /// Whether its target can be judged in spite of it.
    pub fn is_known(&self) -> bool {
        let blind_ms_max = (self.period_ms * BLIND_PERIODS).max(BLIND_MS_MIN);
        self.memory.known || (self.memory.last_age_ms == 0 && self.memory.blind_ms > blind_ms_max)
    }

    pub fn finding(&self, rule: &SeriesRule) -> Option<Finding> {
        let Standing { since_age_ms, value, count } = self.memory.standing?;
        let Series { name, unit, target, .. } = &self.series;
        let message = rule.rule.message.fill(|gap| match gap {
            "target" => Some(short(target).to_owned()),
            "rule" => Some(rule.rule.name.clone()),
            "series" => Some(name.clone()),
            "unit" => Some(unit.clone()),
            "value" => Some(number(value)),
            "raise" => Some(number(rule.raise)),
            "count" => Some(count.to_string()),
            "within" => match rule.when {
                When::Repeated { within_ms, .. } => Some(number(within_ms as f64 / 1_000.0)),
                When::Lasting { .. } => None,
            },
            gap => self.series.label(gap.strip_prefix("label:")?).map(str::to_owned),
        });
        let mut finding = Finding::new(&rule.rule.kind, target, message)
            .severity(rule.rule.severity)
            .column(self.column)
            .with("value", value)
            .with("raise", rule.raise)
            .with("since_age_ms", since_age_ms);
        finding.key = self.key(rule);
        Some(if count > 1 { finding.with("count", count as u64) } else { finding })
    }
}

/// Whether `rule` watches `series`.
pub fn watches(rule: &SeriesRule, series: &Series) -> bool {
    let labelled = |(name, selector): (&String, &String)| {
        series.label(name).is_some_and(|value| selects(selector, value))
    };
    selects(&rule.series, &series.name)
        && selects(&rule.rule.target, &series.target)
        && rule.labels.iter().all(labelled)
}
