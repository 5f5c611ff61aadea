//! From a report, which is a level, to the events that tell how it changed.

use std::collections::BTreeMap;

use crate::model::{Event, Finding, FindingRef, Report};

/// What the journal is to hold of a report. Silence clears a finding only when
/// the detector judged its target.
pub fn changes(
    detector: &str,
    report: &Report,
    standing: &BTreeMap<FindingRef, Finding>,
) -> Vec<Event> {
    let mine = || standing.iter().filter(|(reference, _)| reference.detector == detector);
    let raised = report.findings.iter().filter(|finding| {
        mine().find(|(reference, _)| reference.key == finding.key).is_none_or(|(_, known)| {
            known.kind != finding.kind
                || known.severity != finding.severity
                || known.target != finding.target
        })
    });
    let cleared = mine().filter(|(reference, known)| {
        !report.unjudged.contains(&known.target)
            && !report.findings.iter().any(|finding| finding.key == reference.key)
    });
    let raised = raised.map(|finding| Event::FindingRaised {
        detector: detector.into(),
        finding: finding.clone(),
    });
    let cleared = cleared.map(|(reference, known)| Event::FindingCleared {
        detector: detector.into(),
        key: reference.key.clone(),
        target: known.target.clone(),
        kind: known.kind.clone(),
    });
    raised.chain(cleared).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TargetId;

    fn finding(key: &str, severity: u8) -> Finding {
        Finding {
            key: key.into(),
            kind: "process.gone".into(),
            target: TargetId::workload("digits"),
            severity,
            series: vec![],
            message: String::new(),
            evidence: vec![],
        }
    }

    fn standing(findings: &[Finding]) -> BTreeMap<FindingRef, Finding> {
        findings
            .iter()
            .map(|it| (FindingRef { detector: "d".into(), key: it.key.clone() }, it.clone()))
            .collect()
    }

    fn words(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .map(|event| match event {
                Event::FindingRaised { finding, .. } => format!("+{}", finding.key),
                Event::FindingCleared { key, .. } => format!("-{key}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_report_raises_what_is_new_or_worse_and_clears_what_it_leaves_out() {
        let before = standing(&[finding("a", 2), finding("b", 2), finding("c", 1)]);
        let report = Report {
            findings: vec![finding("b", 2), finding("c", 3), finding("d", 2)],
            unjudged: vec![],
        };
        assert_eq!(words(&changes("d", &report, &before)), ["+c", "+d", "-a"]);
    }

    #[test]
    fn silence_about_a_target_that_was_not_judged_clears_nothing() {
        let before = standing(&[finding("a", 2)]);
        let report = Report { findings: vec![], unjudged: vec![TargetId::workload("digits")] };
        assert!(changes("d", &report, &before).is_empty());
    }

    #[test]
    fn a_detector_speaks_only_for_itself() {
        let before = standing(&[finding("a", 2)]);
        assert!(changes("another", &Report::default(), &before).is_empty());
    }
}
