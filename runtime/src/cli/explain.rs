//! The story of an incident, chapter by chapter.
//!
//! Invariant: it adds words and no facts.

use super::page::{Cell, Page, Tone, cell};
use super::status::moment;
use super::words::{self, span};
use crate::model::{AttemptId, Attrs, Decision, Outcome, Proposal};
use crate::story::{Chapter, Passage, Story};

/// A chapter in words: what, and one line or more about it.
struct Told {
    what: &'static str,
    tone: Tone,
    lines: Vec<String>,
}

pub(super) fn draw(page: &mut Page, story: &Story) {
    match &story.opening {
        Some(opening) => {
            let what = format!("{} of {}", opening.kind, opening.root);
            page.toned(&format!("{}  {what}: {}", story.incident, story.phase), Tone::Strong);
            page.line(&format!("opened {}", moment(opening.at, story.now)));
        }
        None => {
            page.toned(&format!("{}: {}", story.incident, story.phase), Tone::Strong);
            page.line("its beginning is no longer kept");
        }
    }
    page.line("");
    let opened_ms = story.opening.as_ref().map(|opening| opening.at.age_ms);
    let start_ms = opened_ms.or(story.chapters.first().map(|c| c.at.age_ms)).unwrap_or(0);
    let rows: Vec<_> = story.chapters.iter().flat_map(|c| rows(c, start_ms)).collect();
    page.columns(&rows);
    if story.left_out > 0 {
        let text = format!("{} chapters of the middle are left out", story.left_out);
        page.toned(&text, Tone::Faint);
    }
    if let Some(bytes) = story.recording_bytes {
        let incident = story.incident;
        page.line("");
        page.toned(
            &format!(
                "what led to it is recorded ({} KiB): homeostat record --incident {incident} \
                 --out {incident}.rec",
                bytes.div_ceil(1024)
            ),
            Tone::Faint,
        );
    }
}

fn rows(chapter: &Chapter, start_ms: u64) -> Vec<Vec<Cell>> {
    let Told { what, tone, mut lines } = tell(&chapter.passage, start_ms);
    if chapter.times > 1 && !matches!(chapter.passage, Passage::Proof { .. }) {
        let last = offset(chapter.last.age_ms, start_ms);
        lines.push(format!("{} times, the last at {last}", chapter.times));
    }
    if let (Passage::Proof { .. }, Some(first)) = (&chapter.passage, lines.first_mut()) {
        *first = format!("{} {first}", chapter.times);
    }
    let when = offset(chapter.at.age_ms, start_ms);
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    let mut rows = vec![vec![cell(when).tone(Tone::Faint), cell(what).tone(tone), cell(first)]];
    rows.extend(lines.map(|line| vec![cell(""), cell(""), cell(line)]));
    rows
}

fn offset(at_ms: u64, start_ms: u64) -> String {
    match at_ms.checked_sub(start_ms) {
        Some(after) => format!("+{}", span(after)),
        None => format!("-{}", span(start_ms - at_ms)),
    }
}

fn tell(passage: &Passage, start_ms: u64) -> Told {
    let told = |what, tone, line: String| Told { what, tone, lines: vec![line] };
    match passage {
        Passage::Seen { detector, finding } => {
            let mut lines = vec![format!(
                "{detector}: {} of {}: {}",
                finding.kind, finding.target, finding.message
            )];
            lines.extend(attrs(&finding.evidence));
            Told { what: "seen", tone: Tone::Warn, lines }
        }
        Passage::Opened {} => told("opened", Tone::Strong, String::new()),
        Passage::Drilled { fault, by, drill, after_ms } => {
            let (by, span) = (words::origin(by), span(*after_ms));
            let line = format!("{by} staged a {fault} here {span} before: event {drill}");
            told("DRILL", Tone::Warn, line)
        }
        Passage::Asked { healer } => told("asked", Tone::Plain, format!("{healer}, no answer yet")),
        Passage::Decided { healer, decision } => {
            Told { what: "decided", tone: Tone::Plain, lines: decision_lines(healer, decision) }
        }
        Passage::Unanswered { healer, why } => {
            told("no answer", Tone::Warn, format!("{healer}: {why}"))
        }
        Passage::Refused { proposal, refusal, .. } => {
            let may = match refusal.retry_age_ms {
                Some(age_ms) => format!("it may pass from {} on", offset(age_ms, start_ms)),
                None => "only a person can change that".into(),
            };
            let line = format!("{} by rule {}: {}", act(proposal), refusal.rule, refusal.detail);
            Told { what: "refused", tone: Tone::Warn, lines: vec![line, may] }
        }
        Passage::Permitted { attempt, origin, proposal, .. } => {
            let by = words::origin(origin);
            told(
                "permitted",
                Tone::Strong,
                format!("{} for {by}, attempt {attempt}", act(proposal)),
            )
        }
        Passage::Ended { attempt, outcome, took_ms } => {
            let took = took_ms.map(|ms| format!(" after {}", span(ms))).unwrap_or_default();
            let (tone, word, detail) = outcome_words(outcome);
            told("ended", tone, colon(format!("attempt {attempt} {word}{took}"), detail))
        }
        Passage::Observed { attempt, outcome } => {
            let (tone, word, detail) = outcome_words(outcome);
            let line = format!("attempt {attempt}, whose end a crash hid, is {word}");
            told("observed", tone, colon(line, detail))
        }
        Passage::Approved { by } => told("approved", Tone::Strong, words::origin(by)),
        Passage::Denied { by } => told("denied", Tone::Strong, words::origin(by)),
        Passage::Dismissed { by } => {
            let line = format!("{}; what stands opens no other", words::origin(by));
            told("dismissed", Tone::Strong, line)
        }
        Passage::Proof { good, detail } => {
            let (tone, word) = if *good { (Tone::Good, "good") } else { (Tone::Warn, "bad") };
            told("proof", tone, colon(word.into(), detail))
        }
        Passage::ProofFailed { attempt, why } => {
            told("unproven", Tone::Bad, colon(of_attempt(*attempt), why))
        }
        Passage::Recovered { attempt, after_ms } => {
            let after = after_ms.map(|ms| format!("{} after it opened", span(ms)));
            told("recovered", Tone::Good, by_attempt(after.unwrap_or_default(), *attempt))
        }
        Passage::Relapsed { attempt, why } => {
            told("relapsed", Tone::Bad, colon(of_attempt(*attempt), why))
        }
        Passage::Proven { attempt } => {
            told("proven", Tone::Good, by_attempt("quiet for the hold".into(), *attempt))
        }
        Passage::Stuck { why } => told("stuck", Tone::Bad, why.clone()),
        Passage::Reopened { why } => told("reopened", Tone::Plain, why.clone()),
        Passage::Closed { why } => told("closed", Tone::Strong, why.clone()),
    }
}

fn decision_lines(healer: &str, decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Act(proposal) => {
            let mut lines =
                vec![colon(format!("{healer} wants {}", act(proposal)), &proposal.reason)];
            lines.extend(attrs(&proposal.params));
            if !proposal.also_prove.is_empty() {
                lines.push(format!("proven also by {}", proposal.also_prove.join(", ")));
            }
            lines
        }
        Decision::Wait { ms, why } => {
            vec![colon(format!("{healer} waits {}", span(*ms)), why)]
        }
        Decision::Decline { why } => vec![colon(format!("{healer} declines"), why)],
        Decision::GiveUp { why } => vec![colon(format!("{healer} gives up"), why)],
    }
}

fn act(proposal: &Proposal) -> String {
    format!("{} of {}", proposal.action, proposal.target)
}

fn outcome_words(outcome: &Outcome) -> (Tone, &'static str, &str) {
    match outcome {
        Outcome::Done { detail } => (Tone::Plain, "done", detail),
        Outcome::Failed { detail } => (Tone::Bad, "failed", detail),
        Outcome::Lapsed { detail } => (Tone::Warn, "lapsed untouched", detail),
    }
}

fn of_attempt(attempt: Option<AttemptId>) -> String {
    attempt.map_or_else(String::new, |attempt| format!("attempt {attempt}"))
}

fn by_attempt(text: String, attempt: Option<AttemptId>) -> String {
    match (text.is_empty(), attempt) {
        (_, None) => text,
        (true, Some(attempt)) => format!("by attempt {attempt}"),
        (false, Some(attempt)) => format!("{text}, by attempt {attempt}"),
    }
}

fn attrs(attrs: &Attrs) -> Vec<String> {
    attrs.iter().map(|(name, value)| format!("{name} = {value}")).collect()
}

fn colon(first: String, then: &str) -> String {
    match (first.is_empty(), then.is_empty()) {
        (true, _) => then.into(),
        (_, true) => first,
        _ => format!("{first}: {then}"),
    }
}
