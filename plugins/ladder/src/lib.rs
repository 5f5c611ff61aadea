//! Remedies per kind of trouble, cheapest first: one rung, a pause that doubles,
//! the next rung, and in the end a person.
//!
//! ```text
//!  not ours (external) ─▶ wait, tell    no row for the kind ─▶ decline
//!  first step with tries left:
//!     not permitted for now ─▶ wait     not permitted at all ─▶ next step
//!     its pause still runs  ─▶ wait     else ─▶ act
//!  no step left ─▶ give up, and say what was tried
//! ```
//!
//! Invariant: the answer depends on the configuration and the incident alone,
//! and nothing is proposed that its remedy does not allow.

mod config;
mod rung;

use homeostat_sdk::text::short;
use homeostat_sdk::{Decision, Error, Finding, Healer, Incident, healer};

pub use config::Config;
use config::{Step, to_ms};
use rung::Rung;

/// Longest between two looks at what is not ours to repair.
const EXTERNAL_WAIT_MS_MAX: u64 = 600_000;
/// While nothing is wrong that could be named.
const QUIET_WAIT_MS: u64 = 5_000;

pub struct Ladder {
    config: Config,
}

impl Healer for Ladder {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { config })
    }

    fn decide(&self, incident: &Incident) -> Decision {
        if let Some(wait) = self.not_ours(incident) {
            return wait;
        }
        let wrong = incident.root_findings();
        let Some(first) = wrong.first() else {
            let root = short(&incident.root);
            return match incident.findings.first() {
                Some(other) => Decision::Decline(format!(
                    "nothing is wrong with {root} itself, but with {}: {}",
                    short(&other.target),
                    other.kind
                )),
                None => Decision::wait(
                    QUIET_WAIT_MS,
                    format!("nothing is wrong with {root} at the moment"),
                ),
            };
        };
        // The worst that there is a row for.
        let rows = || {
            wrong.iter().filter_map(|finding| {
                Some((*finding, self.config.rungs(&finding.kind, &finding.target)?))
            })
        };
        match rows().find(|(_, row)| !row.gives_way).or_else(|| rows().next()) {
            Some((finding, row)) => self.climb(incident, finding, &row.steps),
            None => Decision::Decline(format!("no ladder for {}", first.kind)),
        }
    }
}

impl Ladder {
    /// Trouble of something that only its owner can repair burns no rung, be it
    /// the root itself or what the root needs.
    fn not_ours(&self, incident: &Incident) -> Option<Decision> {
        let outside = incident.findings.iter().find(|it| it.kind.starts_with("external."))?;
        let name = short(&outside.target);
        let root = short(&incident.root);
        let why = if outside.target == incident.root {
            if let Some(told) = self.tell_of_outside(incident, outside) {
                return Some(told);
            }
            format!("{name} is not ours to repair: waiting for it to come back")
        } else {
            format!("{root} needs {name}, which is failing and not ours to repair")
        };
        Some(Decision::wait(self.outside_wait_ms(incident), why))
    }

    /// An outage that lasts is told, and waited for all the same.
    fn tell_of_outside(&self, incident: &Incident, outside: &Finding) -> Option<Decision> {
        let due = age_ms(incident) >= to_ms(self.config.external_notify_s);
        let step = self.config.tell().filter(|_| due)?;
        match Rung::new(incident, &step, &self.config).stand(outside) {
            rung::Stand::Decide(told @ Decision::Act(_)) => Some(told),
            _ => None,
        }
    }

    /// Until it is due to be told, and else the longer, the longer it lasts.
    fn outside_wait_ms(&self, incident: &Incident) -> u64 {
        let wait_ms = wait_ms(incident, self.config.external_wait_s, EXTERNAL_WAIT_MS_MAX);
        let left_ms = to_ms(self.config.external_notify_s).saturating_sub(age_ms(incident));
        if left_ms == 0 { wait_ms } else { wait_ms.min(left_ms) }
    }

    fn climb(&self, incident: &Incident, finding: &Finding, steps: &[Step]) -> Decision {
        let mut spent = Vec::new();
        for step in steps {
            match Rung::new(incident, step, &self.config).stand(finding) {
                rung::Stand::Decide(decision) => return decision,
                rung::Stand::Climb(why) => spent.push(why),
            }
        }
        let tried = if spent.is_empty() {
            "there is no remedy on its ladder".to_owned()
        } else {
            spent.join("; ")
        };
        Decision::GiveUp(format!("{}: {tried}", finding.message))
    }
}

/// How long the incident has been open.
fn age_ms(incident: &Incident) -> u64 {
    incident.now.age_ms.saturating_sub(incident.opened.age_ms)
}

/// At least so long, and up to `max_ms` an eighth of the time that the incident
/// has been open: what lasts for days is not asked about every few seconds.
fn wait_ms(incident: &Incident, least_s: f64, max_ms: u64) -> u64 {
    let least_ms = to_ms(least_s);
    (age_ms(incident) / 8).clamp(least_ms, max_ms.max(least_ms))
}

healer!(Ladder);

#[cfg(test)]
mod tests;
