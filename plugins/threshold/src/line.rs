//! One rule over the lines of one target.
//!
//! Invariant: a line is an edge; what it raised stands until a mark that the
//! rule names releases it, for no later silence proves that it did not happen.

use std::collections::VecDeque;

use homeostat_sdk::{Finding, Line};
use serde::{Deserialize, Serialize};

use crate::config::{LineRule, selects};
use crate::message::{number, quote};
use crate::series::{forget, short, trim};

/// Concerns every target of the box.
const BOOT: &str = "box.booted";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latch {
    /// Name of the rule.
    pub rule: String,
    pub target: String,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    hits: VecDeque<u64>,
    standing: Option<Standing>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Standing {
    since_age_ms: u64,
    count: usize,
    line: String,
}

impl Latch {
    /// One that has seen its first line.
    pub fn of(line: &Line, rule: &LineRule) -> Self {
        let mut latch = Self {
            rule: rule.rule.name.clone(),
            target: line.target.clone(),
            hits: VecDeque::new(),
            standing: None,
        };
        latch.hit(line, rule);
        latch
    }

    pub fn hit(&mut self, line: &Line, rule: &LineRule) {
        if self.standing.is_some() {
            return;
        }
        self.hits.push_back(line.age_ms);
        forget(&mut self.hits, line.age_ms, rule.times, rule.within_ms);
        if self.hits.len() >= rule.times {
            self.standing = Some(Standing {
                since_age_ms: line.age_ms,
                count: self.hits.len(),
                line: quote(&line.text),
            });
            self.hits.clear();
        }
    }

    /// A mark ends what came before it. Whether nothing is left.
    pub fn release(&mut self, mark_age_ms: u64) -> bool {
        self.hits.retain(|hit| *hit >= mark_age_ms);
        self.standing.take_if(|standing| standing.since_age_ms < mark_age_ms);
        self.hits.is_empty() && self.standing.is_none()
    }

    pub fn trim(&mut self, hits_left: &mut usize) {
        trim(&mut self.hits, hits_left);
    }

    pub fn finding(&self, rule: &LineRule) -> Option<Finding> {
        let (standing, target) = (self.standing.as_ref()?, self.target.as_str());
        let message = rule.rule.message.fill(|gap| match gap {
            "target" => Some(short(target).to_owned()),
            "rule" => Some(rule.rule.name.clone()),
            "count" => Some(standing.count.to_string()),
            "within" => Some(number(rule.within_ms as f64 / 1_000.0)),
            "line" => Some(standing.line.clone()),
            _ => None,
        });
        let mut finding = Finding::new(&rule.rule.kind, target, message)
            .severity(rule.rule.severity)
            .with("line", standing.line.as_str())
            .with("count", standing.count as u64)
            .with("since_age_ms", standing.since_age_ms);
        finding.key = format!("{}/{target}", rule.rule.name);
        Some(finding)
    }
}

/// When which mark was last made: lines may lag behind the mark that ends them.
#[derive(Debug)]
pub struct Release {
    pub what: String,
    pub target: String,
    pub age_ms: u64,
}

impl Release {
    pub fn concerns(&self, rule: &LineRule, target: &str) -> bool {
        (self.target == target || self.what == BOOT) && rule.release.contains(&self.what)
    }
}

pub fn matches(rule: &LineRule, line: &Line) -> bool {
    selects(&rule.rule.target, &line.target)
        && selects(&rule.source, &line.source)
        && rule.pattern.is_in(&line.text)
}
