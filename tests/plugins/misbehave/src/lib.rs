//! For Homeostat's own tests: a detector that goes wrong on purpose.
//!
//! Invariant: until its trigger it behaves, and reports on `target` the one
//! finding that `finding` asks for, so that a test can see what its fall clears.

use homeostat_sdk::{Detector, Error, Finding, Frame, Report, Resumable, Series, detector};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    how: How,
    /// Behaves for so many frames.
    #[serde(default)]
    after: Option<u64>,
    /// Behaves until a line contains this.
    #[serde(default)]
    word: Option<String>,
    /// While it behaves, it says that something is wrong with this target.
    #[serde(default)]
    finding: Option<String>,
    #[serde(default = "million")]
    count: usize,
}

fn million() -> usize {
    1_000_000
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Panics.
    Trap,
    /// Never returns.
    Loop,
    /// Takes memory until there is none.
    Memory,
    /// Returns `count` findings, a million by default. How many of them its
    /// memory can hold is the host's to say.
    Flood,
    /// Judges nothing: every bound target is unjudged.
    Silent,
    /// From its trigger on its checkpoint is one that cannot be lived with:
    /// `restore` takes it, and the next `observe` traps.
    Poison,
    /// As `poison`, but `restore` itself traps.
    PoisonRestore,
    /// Refuses every configuration.
    Refuse,
    /// Speaks about a target that it is not bound to.
    OutlawTarget,
    /// Words so long that no log should keep them.
    Chatter,
}

pub struct Misbehave {
    config: Config,
    targets: Vec<String>,
    state: State,
    /// The state came from a checkpoint.
    restored: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct State {
    frames: u64,
    triggered: bool,
}

impl Detector for Misbehave {
    type Config = Config;

    fn configure(config: Config) -> Result<Self, Error> {
        if config.how == How::Refuse {
            return Err(Error::new("misbehave.refused", "it was told to refuse"));
        }
        Ok(Self { config, targets: Vec::new(), state: State::default(), restored: false })
    }

    fn reads(&self) -> Vec<String> {
        vec!["*".into()]
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), Error> {
        self.targets = series.iter().map(|series| series.target.clone()).collect();
        self.targets.sort();
        self.targets.dedup();
        Ok(())
    }

    fn observe(&mut self, frame: &Frame<'_>) -> Report {
        let poisoned = self.restored && self.state.triggered;
        assert!(!(poisoned && self.config.how == How::Poison), "the checkpoint was poisoned");
        self.state.frames += 1;
        if self.is_triggered(frame) {
            self.state.triggered = true;
        }
        if self.state.triggered { self.misbehave() } else { self.behave() }
    }
}

impl Resumable for Misbehave {
    type State = State;

    fn save(&self) -> State {
        self.state
    }

    fn restore(&mut self, state: State) -> Result<(), String> {
        let poisoned = state.triggered && self.config.how == How::PoisonRestore;
        assert!(!poisoned, "the checkpoint was poisoned");
        // Only a poisoned detector falls again at once: the others count anew,
        // so that a restart is seen to help.
        self.state = if self.config.how == How::Poison { state } else { State::default() };
        self.restored = true;
        Ok(())
    }
}

impl Misbehave {
    fn is_triggered(&self, frame: &Frame<'_>) -> bool {
        let counted = self.config.after.is_some_and(|after| self.state.frames > after);
        let spoken =
            self.config.word.as_ref().is_some_and(|word| {
                frame.lines().iter().any(|line| line.text.contains(word.as_str()))
            });
        counted || spoken || (self.config.after.is_none() && self.config.word.is_none())
    }

    fn behave(&self) -> Report {
        let findings = self.config.finding.iter();
        let findings = findings.map(|target| Finding::new("misbehave.says", target, "so it says"));
        Report { findings: findings.collect(), unjudged: Vec::new() }
    }

    fn misbehave(&self) -> Report {
        match self.config.how {
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
            How::Flood => {
                let one = |_| Finding {
                    key: String::new(),
                    kind: String::new(),
                    target: String::new(),
                    severity: 1,
                    series: Vec::new(),
                    message: String::new(),
                    evidence: Vec::new(),
                };
                Report { findings: (0..self.config.count).map(one).collect(), unjudged: Vec::new() }
            }
            How::Silent => Report { findings: Vec::new(), unjudged: self.targets.clone() },
            How::OutlawTarget => {
                let mut report = self.behave();
                report.findings.push(Finding::new("misbehave.outlaw", "workload:nobodys", "mine"));
                report
            }
            How::Chatter => {
                homeostat_sdk::log::error("x".repeat(1 << 20));
                (0..10_000).for_each(|n| homeostat_sdk::log::info(n.to_string()));
                self.behave()
            }
            How::Poison | How::PoisonRestore | How::Refuse => self.behave(),
        }
    }
}

detector!(Misbehave, resumable);

#[cfg(test)]
mod tests {
    use super::*;
    use homeostat_sdk::testkit::{Session, frame, refusal, series};

    fn session(config: &str) -> Session<Misbehave> {
        Session::new(config).bind([series("a").on("workload:digits")])
    }

    #[test]
    fn it_behaves_until_its_trigger() {
        let mut it = session(r#"{"how":"silent","after":1,"finding":"workload:digits"}"#);
        assert_eq!(it.observe(frame(1)).findings.len(), 1);
        assert_eq!(it.observe(frame(2)).unjudged, ["workload:digits"]);
        let mut it = session(r#"{"how":"outlaw-target","word":"now"}"#);
        assert_eq!(it.observe(frame(1).line("box", "later")).findings.len(), 0);
        assert_eq!(it.observe(frame(2).line("box", "now!")).findings[0].target, "workload:nobodys");
    }

    #[test]
    #[should_panic(expected = "poisoned")]
    fn a_poisoned_checkpoint_traps_the_next_observe() {
        let mut it = session(r#"{"how":"poison","after":0}"#);
        it.observe(frame(1));
        it.resume();
        it.observe(frame(2));
    }

    #[test]
    fn it_refuses_a_configuration_when_told() {
        assert_eq!(refusal::<Misbehave>(r#"{"how":"refuse"}"#).code, "misbehave.refused");
    }
}
