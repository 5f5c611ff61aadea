//! Two answers, and what of the one is not as in the other, for a person.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Step;
use super::erased::Json as _;
use crate::types::{Finding, Report};

/// What of `found` is another than `wanted`, a line each; empty when they are
/// the same.
pub fn difference(wanted: &Step, found: &Step) -> String {
    match (wanted, found) {
        (Step::Report(wanted), Step::Report(found)) => of_reports(wanted, found),
        _ if wanted.json() == found.json() => String::new(),
        _ => format!("  wanted {}\n  found  {}", wanted.json(), found.json()),
    }
}

fn of_reports(wanted: &Report, found: &Report) -> String {
    let mut text = String::new();
    let keys = |report: &Report| -> BTreeSet<String> {
        report.findings.iter().map(|it| it.key.clone()).collect()
    };
    for key in &keys(wanted) | &keys(found) {
        let of = |report: &Report| -> Vec<Finding> {
            report.findings.iter().filter(|it| it.key == key).cloned().collect()
        };
        match (of(wanted).as_slice(), of(found).as_slice()) {
            ([wanted], [found]) => text += &of_findings(wanted, found),
            (wanted, found) if wanted.len() == found.len() => {
                wanted.iter().zip(found).for_each(|(a, b)| text += &of_findings(a, b));
            }
            (wanted, found) => {
                wanted.iter().for_each(|it| say(&mut text, "missing", &named(it)));
                found.iter().for_each(|it| say(&mut text, "unexpected", &named(it)));
            }
        }
    }
    let (wanted_unjudged, found_unjudged) = (sorted(wanted), sorted(found));
    for target in wanted_unjudged.difference(&found_unjudged) {
        say(&mut text, "missing", &format!("unjudged {target}"));
    }
    for target in found_unjudged.difference(&wanted_unjudged) {
        say(&mut text, "unexpected", &format!("unjudged {target}"));
    }
    if text.is_empty() && wanted.json() != found.json() {
        say(&mut text, "order", &format!("wanted {}", wanted.json()));
        say(&mut text, "order", &format!("found  {}", found.json()));
    }
    text.trim_end().to_owned()
}

fn sorted(report: &Report) -> BTreeSet<&str> {
    report.unjudged.iter().map(String::as_str).collect()
}

fn named(finding: &Finding) -> String {
    format!("{} ({} of {}): {}", finding.key, finding.kind, finding.target, finding.message)
}

fn of_findings(wanted: &Finding, found: &Finding) -> String {
    let mut text = String::new();
    let mut field = |name: &str, wanted: String, found: String| {
        if wanted != found {
            let _ = writeln!(text, "    {name}: wanted {wanted}");
            let _ = writeln!(text, "    {:width$}  found  {found}", "", width = name.len());
        }
    };
    field("kind", wanted.kind.json(), found.kind.json());
    field("target", wanted.target.json(), found.target.json());
    field("severity", wanted.severity.json(), found.severity.json());
    field("series", wanted.series.json(), found.series.json());
    field("message", wanted.message.json(), found.message.json());
    field("evidence", wanted.evidence.json(), found.evidence.json());
    match text.is_empty() {
        true => text,
        false => format!("  finding {}\n{text}", wanted.key),
    }
}

fn say(text: &mut String, what: &str, thing: &str) {
    let _ = writeln!(text, "  {what} {thing}");
}
