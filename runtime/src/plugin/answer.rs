//! What a plugin said, judged before anybody else reads it.
//!
//! Invariant: what comes out is bounded, speaks only of targets that the
//! plugin was given, and survives being written down as JSON. An answer that
//! is not so is a fault as a whole: taking half of it could clear a finding
//! that the other half would have renewed.

use std::collections::BTreeSet;

use super::bindings::{heal, types};
use super::fault::Fault;
use crate::config::PluginConfig;
use crate::model::{
    Attrs, Decision, Finding, Proposal, Report, Series, TargetId, Value, frame::Frame, selects,
};

pub const FINDINGS_MAX: usize = 256;
pub const UNJUDGED_MAX: usize = 4096;
pub const SELECTORS_MAX: usize = 256;
pub const ATTRS_MAX: usize = 32;
pub const TEXT_BYTES_MAX: usize = 1 << 10;
pub const MESSAGE_BYTES_MAX: usize = 2 << 10;
pub const CHECKPOINT_BYTES_MAX: usize = 256 << 10;
const SERIES_MAX: usize = 4096;
const SEVERITY_MAX: u8 = 3;
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The targets that a detector may speak of: those of the box's file, and those
/// its series, lines and marks were about, as far as the file lets it judge
/// them. Kept across its instances, since what it latched is too; and what it
/// latched in an earlier life of the daemon may be about a target that says
/// nothing in this one, such as a link.
#[derive(Clone, Debug)]
pub(super) struct Known {
    selectors: Vec<String>,
    targets: BTreeSet<TargetId>,
    columns: usize,
}

impl Known {
    pub(super) fn new(config: &PluginConfig) -> Self {
        Self::of(config.targets.clone(), config.judges.iter().cloned())
    }

    /// `targets` are those of the file that the selectors name.
    fn of(selectors: Vec<String>, targets: impl IntoIterator<Item = TargetId>) -> Self {
        Self { selectors, targets: targets.into_iter().collect(), columns: 0 }
    }

    pub(super) fn bound(&mut self, series: &[Series]) {
        self.columns = series.len();
        series.iter().for_each(|series| self.saw(&series.target));
    }

    pub(super) fn seen(&mut self, frame: &Frame) {
        frame.lines.iter().for_each(|line| self.saw(&line.target));
        frame.marks.iter().for_each(|mark| self.saw(&mark.target));
    }

    fn saw(&mut self, target: &TargetId) {
        if !self.targets.contains(target) && self.may_judge(target) {
            self.targets.insert(target.clone());
        }
    }

    fn may_judge(&self, target: &TargetId) -> bool {
        self.selectors.iter().any(|selector| selects(selector, target.as_str()))
    }

    fn has(&self, target: &TargetId) -> bool {
        self.targets.contains(target)
    }
}

pub(super) fn selectors(selectors: Vec<String>) -> Result<Vec<String>, Fault> {
    at_most("selectors", selectors.len(), SELECTORS_MAX)?;
    selectors.into_iter().map(|it| text("bytes of a selector", it, TEXT_BYTES_MAX)).collect()
}

pub(super) fn report(report: types::Report, known: &Known) -> Result<Report, Fault> {
    at_most("findings", report.findings.len(), FINDINGS_MAX)?;
    at_most("unjudged targets", report.unjudged.len(), UNJUDGED_MAX)?;
    let mut findings: Vec<Finding> = Vec::with_capacity(report.findings.len());
    let mut keys = BTreeSet::new();
    for raw in report.findings {
        let Some(finding) = finding(raw, known)? else { continue };
        if !keys.insert(finding.key.clone()) {
            return Err(nonsense("two findings under one key", finding.key, "a key each"));
        }
        findings.push(finding);
    }
    let mut unjudged = Vec::with_capacity(report.unjudged.len());
    for target in report.unjudged {
        let target = text("bytes of an unjudged target", target, TEXT_BYTES_MAX)?;
        unjudged.push(TargetId::from_text(target));
    }
    // Of a target that is not its own it says nothing by saying nothing.
    unjudged.retain(|target| known.has(target));
    Ok(Report { findings, unjudged })
}

/// None of a target that it might judge and that is there no more: what was
/// latched of it lasts longer than its entry in the file.
fn finding(raw: types::Finding, known: &Known) -> Result<Option<Finding>, Fault> {
    at_most("series in a finding", raw.series.len(), SERIES_MAX)?;
    if let Some(index) = raw.series.iter().find(|index| **index as usize >= known.columns) {
        return Err(nonsense("a series", index.to_string(), "an index into the bound series"));
    }
    if raw.severity > SEVERITY_MAX {
        return Err(nonsense("a severity", raw.severity.to_string(), "0 to 3"));
    }
    let target = TargetId::from_text(text("bytes of a target", raw.target, TEXT_BYTES_MAX)?);
    if !known.has(&target) {
        return match known.may_judge(&target) {
            true => Ok(None),
            false => Err(Fault::Foreign { target: target.into() }),
        };
    }
    Ok(Some(Finding {
        key: named("a finding's key", "bytes of a finding's key", raw.key)?,
        kind: named("a finding's kind", "bytes of a finding's kind", raw.kind)?,
        target,
        severity: raw.severity,
        series: raw.series,
        message: text("bytes of a finding's message", raw.message, MESSAGE_BYTES_MAX)?,
        evidence: attrs("attributes of evidence", raw.evidence)?,
    }))
}

pub(super) fn decision(decision: heal::Decision) -> Result<Decision, Fault> {
    let why = |why| text("bytes of a reason", why, MESSAGE_BYTES_MAX);
    Ok(match decision {
        heal::Decision::Act(raw) => Decision::Act(proposal(raw)?),
        heal::Decision::Wait(pause) => {
            if pause.ms > WAIT_MS_MAX {
                return Err(nonsense("a wait", format!("{} ms", pause.ms), "at most a day"));
            }
            Decision::Wait { ms: pause.ms, why: why(pause.why)? }
        }
        heal::Decision::Decline(reason) => Decision::Decline { why: why(reason)? },
        heal::Decision::GiveUp(reason) => Decision::GiveUp { why: why(reason)? },
    })
}

fn proposal(raw: heal::Proposal) -> Result<Proposal, Fault> {
    at_most("further proofs", raw.also_prove.len(), ATTRS_MAX)?;
    let proof = |name| text("bytes of a proof's name", name, TEXT_BYTES_MAX);
    Ok(Proposal {
        action: named("an action", "bytes of an action", raw.action)?,
        target: TargetId::from_text(named("a target", "bytes of a target", raw.target)?),
        params: attrs("parameters", raw.params)?,
        reason: text("bytes of a reason", raw.reason, MESSAGE_BYTES_MAX)?,
        also_prove: raw.also_prove.into_iter().map(proof).collect::<Result<_, _>>()?,
    })
}

pub(super) fn refusal(what: &'static str, error: types::Error) -> Fault {
    let cut = |text: String, max: usize| text[..text.floor_char_boundary(max)].to_owned();
    Fault::Refused {
        what,
        code: cut(error.code, TEXT_BYTES_MAX),
        message: cut(error.message, MESSAGE_BYTES_MAX),
    }
}

pub(super) fn checkpoint(state: Vec<u8>) -> Result<Vec<u8>, Fault> {
    at_most("bytes of a checkpoint", state.len(), CHECKPOINT_BYTES_MAX)?;
    Ok(state)
}

fn attrs(what: &'static str, raw: types::Attrs) -> Result<Attrs, Fault> {
    at_most(what, raw.len(), ATTRS_MAX)?;
    let one = |(name, raw): (String, types::Value)| {
        let name = text("bytes of an attribute's name", name, TEXT_BYTES_MAX)?;
        let value = match raw {
            types::Value::Flag(flag) => Value::Flag(flag),
            types::Value::Int(int) => Value::Int(int),
            // JSON knows no NaN and no infinity, and the journal is JSON.
            types::Value::Num(num) if !num.is_finite() => Value::Text(num.to_string()),
            types::Value::Num(num) => Value::Num(num),
            types::Value::Text(it) => {
                Value::Text(text("bytes of an attribute", it, TEXT_BYTES_MAX)?)
            }
        };
        Ok((name, value))
    };
    raw.into_iter().map(one).collect()
}

fn named(what: &'static str, bytes_of_it: &'static str, name: String) -> Result<String, Fault> {
    if name.is_empty() {
        return Err(nonsense(what, name, "a name"));
    }
    text(bytes_of_it, name, TEXT_BYTES_MAX)
}

fn text(what: &'static str, text: String, max: usize) -> Result<String, Fault> {
    at_most(what, text.len(), max)?;
    Ok(text)
}

fn at_most(what: &'static str, found: usize, max: usize) -> Result<(), Fault> {
    if found > max {
        return Err(Fault::OverLimit { what, found, max });
    }
    Ok(())
}

fn nonsense(what: &'static str, found: String, wanted: &'static str) -> Fault {
    Fault::Nonsense { what, found, wanted }
}

#[cfg(test)]
mod tests;
