//! One series of one link.
//!
//! Invariant: what it raised is cleared by a reading of that series alone.

use homeostat_sdk::level::{Level, Limit, Side, Standing};
use homeostat_sdk::text::{amount, number, short, span};
use homeostat_sdk::{ERROR, Finding, Series, WARNING};
use serde::{Deserialize, Serialize};

use crate::config::Rule;
use crate::counter::{RATE_MS, Rate, Recent};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Carrier,
    Changes,
    Errors,
    Drops,
    Latency,
    Loss,
}

#[derive(Debug)]
pub struct Watch {
    pub column: usize,
    what: What,
    rule: Rule,
    series: Series,
    pub memory: Memory,
}

/// What outlives a restart, under the watch's key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    level: Level,
    #[serde(default)]
    was_up: bool,
    #[serde(default)]
    rate: Rate,
    #[serde(default)]
    recent: Recent,
}

impl Memory {
    /// Counters of a box begin anew with it.
    pub fn booted(&mut self) {
        (self.rate, self.recent) = (Rate::default(), Recent::default());
    }
}

impl What {
    pub fn of(series: &str) -> Option<Self> {
        Some(match series {
            "hw.network.up" => Self::Carrier,
            "system.network.carrier_changes" => Self::Changes,
            "system.network.errors" => Self::Errors,
            "system.network.packet.dropped" => Self::Drops,
            "homeostat.link.latency" => Self::Latency,
            "homeostat.link.loss" => Self::Loss,
            _ => return None,
        })
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Carrier => "link.down",
            Self::Changes => "link.flapping",
            Self::Errors => "link.errors",
            Self::Drops => "link.drops",
            Self::Latency => "link.slow",
            Self::Loss => "link.loss",
        }
    }

    /// Half of the limit is well again: what is at it flutters.
    fn limit(self, rule: &Rule) -> Limit {
        let ms = |seconds: f64| (seconds * 1_000.0) as u64;
        let above = |raise: f64, for_s: f64| Limit {
            side: Side::Above,
            raise,
            margin: raise / 2.0,
            for_ms: ms(for_s),
        };
        match self {
            Self::Carrier => {
                Limit { side: Side::Below, raise: 0.0, margin: 0.0, for_ms: ms(rule.down_s) }
            }
            Self::Changes => above(f64::from(rule.flap_changes), 0.0),
            Self::Errors => above(rule.errors_per_s, rule.for_s),
            Self::Drops => above(rule.drops_per_s, rule.for_s),
            Self::Latency => above(rule.latency_s, rule.for_s),
            Self::Loss => above(rule.loss, rule.for_s),
        }
    }
}

impl Watch {
    pub fn new(what: What, rule: Rule, column: usize, series: &Series) -> Self {
        Self { column, what, rule, series: series.clone(), memory: Memory::default() }
    }

    /// Names its memory, and its finding.
    pub fn key(&self) -> String {
        let Series { target, labels, .. } = &self.series;
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let place =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}/{target}{place}", self.what.kind())
    }

    pub fn reading(&mut self, age_ms: u64, value: f64) {
        let (memory, limit) = (&mut self.memory, self.what.limit(&self.rule));
        let mut period_ms = self.series.period_ms;
        let value = match self.what {
            What::Carrier => {
                memory.was_up |= value > 0.0;
                if !memory.was_up && !self.rule.expected {
                    return;
                }
                value
            }
            What::Changes => {
                let window_ms = (self.rule.flap_window_s * 1_000.0) as u64;
                f64::from(memory.recent.reading(age_ms, value, window_ms))
            }
            What::Errors | What::Drops => match memory.rate.reading(age_ms, value) {
                Some(rate) => {
                    period_ms = period_ms.max(RATE_MS as u32);
                    rate
                }
                None => return,
            },
            What::Latency | What::Loss => value,
        };
        memory.level.reading(age_ms, value, &limit, period_ms);
    }

    pub fn finding(&self) -> Option<Finding> {
        let standing = self.memory.level.standing?;
        let limit = self.what.limit(&self.rule).raise;
        let severity = if self.what == What::Carrier { ERROR } else { WARNING };
        let mut finding =
            Finding::new(self.what.kind(), &self.series.target, self.message(standing, limit))
                .severity(severity)
                .column(self.column)
                .with("value", standing.value)
                .with("limit", limit)
                .with("since_age_ms", standing.since_age_ms);
        finding.key = self.key();
        Some(finding)
    }

    fn message(&self, standing: Standing, limit: f64) -> String {
        let (name, value) = (short(&self.series.target), number(standing.value));
        // The direction, or the host.
        let place: Vec<_> = self.series.labels.iter().map(|(_, value)| value.as_str()).collect();
        let place = place.join(" ");
        let limit_text = number(limit);
        match self.what {
            What::Carrier => {
                format!("{name} has no carrier: look at cable, socket and the other end")
            }
            What::Changes => format!(
                "the carrier of {name} came or went {value} times in {}: look at cable and socket",
                span(self.rule.flap_window_s)
            ),
            What::Errors => {
                format!("{name} has {value} errors a second ({place}), the limit is {limit_text}")
            }
            What::Drops => {
                format!(
                    "{name} drops {value} packets a second ({place}), the limit is {limit_text}"
                )
            }
            What::Latency => {
                format!("{place} answers {name} after {value} s, the limit is {limit_text} s")
            }
            What::Loss => format!(
                "of what {name} sends to {place}, {} is lost, the limit is {}",
                amount(standing.value, "1"),
                amount(limit, "1")
            ),
        }
    }
}
