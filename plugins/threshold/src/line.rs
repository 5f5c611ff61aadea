//! What one latch has to say. When it stands is `homeostat_sdk::latch`'s to know.

use homeostat_sdk::Finding;
use homeostat_sdk::latch::Latch;
use homeostat_sdk::text::{number, short};

use crate::config::LatchRule;

pub fn finding(latch: &Latch, rule: &LatchRule) -> Option<Finding> {
    let (standing, target) = (latch.standing.as_ref()?, latch.target.as_str());
    let message = rule.rule.message.fill(|gap| match gap {
        "target" => Some(short(target).to_owned()),
        "rule" => Some(rule.rule.name.clone()),
        "count" => Some(standing.count.to_string()),
        "within" => Some(number(rule.lines.within_ms as f64 / 1_000.0)),
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
