//! {name}: restarts a workload that is gone, and then tells a person.

use homeostat_sdk::{Decision, Error, Healer, Incident, Proposal, healer};
use serde::Deserialize;

const RESTART: &str = "workload.restart";

/// What a box may set under `config` of this plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// So many restarts are tried.
    tries: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { tries: 3 }
    }
}

pub struct {Type} {
    config: Config,
}

impl Healer for {Type} {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.tries == 0 {
            return Err(Error::config("tries wants at least 1, found 0".to_owned()));
        }
        Ok(Self { config })
    }

    // THE ONE FUNCTION TO WRITE. It starts afresh each time: all there is to know is
    // in the incident. Propose only what a remedy of it allows; the guard judges,
    // and the next question tells what came of it.
    fn decide(&self, incident: &Incident) -> Decision {
        let tried = incident.attempts_of(RESTART, &incident.root).count();
        if tried >= self.config.tries {
            return Decision::GiveUp(format!("{RESTART} was tried {tried} times"));
        }
        match incident.remedy(RESTART, &incident.root) {
            None => Decision::Decline(format!("{} is no workload", incident.root)),
            Some(remedy) if !remedy.allowed => Decision::wait(5_000, remedy.why_not.clone()),
            Some(_) => {
                let reason = format!("try {} of {}", tried + 1, self.config.tries);
                Decision::Act(Proposal::new(RESTART, &incident.root, reason))
            }
        }
    }
}

healer!({Type});

#[cfg(test)]
mod tests {
    use homeostat_sdk::testkit::{decide, golden, healer, incident};

    use super::*;

    #[test]
    fn it_restarts_until_it_is_out_of_tries() {
        let gone = || incident("workload:digits", "process.gone").remedy(RESTART);
        let Decision::Act(first) = decide::<{Type}>("", gone()) else { panic!("it acts") };
        assert_eq!((first.action.as_str(), first.reason.as_str()), (RESTART, "try 1 of 3"));
        let tired = (1..=3).fold(gone(), |it, n| it.attempt(RESTART, n * 1_000, "failed"));
        assert!(matches!(decide::<{Type}>("", tired), Decision::GiveUp(_)));
    }

    /// With HOMEOSTAT_BLESS=1 it writes down what comes instead: read the change
    /// before you commit it.
    #[test]
    fn the_recordings_replay() {
        golden(concat!(env!("CARGO_MANIFEST_DIR"), "/golden"), healer::<{Type}>);
    }
}
