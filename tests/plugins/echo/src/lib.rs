//! For Homeostat's own tests and benchmarks: a detector that does nothing.
//!
//! Invariant: with no configuration a call costs the boundary and nothing else.

use homeostat_sdk::{Detector, Error, Finding, Frame, Report, Series, detector};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The series it asks for; all where none is named.
    reads: Vec<String>,
    /// Reports one finding on this target, in every frame.
    target: Option<String>,
}

pub struct Echo {
    config: Config,
}

impl Detector for Echo {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        Ok(Self { config })
    }

    fn reads(&self) -> Vec<String> {
        if self.config.reads.is_empty() { vec!["*".into()] } else { self.config.reads.clone() }
    }

    fn bind(&mut self, _: &[Series]) -> Result<(), Error> {
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        let findings =
            self.config.target.iter().map(|target| {
                Finding::new("echo", target, "asked to say so").with("seq", frame.seq())
            });
        Report { findings: findings.collect(), unjudged: Vec::new() }
    }
}

detector!(Echo);

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_sdk::testkit::{Session, frame, series};

    #[test]
    fn it_says_nothing_unless_asked_to() {
        let mut session = Session::<Echo>::new("").bind([series("a")]);
        assert_eq!(session.observe(frame(1).row([1.0])), Report::default());
        let mut session = Session::<Echo>::new(r#"{"target":"box"}"#).bind([series("a")]);
        assert_eq!(session.observe(frame(1).row([1.0])).findings[0].target, "box");
    }
}
