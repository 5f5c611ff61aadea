//! Lines as evidence: so many in a window make it stand, and it stands until
//! something releases it.
//!
//! ```text
//!            `times` lines within `within_ms`
//!  counting ─────────────────────────────────▶ standing
//!      ▲                                           │
//!      └───────────────────────────────────────────┘
//!        a mark that the rule names, made after it (on its target, or the boot
//!        of the box), or `quiet_ms` without another such line
//! ```
//!
//! A line is an edge: no later silence proves that it did not happen. What it
//! raised is released by a mark, because what wrote it was replaced or somebody
//! closed the matter, or where the rule says so by a quiet time.
//!
//! Invariant: bounded, in latches, in moments counted and in marks remembered.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::text::{Pattern, quote, selects};
use crate::types::{Line, Mark};

/// Latches that are kept: rules × targets that wrote matching lines.
const LATCHES_MAX: usize = 128;
const RELEASES_MAX: usize = 256;
/// Concerns every target of the box.
const BOOT: &str = "box.booted";
/// An action that changes nothing about what wrote the line.
const TELLING: &str = "notify";

/// Which lines count, how many it takes, and what ends it.
#[derive(Clone, Debug)]
pub struct LineRule {
    pub name: String,
    /// Selectors of the line's target and source: `workload:*`, `kmsg`.
    pub target: String,
    pub source: String,
    /// Lines with a larger syslog number, which weigh less, do not count.
    pub priority_max: u8,
    /// Any of them makes a line count ...
    pub patterns: Vec<Pattern>,
    /// ... unless one of these is in it.
    pub except: Vec<Pattern>,
    pub times: usize,
    pub within_ms: u64,
    /// Marks that end it; none makes it stand for good.
    pub release: Vec<String>,
    pub quiet_ms: Option<u64>,
}

/// One rule over the lines of one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Latch {
    /// Name of the rule.
    pub rule: String,
    pub target: String,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    hits: VecDeque<u64>,
    #[serde(default)]
    last_age_ms: u64,
    pub standing: Option<Standing>,
}

/// What was seen when it was raised; it does not change while it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub since_age_ms: u64,
    pub count: usize,
    /// The line that made it stand, quoted.
    pub line: String,
}

/// When which mark was last made: lines may lag behind the mark that ends them.
#[derive(Debug)]
struct Release {
    what: String,
    target: String,
    age_ms: u64,
}

/// The latches of all rules of one detector.
#[derive(Debug, Default)]
pub struct Latches {
    latches: Vec<Latch>,
    releases: Vec<Release>,
}

impl LineRule {
    pub fn matches(&self, line: &Line) -> bool {
        let is_in = |pattern: &Pattern| pattern.is_in(&line.text);
        line.priority <= self.priority_max
            && selects(&self.target, &line.target)
            && selects(&self.source, &line.source)
            && self.patterns.iter().any(is_in)
            && !self.except.iter().any(is_in)
    }
}

impl Latches {
    /// Whether a rule counted it, or would have if it were not over.
    pub fn line(&mut self, line: &Line, rules: &[impl AsRef<LineRule>]) -> bool {
        let mut counted = false;
        for rule in rules.iter().map(AsRef::as_ref).filter(|rule| rule.matches(line)) {
            counted = true;
            let over = |it: &Release| it.concerns(rule, &line.target) && line.age_ms < it.age_ms;
            if self.releases.iter().any(over) {
                continue;
            }
            let mine = |it: &Latch| it.rule == rule.name && it.target == line.target;
            match self.latches.iter().position(mine) {
                Some(at) => self.latches[at].hit(line, rule),
                None if self.latches.len() < LATCHES_MAX => {
                    self.latches.push(Latch::of(line, rule));
                }
                None => crate::log::warn(format!(
                    "rule {:?} forgets a line of {}: {LATCHES_MAX} are kept",
                    rule.name, line.target
                )),
            }
        }
        counted
    }

    /// The targets that it released something of.
    pub fn mark(&mut self, mark: &Mark, rules: &[impl AsRef<LineRule>]) -> Vec<String> {
        let (what, target) = (mark.what.clone(), mark.target.clone());
        let release = Release { what, target, age_ms: mark.age_ms };
        let mut released = Vec::new();
        let is_telling = mark.text("action") == Some(TELLING);
        let named = rules.iter().any(|rule| rule.as_ref().release.contains(&mark.what));
        if is_telling || !named {
            return released;
        }
        self.latches.retain_mut(|latch| {
            let rule = latch.rule_of(rules);
            let concerned = rule.is_none_or(|rule| release.concerns(rule, &latch.target));
            if !concerned {
                return true;
            }
            released.push(latch.target.clone());
            !latch.release(release.age_ms)
        });
        self.remember(release);
        released
    }

    fn remember(&mut self, release: Release) {
        let known = |it: &Release| it.what == release.what && it.target == release.target;
        match self.releases.iter().position(known) {
            Some(at) => self.releases[at].age_ms = self.releases[at].age_ms.max(release.age_ms),
            None if self.releases.len() < RELEASES_MAX => self.releases.push(release),
            None => {}
        }
    }

    /// Lets go of what has been quiet for long enough on targets that are
    /// `seen`: where nobody looks, nothing is quiet.
    pub fn pass(
        &mut self,
        now_age_ms: u64,
        rules: &[impl AsRef<LineRule>],
        seen: impl Fn(&str) -> bool,
    ) {
        self.latches.retain(|latch| {
            let rule = latch.rule_of(rules);
            let quiet_ms = rule.and_then(|rule| rule.quiet_ms);
            let over = quiet_ms.is_some_and(|it| now_age_ms >= latch.last_age_ms + it);
            !(over && seen(&latch.target))
        });
    }

    pub fn iter(&self) -> impl Iterator<Item = &Latch> {
        self.latches.iter()
    }

    /// For a checkpoint, with at most `hits_left` moments counted.
    pub fn save(&self, hits_left: &mut usize) -> Vec<Latch> {
        let mut latches = self.latches.clone();
        latches.iter_mut().for_each(|latch| trim(&mut latch.hits, hits_left));
        latches
    }

    /// A rule that is gone takes its evidence with it.
    pub fn restore(&mut self, latches: Vec<Latch>, rules: &[impl AsRef<LineRule>]) {
        self.latches = latches;
        self.latches.truncate(LATCHES_MAX);
        self.latches.retain(|latch| latch.rule_of(rules).is_some());
    }
}

impl AsRef<LineRule> for LineRule {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Latch {
    fn rule_of<'a>(&self, rules: &'a [impl AsRef<LineRule>]) -> Option<&'a LineRule> {
        rules.iter().map(AsRef::as_ref).find(|rule| rule.name == self.rule)
    }

    /// One that has seen its first line.
    fn of(line: &Line, rule: &LineRule) -> Self {
        let mut latch = Self {
            rule: rule.name.clone(),
            target: line.target.clone(),
            hits: VecDeque::new(),
            last_age_ms: 0,
            standing: None,
        };
        latch.hit(line, rule);
        latch
    }

    fn hit(&mut self, line: &Line, rule: &LineRule) {
        self.last_age_ms = self.last_age_ms.max(line.age_ms);
        if self.standing.is_some() {
            return;
        }
        self.hits.push_back(line.age_ms);
        forget(&mut self.hits, line.age_ms, rule.times, rule.within_ms);
        if self.hits.len() >= rule.times {
            let (since_age_ms, count) = (line.age_ms, self.hits.len());
            self.standing = Some(Standing { since_age_ms, count, line: quote(&line.text) });
            self.hits.clear();
        }
    }

    /// A mark ends what came before it. Whether nothing is left.
    fn release(&mut self, mark_age_ms: u64) -> bool {
        self.hits.retain(|hit| *hit >= mark_age_ms);
        self.standing.take_if(|standing| standing.since_age_ms < mark_age_ms);
        self.hits.is_empty() && self.standing.is_none()
    }
}

impl Release {
    fn concerns(&self, rule: &LineRule, target: &str) -> bool {
        (self.target == target || self.what == BOOT) && rule.release.contains(&self.what)
    }
}

/// Drops what is older than the window, and what exceeds the count.
pub fn forget(hits: &mut VecDeque<u64>, age_ms: u64, times: usize, within_ms: u64) {
    while hits.front().is_some_and(|hit| age_ms.saturating_sub(*hit) > within_ms)
        || hits.len() > times
    {
        hits.pop_front();
    }
}

/// Keeps the newest that still have room.
pub fn trim(hits: &mut VecDeque<u64>, left: &mut usize) {
    let kept = hits.len().min(*left);
    hits.drain(..hits.len() - kept);
    *left -= kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(times: usize, quiet_ms: Option<u64>) -> LineRule {
        LineRule {
            name: "oom".into(),
            target: "workload:*".into(),
            source: "*".into(),
            priority_max: 5,
            patterns: vec![Pattern::new("out of memory").unwrap(), Pattern::new("OOM").unwrap()],
            except: vec![Pattern::new("retrying").unwrap()],
            times,
            within_ms: 10_000,
            release: vec!["action.ended".into(), BOOT.into()],
            quiet_ms,
        }
    }

    fn line(age_ms: u64, text: &str) -> Line {
        let (target, source) = ("workload:a".into(), "output".into());
        Line { target, source, age_ms, priority: 5, text: text.into() }
    }

    fn standing(latches: &Latches) -> usize {
        latches.iter().filter(|it| it.standing.is_some()).count()
    }

    #[test]
    fn a_quiet_time_releases_only_where_somebody_looks() {
        let (rules, mut latches) = ([rule(1, Some(60_000))], Latches::default());
        latches.line(&line(1_000, "OOM"), &rules);
        latches.line(&line(31_000, "OOM"), &rules);
        latches.pass(90_000, &rules, |_| true);
        assert_eq!(standing(&latches), 1, "the second line is 59 s old");
        latches.pass(95_000, &rules, |_| false);
        assert_eq!(standing(&latches), 1);
        latches.pass(95_000, &rules, |_| true);
        assert_eq!(standing(&latches), 0);
    }

    #[test]
    fn lighter_lines_exceptions_and_other_targets_do_not_count() {
        let rules = [rule(1, None)];
        let light = Line { priority: 6, ..line(1, "OOM") };
        let foreign = Line { target: "box".into(), ..line(1, "OOM") };
        for it in [light, foreign, line(1, "OOM, retrying"), line(1, "fine")] {
            assert!(!Latches::default().line(&it, &rules), "{it:?}");
        }
        assert!(Latches::default().line(&line(1, "out of memory"), &rules));
    }

    #[test]
    fn telling_somebody_releases_nothing() {
        let (rules, mut latches) = ([rule(1, None)], Latches::default());
        latches.line(&line(1_000, "OOM"), &rules);
        let ended = |action: &str| Mark {
            target: "workload:a".into(),
            age_ms: 2_000,
            what: "action.ended".into(),
            attrs: vec![("action".into(), action.into())],
        };
        assert!(latches.mark(&ended("notify"), &rules).is_empty());
        assert_eq!(standing(&latches), 1);
        assert_eq!(latches.mark(&ended("workload.restart"), &rules), ["workload:a"]);
        assert_eq!(standing(&latches), 0);
    }

    #[test]
    fn latches_are_bounded() {
        let (rules, mut latches) = ([rule(1_000, None)], Latches::default());
        for n in 0..1_000 {
            let target = format!("workload:{n}");
            latches.line(&Line { target, ..line(n, "OOM") }, &rules);
        }
        assert_eq!(latches.iter().count(), LATCHES_MAX);
        let mut left = 10;
        let saved = latches.save(&mut left);
        assert_eq!(saved.iter().map(|it| it.hits.len()).sum::<usize>(), 10);
    }
}
