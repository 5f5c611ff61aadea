//! One process: what its marks say, and what its readings say where no mark
//! came.
//!
//! ```text
//!            seen running, started, adopted
//!  unknown ────────────────────────────────▶ running ◀─────────────┐
//!     │ not running for the start grace          │ exit mark       │ started
//!     ▼                                          ▼                 │
//!   ended unwanted ◀── not running, settled ── ended wanted ───────┤
//!     └────────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariant: a reading taken before the latest mark says nothing; one that
//! contradicts it is believed only after the settle time, and a missing process
//! only when missed twice.

use serde::{Deserialize, Serialize};

/// Readings of 0 in a row that make a process missing.
const ABSENT_WANTED: u8 = 2;
const READING_SKEW_MS: u64 = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Process {
    Unknown { since_age_ms: u64 },
    Running { since_age_ms: u64, attempt: Option<String> },
    Ended { since_age_ms: u64, attempt: Option<String>, status: Option<String>, end: End },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Nobody asked for it.
    Unasked,
    /// We stopped it, maybe to start it again.
    Asked,
    /// We stopped it, and nothing followed.
    NotStartedAgain,
    /// No mark told of it.
    Missed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    pub process: Process,
    absent: u8,
}

impl Default for Watch {
    fn default() -> Self {
        Self { process: Process::Unknown { since_age_ms: 0 }, absent: 0 }
    }
}

impl Watch {
    pub fn is_known(&self) -> bool {
        !matches!(self.process, Process::Unknown { .. })
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.process, Process::Ended { .. })
    }

    pub fn since_age_ms(&self) -> u64 {
        match self.process {
            Process::Unknown { since_age_ms }
            | Process::Running { since_age_ms, .. }
            | Process::Ended { since_age_ms, .. } => since_age_ms,
        }
    }

    /// Back to the state before anything was seen.
    pub fn forget(&mut self, age_ms: u64) {
        *self = Self { process: Process::Unknown { since_age_ms: age_ms }, absent: 0 };
    }

    pub fn started(&mut self, age_ms: u64, attempt: Option<&str>) {
        let attempt = attempt.map(str::to_owned);
        self.change(Process::Running { since_age_ms: age_ms, attempt });
    }

    pub fn exited(&mut self, age_ms: u64, attempt: Option<&str>, status: Option<&str>, end: End) {
        if self.is_late_news(age_ms, attempt) {
            return;
        }
        self.change(Process::Ended {
            since_age_ms: age_ms,
            attempt: attempt.map(str::to_owned),
            status: status.map(str::to_owned),
            end,
        });
    }

    /// A word about an earlier process than the one that runs.
    fn is_late_news(&self, age_ms: u64, attempt: Option<&str>) -> bool {
        match &self.process {
            Process::Running { since_age_ms, attempt: Some(running) } => {
                age_ms < *since_age_ms || attempt.is_some_and(|it| it != running)
            }
            // First seen by a reading, which may be a little older than it says.
            Process::Running { since_age_ms, attempt: None } => {
                age_ms.saturating_add(READING_SKEW_MS) < *since_age_ms
            }
            _ => false,
        }
    }

    /// A reading of whether it runs.
    pub fn reading(&mut self, age_ms: u64, runs: bool, settle_ms: u64, grace_ms: u64) {
        if let Process::Unknown { since_age_ms: since_age_ms @ 0 } = &mut self.process {
            *since_age_ms = age_ms;
        }
        let since_age_ms = self.since_age_ms();
        let for_ms = age_ms.saturating_sub(since_age_ms);
        if runs {
            self.absent = 0;
            let contradicts = self.has_ended() && for_ms > settle_ms;
            if contradicts || !self.is_known() {
                self.started(age_ms, None);
            }
            return;
        }
        let patience_ms = if self.is_known() { settle_ms } else { grace_ms };
        if for_ms <= patience_ms {
            return;
        }
        self.absent = self.absent.saturating_add(1);
        if self.absent < ABSENT_WANTED {
            return;
        }
        let ended = match &self.process {
            Process::Unknown { .. } => (None, None, End::Missed),
            Process::Running { attempt, .. } => (attempt.clone(), None, End::Missed),
            Process::Ended { attempt, status, end: End::Asked, .. } => {
                (attempt.clone(), status.clone(), End::NotStartedAgain)
            }
            Process::Ended { .. } => return,
        };
        let (attempt, status, end) = ended;
        self.change(Process::Ended { since_age_ms: age_ms, attempt, status, end });
    }

    fn change(&mut self, process: Process) {
        *self = Self { process, absent: 0 };
    }
}
