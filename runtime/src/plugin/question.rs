//! The model's nouns as a plugin is shown them.
//!
//! Strings and numbers are moved, not copied: a frame's values reach the
//! plugin's memory in one piece.

use super::bindings::{heal, types};
use crate::model::{Attempt, Attrs, Brief, Finding, Frame, Instant, Node, Remedy, Series, Value};

pub(super) fn series(series: Vec<Series>) -> Vec<types::Series> {
    let one = |series: Series| types::Series {
        name: series.name,
        unit: series.unit,
        target: series.target.into(),
        period_ms: series.period_ms,
        labels: series.labels,
    };
    series.into_iter().map(one).collect()
}

pub(super) fn frame(frame: Frame) -> types::Frame {
    let line = |line: crate::model::Line| types::Line {
        target: line.target.into(),
        source: line.source,
        age_ms: line.age_ms,
        priority: line.priority,
        text: line.text,
    };
    let mark = |mark: crate::model::Mark| types::Mark {
        target: mark.target.into(),
        age_ms: mark.age_ms,
        what: mark.what,
        attrs: attrs(mark.attrs),
    };
    types::Frame {
        seq: frame.seq,
        lost: frame.lost,
        now: instant(frame.now),
        rows: frame.rows,
        values: frame.values,
        lines: frame.lines.into_iter().map(line).collect(),
        marks: frame.marks.into_iter().map(mark).collect(),
    }
}

pub(super) fn incident(brief: Brief) -> heal::Incident {
    let now_age_ms = brief.now.age_ms;
    heal::Incident {
        id: brief.id.to_string(),
        signature: brief.signature,
        now: instant(brief.now),
        seed: brief.seed,
        opened: instant(brief.opened),
        root: brief.root.into(),
        findings: brief.findings.into_iter().map(finding).collect(),
        graph: brief.graph.into_iter().map(node).collect(),
        remedies: brief.remedies.into_iter().map(remedy).collect(),
        attempts: brief.attempts.into_iter().map(|it| attempt(it, now_age_ms)).collect(),
        facts: attrs(brief.facts),
    }
}

fn finding(finding: Finding) -> types::Finding {
    types::Finding {
        key: finding.key,
        kind: finding.kind,
        target: finding.target.into(),
        severity: finding.severity,
        series: finding.series,
        message: finding.message,
        evidence: attrs(finding.evidence),
    }
}

fn node(node: Node) -> heal::Node {
    heal::Node {
        id: node.id.into(),
        kind: node.kind,
        state: node.state,
        needs: node.needs.into_iter().map(String::from).collect(),
    }
}

fn remedy(remedy: Remedy) -> heal::Remedy {
    heal::Remedy {
        action: remedy.action,
        target: remedy.target.into(),
        params: remedy.params,
        allowed: remedy.allowed,
        why_not: remedy.why_not,
        disruption: remedy.disruption,
        reversible: remedy.reversible,
        tried: remedy.tried,
        proven: remedy.proven,
        cost_s: remedy.cost_s,
    }
}

/// `age-ms` of an attempt is how long ago it began.
fn attempt(attempt: Attempt, now_age_ms: u64) -> heal::Attempt {
    heal::Attempt {
        action: attempt.action,
        target: attempt.target.into(),
        params: attrs(attempt.params),
        by: attempt.by,
        age_ms: now_age_ms.saturating_sub(attempt.begun.age_ms),
        begun: instant(attempt.begun),
        outcome: attempt.outcome.word().to_owned(),
        detail: attempt.detail,
    }
}

fn instant(instant: Instant) -> types::Instant {
    types::Instant { age_ms: instant.age_ms, boot: instant.boot, unix_ms: instant.unix_ms }
}

fn attrs(attrs: Attrs) -> types::Attrs {
    let value = |value| match value {
        Value::Flag(flag) => types::Value::Flag(flag),
        Value::Int(int) => types::Value::Int(int),
        Value::Num(num) => types::Value::Num(num),
        Value::Text(text) => types::Value::Text(text),
    };
    attrs.into_iter().map(|(name, it)| (name, value(it))).collect()
}
