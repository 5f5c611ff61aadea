//! A fault that an operator stages, to see whether the box heals it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How long a target may be held still at most, whatever the configuration says.
pub const HANG_MS_MAX: u64 = 3_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum DrillFault {
    /// SIGKILL to the whole tree.
    Crash {},
    /// SIGSTOP to the whole tree, and SIGCONT after so long.
    Hang { ms: u64 },
}

impl DrillFault {
    /// How long it is staged.
    pub fn ms(self) -> u64 {
        match self {
            Self::Crash {} => 0,
            Self::Hang { ms } => ms,
        }
    }
}

impl fmt::Display for DrillFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash {} => f.write_str("crash"),
            Self::Hang { ms } => write!(f, "hang of {} s", *ms as f64 / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Command, Event, Origin, TargetId};

    #[test]
    fn a_drill_is_written_flat_and_reads_back() {
        let target = TargetId::workload("digits");
        let hang = DrillFault::Hang { ms: 1500 };
        let command = Command::Inject { target: target.clone(), fault: hang };
        let text = serde_json::to_string(&command).unwrap();
        let expected =
            r#"{"command":"inject","target":"workload:digits","fault":"hang","ms":1500}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), command);

        for fault in [hang, DrillFault::Crash {}] {
            let by = Origin::Operator { uid: 7 };
            let event = Event::DrillBegan { target: target.clone(), fault, by };
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
        assert_eq!(hang.to_string(), "hang of 1.5 s");
    }
}
