//! The ladder of each kind of trouble, as a site writes it and as it is built in.
//!
//! Built in, where a site has no row of its own (`notify` where it is set):
//!
//! | kind | on | steps |
//! |---|---|---|
//! | `process.gone`, `probe.failing` | a workload | restart, 5 times, pause 1 s doubling to 60 s; notify; give up |
//! | `leak.*` | a workload | restart, once in the window; notify; give up |
//! | `leak.*`, `host.*`, `link.*`, `log.*`, `probe.silent` | anything | notify; give up. Nothing is restarted: the box or a link is not mended by it, and words are no proof that a workload is ill. Trouble of the same target that has a remedy comes first |
//! | `external.*` | anything | wait, and after `external_notify_s` notify; what depends on it is never restarted |
//!
//! Invariant: a row's steps are climbed in their order, so they are written
//! cheapest first.

use std::collections::BTreeMap;

use homeostat_sdk::text::selects;
use homeostat_sdk::{Error, Value};
use serde::Deserialize;

const ROWS_MAX: usize = 64;
const STEPS_MAX: usize = 16;
/// What a person looks at.
const TOLD: &[&str] = &["host.", "leak.", "link.", "log."];

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rows of the site, looked at before the built-in ones.
    pub ladder: Vec<Row>,
    /// Whether the built-in rows hold where the site has none.
    pub builtin: bool,
    /// Whom the built-in rows tell when the rest did not help: the name of a
    /// `[notify]` entry.
    pub notify: Option<String>,
    /// Attempts older than this are forgotten.
    pub window_s: f64,
    /// How long to wait at least before what is not permitted now is looked at
    /// again; what lasts is looked at less often, down to once a minute.
    pub blocked_wait_s: f64,
    /// How long to wait at least before looking again at what is not ours to
    /// repair; what lasts is looked at less often, down to once in ten minutes.
    pub external_wait_s: f64,
    /// Whom `notify` names is told of it once it has lasted so long.
    pub external_notify_s: f64,
}

/// The row that holds for one finding.
#[derive(Clone, Debug)]
pub struct Rungs {
    pub steps: Vec<Step>,
    /// It only tells somebody, and no site asked for it: trouble of the same
    /// root that has a remedy comes first.
    pub gives_way: bool,
}

/// What is done about one kind of trouble.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Selector of the finding's kind: `process.gone`, `threshold.*`.
    pub kind: String,
    /// Selector of its target.
    #[serde(default = "any")]
    pub target: String,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub action: String,
    /// Another target than the incident's root.
    #[serde(default)]
    pub target: Option<String>,
    /// Parameters of the action, as the box's catalogue has them.
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// Tries inside the window before the next step.
    #[serde(default = "one")]
    pub attempts: u32,
    /// Pause after the first try; doubles with each one.
    #[serde(default = "one_second")]
    pub backoff_s: f64,
    #[serde(default = "one_minute")]
    pub backoff_max_s: f64,
    /// Probes that must be good besides the action's own proof.
    #[serde(default)]
    pub also_prove: Vec<String>,
}

/// What a parameter may be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Param {
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl From<&Param> for Value {
    fn from(param: &Param) -> Self {
        match param {
            Param::Flag(flag) => (*flag).into(),
            Param::Whole(number) => (*number).into(),
            Param::Number(number) => (*number).into(),
            Param::Text(text) => text.as_str().into(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ladder: Vec::new(),
            builtin: true,
            notify: None,
            window_s: 3_600.0,
            blocked_wait_s: 5.0,
            external_wait_s: 30.0,
            external_notify_s: 300.0,
        }
    }
}

fn any() -> String {
    "*".into()
}

fn one() -> u32 {
    1
}

fn one_second() -> f64 {
    1.0
}

fn one_minute() -> f64 {
    60.0
}

impl Config {
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::config(why));
        for (name, seconds) in [
            ("window_s", self.window_s),
            ("blocked_wait_s", self.blocked_wait_s),
            ("external_wait_s", self.external_wait_s),
            ("external_notify_s", self.external_notify_s),
        ] {
            // Below, a healer would be asked as fast as it answers.
            if !is_pause(seconds) {
                return wrong(format!("{name} wants seconds from 0.1 to a year, found {seconds}"));
            }
        }
        if self.ladder.len() > ROWS_MAX {
            return wrong(format!("wanted at most {ROWS_MAX} rows, found {}", self.ladder.len()));
        }
        for (at, row) in self.ladder.iter().enumerate() {
            if row.steps.len() > STEPS_MAX {
                return wrong(format!("ladder[{at}] has more than {STEPS_MAX} steps"));
            }
            for (step_at, step) in row.steps.iter().enumerate() {
                if let Err(why) = step.check() {
                    return wrong(format!("ladder[{at}].steps[{step_at}]: {why}"));
                }
            }
        }
        Ok(())
    }

    /// The rungs for trouble of `kind` on `target`; none is no row at all.
    pub fn rungs(&self, kind: &str, target: &str) -> Option<Rungs> {
        let fits = |row: &&Row| selects(&row.kind, kind) && selects(&row.target, target);
        match self.ladder.iter().find(fits) {
            Some(row) => Some(Rungs { steps: row.steps.clone(), gives_way: false }),
            None if self.builtin => self.built_in(kind, target),
            None => None,
        }
    }

    fn built_in(&self, kind: &str, target: &str) -> Option<Rungs> {
        let mends = |step: Step| Rungs {
            steps: [step].into_iter().chain(self.tell()).collect(),
            gives_way: false,
        };
        let tells = || Rungs { steps: self.tell().into_iter().collect(), gives_way: true };
        let is_workload = target.starts_with("workload:");
        match kind {
            "process.gone" | "probe.failing" if is_workload => Some(mends(Step::restart(5))),
            // It will leak again: that is news for a person.
            kind if kind.starts_with("leak.") && is_workload => Some(mends(Step::restart(1))),
            // Nobody knows that anything is wrong but the probe: a person looks.
            "probe.silent" => Some(tells()),
            kind if TOLD.iter().any(|family| kind.starts_with(family)) => Some(tells()),
            _ => None,
        }
    }

    /// Tells the person whom the site names.
    pub fn tell(&self) -> Option<Step> {
        self.notify.as_deref().map(Step::tell)
    }
}

impl Step {
    fn restart(attempts: u32) -> Self {
        Self { attempts, ..Self::of("workload.restart") }
    }

    fn tell(to: &str) -> Self {
        Self {
            params: [("to".to_owned(), Param::Text(to.to_owned()))].into(),
            ..Self::of("notify")
        }
    }

    fn of(action: &str) -> Self {
        Self {
            action: action.to_owned(),
            target: None,
            params: BTreeMap::new(),
            attempts: one(),
            backoff_s: one_second(),
            backoff_max_s: one_minute(),
            also_prove: Vec::new(),
        }
    }

    /// How long after its `tries`-th try the next one may begin.
    pub fn backoff_ms(&self, tries: u32) -> u64 {
        let doubled = self.backoff_s * 2_f64.powi(tries.saturating_sub(1).min(30) as i32);
        to_ms(doubled.min(self.backoff_max_s.max(self.backoff_s)))
    }

    fn check(&self) -> Result<(), String> {
        if self.action.is_empty() {
            return Err("wanted an action, found nothing".into());
        }
        if !(1..=1_000).contains(&self.attempts) {
            return Err(format!("attempts wants 1 to 1000, found {}", self.attempts));
        }
        for (name, seconds) in
            [("backoff_s", self.backoff_s), ("backoff_max_s", self.backoff_max_s)]
        {
            if !is_pause(seconds) {
                return Err(format!("{name} wants seconds from 0.1 to a year, found {seconds}"));
            }
        }
        Ok(())
    }
}

pub fn to_ms(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}

fn is_pause(seconds: f64) -> bool {
    (0.1..=31_536_000.0).contains(&seconds)
}
