//! Rules as a site writes them, and as they are obeyed.
//!
//! Invariant: a [`Rule`] exists only after everything about it was checked; the
//! first mistake is named with its rule.

use homeostat_sdk::latch::LineRule;
use homeostat_sdk::text::Pattern;
use homeostat_sdk::{CRITICAL, ERROR, Error};
use serde::Deserialize;

use crate::set::{ALL, Known, Set};

const RULES_MAX: usize = 256;
const PATTERNS_MAX: usize = 32;
const TIMES_MAX: u32 = 1_000;
const SECONDS_MAX: f64 = 31_536_000.0;
const WITHIN_S_DEFAULT: f64 = 60.0;
/// Longer than most crash loops take to come round again.
const QUIET_S_DEFAULT: f64 = 600.0;
const DEBUG: u8 = 7;
/// What ends the evidence of lines: what wrote them was replaced or repaired,
/// or somebody closed the matter.
const RELEASE: &[&str] = &["workload.started", "action.ended", "incident.closed", "box.booted"];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// None at all is every built-in set over the output of every workload.
    pub rules: Option<Vec<Entry>>,
}

/// A built-in set, or a rule of the site's own. Of rules with one name the
/// site's own beats the set's.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    set: Option<Set>,
    name: Option<String>,
    /// `log.NAME` where nothing else is said.
    kind: Option<String>,
    severity: Option<u8>,
    /// Text in a line; `*` is any text, `\*` an asterisk.
    line: Option<String>,
    /// Several of them: any will do.
    #[serde(default)]
    lines: Vec<String>,
    /// Not where one of these is in the line.
    #[serde(default)]
    except: Vec<String>,
    /// Selectors of what wrote it and where it came from: `workload:*`,
    /// `output`, `kmsg`.
    target: Option<String>,
    source: Option<String>,
    /// The lightest syslog priority that counts: 0 emergency to 7 debug.
    priority_max: Option<u8>,
    /// So many lines ...
    times: Option<u32>,
    /// ... in so long.
    within_s: Option<f64>,
    /// It stands until so long without another; 0 is for good.
    quiet_s: Option<f64>,
    /// Or until one of these marks.
    release: Option<Vec<String>>,
}

#[derive(Debug)]
pub struct Rule {
    pub kind: String,
    pub severity: u8,
    pub lines: LineRule,
}

impl AsRef<LineRule> for Rule {
    fn as_ref(&self) -> &LineRule {
        &self.lines
    }
}

impl Config {
    pub fn resolve(self) -> Result<Vec<Rule>, Error> {
        let entries = self.rules.unwrap_or_else(|| ALL.iter().map(|set| Entry::of(*set)).collect());
        let mut own: Vec<Rule> = Vec::new();
        let mut built_in: Vec<Rule> = Vec::new();
        let mut sets: Vec<Set> = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let wrong = |why: String| Error::config(format!("rules[{at}]: {why}"));
            match entry.set {
                Some(set) if sets.contains(&set) => {
                    let name = set.name();
                    return Err(wrong(format!("set {name:?} is there already; once will do")));
                }
                Some(set) => {
                    sets.push(set);
                    let rules = set.rules().iter().map(|known| entry.of_set(known));
                    built_in.extend(rules.collect::<Result<Vec<_>, _>>().map_err(wrong)?);
                }
                None => {
                    let rule = entry.resolve().map_err(wrong)?;
                    if own.iter().any(|it| it.lines.name == rule.lines.name) {
                        let name = rule.lines.name;
                        return Err(wrong(format!("another rule is called {name:?}, too")));
                    }
                    own.push(rule);
                }
            }
        }
        built_in.retain(|it| own.iter().all(|mine| mine.lines.name != it.lines.name));
        own.append(&mut built_in);
        if own.len() > RULES_MAX {
            let found = own.len();
            return Err(Error::config(format!("wanted at most {RULES_MAX} rules, found {found}")));
        }
        Ok(own)
    }
}

impl Entry {
    /// A set as it is.
    fn of(set: Set) -> Self {
        Self {
            set: Some(set),
            name: None,
            kind: None,
            severity: None,
            line: None,
            lines: Vec::new(),
            except: Vec::new(),
            target: None,
            source: None,
            priority_max: None,
            times: None,
            within_s: None,
            quiet_s: None,
            release: None,
        }
    }

    /// One rule of the set, where and for how long as this entry says.
    fn of_set(&self, known: &Known) -> Result<Rule, String> {
        let foreign = [
            ("name", self.name.is_some()),
            ("kind", self.kind.is_some()),
            ("line", self.line.is_some()),
            ("lines", !self.lines.is_empty()),
            ("times", self.times.is_some()),
        ];
        if let Some((name, _)) = foreign.iter().find(|(_, set)| *set) {
            return Err(format!("`{name}` does not go with `set`: write a rule of your own"));
        }
        let text = |text: &&str| (*text).to_owned();
        let entry = Self {
            set: None,
            name: Some(known.name.to_owned()),
            severity: Some(self.severity.unwrap_or(known.severity)),
            lines: known.patterns.iter().map(text).collect(),
            except: known.except.iter().map(text).chain(self.except.iter().cloned()).collect(),
            target: Some(self.target.clone().unwrap_or_else(|| "workload:*".into())),
            source: Some(self.source.clone().unwrap_or_else(|| "*".into())),
            times: Some(known.times as u32),
            ..self.clone()
        };
        entry.resolve()
    }

    fn resolve(self) -> Result<Rule, String> {
        let name = self.name.ok_or("wanted a `name`, or a `set`")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(format!(
                "a name is made of letters, digits, `-`, `_` and `.`, found {name:?}"
            ));
        }
        let wrong = |why: String| format!("{name:?}: {why}");
        let severity = self.severity.unwrap_or(ERROR);
        if severity > CRITICAL {
            return Err(wrong(format!("`severity` wants 0 to {CRITICAL}, found {severity}")));
        }
        let priority_max = self.priority_max.unwrap_or(DEBUG);
        if priority_max > DEBUG {
            return Err(wrong(format!("`priority_max` wants 0 to {DEBUG}, found {priority_max}")));
        }
        let times = self.times.unwrap_or(1);
        if !(1..=TIMES_MAX).contains(&times) {
            return Err(wrong(format!("`times` wants 1 to {TIMES_MAX}, found {times}")));
        }
        let texts: Vec<_> = self.line.iter().chain(&self.lines).collect();
        if texts.is_empty() || texts.len().max(self.except.len()) > PATTERNS_MAX {
            return Err(wrong(format!("wanted `line` or `lines`, at most {PATTERNS_MAX}")));
        }
        let pattern = |text: &String| Pattern::new(text);
        let patterns = texts.into_iter().map(pattern).collect::<Result<_, _>>().map_err(wrong)?;
        let except = self.except.iter().map(pattern).collect::<Result<_, _>>().map_err(wrong)?;
        let within_ms = ms("within_s", self.within_s, WITHIN_S_DEFAULT).map_err(wrong)?;
        let quiet_ms = ms("quiet_s", self.quiet_s, QUIET_S_DEFAULT).map_err(wrong)?;
        let release =
            self.release.unwrap_or_else(|| RELEASE.iter().map(|it| (*it).to_owned()).collect());
        Ok(Rule {
            kind: self.kind.unwrap_or_else(|| format!("log.{name}")),
            severity,
            lines: LineRule {
                name,
                target: self.target.unwrap_or_else(|| "*".into()),
                source: self.source.unwrap_or_else(|| "*".into()),
                priority_max,
                patterns,
                except,
                times: times as usize,
                within_ms,
                release,
                quiet_ms: (quiet_ms > 0).then_some(quiet_ms),
            },
        })
    }
}

fn ms(name: &str, seconds: Option<f64>, default: f64) -> Result<u64, String> {
    let seconds = seconds.unwrap_or(default);
    // A year, so that no sum of ages overflows.
    if !(0.0..=SECONDS_MAX).contains(&seconds) {
        return Err(format!("`{name}` wants seconds from 0 to a year, found {seconds}"));
    }
    Ok((seconds * 1_000.0) as u64)
}
