//! For Homeostat's own tests: a healer that goes wrong on purpose.
//!
//! Invariant: what it does is named in its configuration; it never waits.

use homeostat_sdk::{Decision, Error, Healer, Incident, Proposal, healer};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Panics.
    Trap,
    /// Never returns.
    Loop,
    /// Takes memory until there is none.
    Memory,
    /// Refuses every configuration.
    Refuse,
    /// Proposes `action` whatever happened before, allowed or not.
    Insist,
    /// Proposes `action` on a target that is not the incident's.
    OutlawTarget,
    /// Proposes an action that no catalogue has.
    OutlawAction,
    /// Gives a reason of a million bytes.
    Flood,
    /// Not its business.
    Decline,
    /// At once.
    GiveUp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misheal {
    how: How,
    #[serde(default = "restart")]
    action: String,
}

fn restart() -> String {
    "workload.restart".into()
}

impl Healer for Misheal {
    type Config = Self;

    fn configure(config: Self) -> Result<Self, Error> {
        if config.how == How::Refuse {
            return Err(Error::new("misheal.refused", "it was told to refuse"));
        }
        Ok(config)
    }

    fn decide(&self, incident: &Incident) -> Decision {
        let propose = |action: &str, target: &str, reason: &str| {
            Decision::Act(Proposal::new(action, target, reason))
        };
        match self.how {
            How::Trap => panic!("told to trap"),
            How::Loop => loop {
                std::hint::spin_loop();
            },
            How::Memory => {
                let mut hoard: Vec<Vec<u8>> = Vec::new();
                loop {
                    hoard.push(vec![1; 1 << 20]);
                    std::hint::black_box(&hoard);
                }
            }
            How::Insist => propose(&self.action, &incident.root, "because"),
            How::OutlawTarget => propose(&self.action, "workload:nobodys", "because"),
            How::OutlawAction => propose("box.explode", &incident.root, "because"),
            How::Flood => propose(&self.action, &incident.root, &"x".repeat(1_000_000)),
            How::Decline => Decision::Decline("told to decline".into()),
            How::GiveUp | How::Refuse => Decision::GiveUp("told to give up".into()),
        }
    }
}

healer!(Misheal);

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_sdk::testkit::{decide, incident};

    #[test]
    fn it_insists_on_what_is_forbidden() {
        let brief = incident("workload:digits", "process.gone").forbidden("workload.restart", "no");
        let decision = decide::<Misheal>(r#"{"how":"insist"}"#, brief);
        assert!(matches!(decision, Decision::Act(it) if it.action == "workload.restart"));
    }
}
