//! One step of a ladder, as it stands for one incident.
//!
//! Invariant: a try whose end nobody saw counts as one, and is never followed
//! at once by another.

use homeostat_sdk::text::short;
use homeostat_sdk::{Attempt, Decision, Finding, Incident, Proposal};

use crate::config::{Config, Step, to_ms};
use crate::wait_ms;

/// Longest text of a notification, in bytes.
const TEXT_BYTES_MAX: usize = 1_000;
/// An action in flight, and one whose end was not seen, is looked at again so
/// soon.
const IN_FLIGHT_WAIT_MS: u64 = 1_000;
const UNKNOWN_WAIT_MS: u64 = 5_000;
/// The guard's rules that only a person can lift: waiting helps nothing.
const FOR_GOOD: &[&str] = &["approval", "catalogue", "grant", "intent", "mode"];
/// How often in a row a step may say by its precondition that it is not to be: then
/// the next one is looked at.
const LAPSES_MAX: usize = 3;
/// Longest between two looks at what is not permitted for now.
const BLOCKED_WAIT_MS_MAX: u64 = 60_000;
/// Refusals in a row double the wait up to this.
const REFUSED_WAIT_MS_MAX: u64 = 300_000;

pub struct Rung<'a> {
    incident: &'a Incident,
    step: &'a Step,
    config: &'a Config,
    target: &'a str,
    /// Tries of this step inside the window, oldest first, refusals too.
    tries: Vec<&'a Attempt>,
}

pub enum Stand {
    Decide(Decision),
    /// Nothing more to expect of it, and why.
    Climb(String),
}

impl<'a> Rung<'a> {
    pub fn new(incident: &'a Incident, step: &'a Step, config: &'a Config) -> Self {
        let target = step.target.as_deref().unwrap_or(&incident.root);
        let window_ms = to_ms(config.window_s);
        let tries = incident.attempts_of(&step.action, target);
        let tries = tries.filter(|it| since_ms(incident, it) <= window_ms).collect();
        Self { incident, step, config, target, tries }
    }

    pub fn stand(&self, finding: &Finding) -> Stand {
        let Step { action, attempts, .. } = self.step;
        if let Some(wait) = self.in_flight() {
            return Stand::Decide(wait);
        }
        let made = self.made();
        if made >= *attempts {
            return Stand::Climb(self.spent());
        }
        let Some(remedy) = self.incident.remedy(action, self.target) else {
            return Stand::Climb(format!("{action} is not in the catalogue for {}", self.target));
        };
        if !remedy.allowed {
            return self.blocked(&remedy.why_not);
        }
        let lapses = self.tries.iter().rev().take_while(|it| is_lapse(it)).count();
        if lapses >= LAPSES_MAX {
            let why = &self.tries.last().map_or("", |it| it.detail.as_str());
            return Stand::Climb(format!("{action} was not to be ({why})"));
        }
        if let Some(wait) = self.refused().or_else(|| self.backing_off(made)) {
            return Stand::Decide(wait);
        }
        Stand::Decide(Decision::Act(self.propose(finding, made)))
    }

    /// The last try is still being carried out, proven, or looked into.
    fn in_flight(&self) -> Option<Decision> {
        let last = self.tries.last()?;
        let action = &self.step.action;
        let age_ms = since_ms(self.incident, last);
        match last.outcome.as_str() {
            "acting" | "proving" => Some(Decision::wait(
                IN_FLIGHT_WAIT_MS,
                format!("{action} is still {}", last.outcome),
            )),
            "unknown" if age_ms < UNKNOWN_WAIT_MS => Some(Decision::wait(
                UNKNOWN_WAIT_MS - age_ms,
                format!("what came of the last {action} is not known yet"),
            )),
            _ => None,
        }
    }

    /// Tries that were made: a refusal made none.
    fn made(&self) -> u32 {
        self.tries.iter().filter(|it| it.outcome != "refused").count() as u32
    }

    fn spent(&self) -> String {
        let count = |word: &str| self.tries.iter().filter(|it| it.outcome == word).count();
        let words = ["failed", "relapsed", "unknown", "recovered", "proven"];
        let told: Vec<_> = words
            .into_iter()
            .map(|word| (count(word), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let times = if self.made() == 1 { "once".into() } else { format!("{} times", self.made()) };
        format!(
            "{} was tried {times} in {} ({})",
            self.step.action,
            span(to_ms(self.config.window_s)),
            told.join(", ")
        )
    }

    fn blocked(&self, why_not: &str) -> Stand {
        let action = &self.step.action;
        if FOR_GOOD.contains(&rule(why_not)) {
            return Stand::Climb(format!("{action} is not permitted ({why_not})"));
        }
        let ms = wait_ms(self.incident, self.config.blocked_wait_s, BLOCKED_WAIT_MS_MAX);
        Stand::Decide(Decision::wait(ms, format!("{action} is not permitted now ({why_not})")))
    }

    /// The guard said no a moment ago, though the remedy looked allowed.
    fn refused(&self) -> Option<Decision> {
        let refusals =
            self.tries.iter().rev().take_while(|it| it.outcome == "refused").count() as u32;
        let last = self.tries.last().filter(|_| refusals > 0)?;
        let wait_ms = to_ms(self.config.blocked_wait_s)
            .saturating_mul(1 << (refusals - 1).min(20))
            .min(REFUSED_WAIT_MS_MAX);
        let left_ms = wait_ms.saturating_sub(since_ms(self.incident, last));
        (left_ms > 0).then(|| {
            let action = &self.step.action;
            Decision::wait(left_ms, format!("the guard refused {action} ({})", last.detail))
        })
    }

    fn backing_off(&self, made: u32) -> Option<Decision> {
        let last = self.tries.iter().rfind(|it| it.outcome != "refused")?;
        let pause_ms = self.step.backoff_ms(made);
        let left_ms = pause_ms.saturating_sub(since_ms(self.incident, last));
        (left_ms > 0).then(|| {
            Decision::wait(
                left_ms,
                format!(
                    "{} {}: try {} of {} follows {} after the last",
                    self.step.action,
                    past(&last.outcome),
                    made + 1,
                    self.step.attempts,
                    span(pause_ms)
                ),
            )
        })
    }

    fn propose(&self, finding: &Finding, made: u32) -> Proposal {
        let Step { action, attempts, params, .. } = self.step;
        let mut reason = finding.message.clone();
        if *attempts > 1 {
            reason += &format!("; {action}, try {} of {attempts}", made + 1);
        }
        let mut proposal = Proposal::new(action, self.target, reason);
        proposal.also_prove.clone_from(&self.step.also_prove);
        for (name, value) in params {
            proposal = proposal.with(name, value);
        }
        if action == "notify" && !params.contains_key("text") {
            proposal = proposal.with("text", self.text(finding));
        }
        proposal
    }

    /// What a person who is woken wants to know.
    fn text(&self, finding: &Finding) -> String {
        let tried = self.incident.attempts.iter().filter(|it| it.outcome != "refused").count();
        let mut text = format!("{} ({})", finding.message, finding.kind);
        if tried > 0 {
            let tries = if tried == 1 { "try" } else { "tries" };
            text += &format!("; {} is still ill after {tried} {tries}", short(&self.incident.root));
        }
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text
    }
}

/// The rule that a refusal begins with.
fn rule(why_not: &str) -> &str {
    why_not.split(':').next().unwrap_or_default().trim()
}

/// Its precondition did not hold: nothing was touched.
fn is_lapse(attempt: &Attempt) -> bool {
    attempt.outcome == "refused" && rule(&attempt.detail) == "lapsed"
}

fn since_ms(incident: &Incident, attempt: &Attempt) -> u64 {
    incident.now.age_ms.saturating_sub(attempt.begun.age_ms)
}

fn past(outcome: &str) -> &'static str {
    match outcome {
        "failed" => "failed",
        "relapsed" => "helped only for a while",
        "unknown" => "ended unseen",
        _ => "was tried",
    }
}

/// A length of time, for a person.
fn span(ms: u64) -> String {
    match ms {
        0..10_000 if !ms.is_multiple_of(1_000) => format!("{:.1} s", ms as f64 / 1_000.0),
        0..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}
