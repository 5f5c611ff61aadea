//! {name}: says when a level is too high.

use homeostat_sdk::{Detector, Error, Finding, Frame, Report, detector};
use serde::Deserialize;

/// What a box may set under `config` of this plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A level above this is wrong.
    limit: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { limit: 90.0 }
    }
}

pub struct {Type} {
    config: Config,
}

impl Detector for {Type} {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if !config.limit.is_finite() {
            return Err(Error::config(format!("limit wants a number, found {}", config.limit)));
        }
        Ok(Self { config })
    }

    /// The series that it is shown. `reads` in plugin.toml says the same to who
    /// installs it.
    fn reads(&self) -> Vec<String> {
        vec!["sensor.level".into()]
    }

    // THE ONE FUNCTION TO WRITE. Say all that is wrong now, in every report, in the
    // same words while it stands; what this frame does not let you judge, name in
    // `unjudged`, and nothing is cleared there.
    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        let mut report = Report::default();
        for (column, series) in frame.series().iter().enumerate() {
            match frame.latest(column) {
                Some((_, value)) if value > self.config.limit => {
                    let limit = self.config.limit;
                    let message = format!("the level of {} is above {limit}", series.target);
                    let finding = Finding::new("{name}.high", &series.target, message);
                    report.findings.push(finding.column(column));
                }
                Some(_) => {}
                None => report.unjudged.push(series.target.clone()),
            }
        }
        report
    }
}

detector!({Type});

#[cfg(test)]
mod tests {
    use homeostat_sdk::testkit::{Session, detector, frame, golden, series};

    use super::*;

    #[test]
    fn a_level_above_the_limit_is_a_finding_until_it_is_below_again() {
        let mut it = Session::<{Type}>::new(r#"{"limit": 50}"#)
            .bind([series("sensor.level").on("box")]);
        assert_eq!(it.observe(frame(1_000).row([20.0])), Report::default());
        let report = it.observe(frame(2_000).row([60.0]));
        assert_eq!(report.findings[0].kind, "{name}.high");
        assert_eq!(it.observe(frame(3_000)).unjudged, ["box"], "silence is not health");
        assert_eq!(it.observe(frame(4_000).row([40.0])), Report::default());
    }

    /// With HOMEOSTAT_BLESS=1 it writes down what comes instead: read the change
    /// before you commit it.
    #[test]
    fn the_recordings_replay() {
        golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), detector::<{Type}>);
    }
}
