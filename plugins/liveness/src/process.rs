//! One process: what its marks say, and what its readings say where no mark
//! came.
//!
//! ```text
//!             started, adopted, seen running
//!  unknown ───────────────────────────────────▶ running ◀──────────┐
//!     │ missing for the start grace      exit mark │ · missing     │ started
//!     ▼                                            ▼               │
//!   ended: missed            ended: unasked · asked · missed ──────┤
//!                                               │ a start that ended and left it missing
//!                                               ▼                  │
//!                                      ended: not started again ───┘
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
    Ended { since_age_ms: u64, attempt: Option<String>, exit: Exit, end: End },
}

/// What its end left to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub status: Option<String>,
    /// Why it could not be started.
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Nobody asked for it.
    Unasked,
    /// We stopped it: for good, or to start it again. `due` once an action that
    /// should have started it ended.
    Asked { due: bool },
    /// It should have been started, and is not there.
    NotStartedAgain,
    /// No mark told of it.
    Missed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    pub process: Process,
    absent: u8,
    /// A reading taken well after the latest change agrees with it.
    confirmed: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self::of(Process::Unknown { since_age_ms: 0 })
    }
}

impl Watch {
    fn of(process: Process) -> Self {
        Self { process, absent: 0, confirmed: false }
    }

    pub fn is_known(&self) -> bool {
        !matches!(self.process, Process::Unknown { .. })
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.process, Process::Ended { .. })
    }

    pub fn is_running(&self) -> bool {
        matches!(self.process, Process::Running { .. })
    }

    pub fn is_confirmed(&self) -> bool {
        self.confirmed
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
        *self = Self::of(Process::Unknown { since_age_ms: age_ms });
    }

    /// Whether that is news: a start that is known is told again to a detector
    /// that was away.
    pub fn started(&mut self, age_ms: u64, attempt: Option<&str>) -> bool {
        let known = matches!(&self.process, Process::Running { attempt: Some(running), .. }
            if attempt == Some(running));
        if known {
            return false;
        }
        let attempt = attempt.map(str::to_owned);
        *self = Self::of(Process::Running { since_age_ms: age_ms, attempt });
        true
    }

    /// It runs, whoever started it.
    pub fn adopted(&mut self, age_ms: u64) {
        if !self.is_running() {
            *self = Self::of(Process::Running { since_age_ms: age_ms, attempt: None });
        }
    }

    /// Whether that is news.
    pub fn exited(&mut self, age_ms: u64, attempt: Option<&str>, exit: Exit, end: End) -> bool {
        if self.is_late_news(age_ms, attempt) || self.is_told_again(attempt, end) {
            return false;
        }
        let attempt = attempt.map(str::to_owned);
        *self = Self::of(Process::Ended { since_age_ms: age_ms, attempt, exit, end });
        true
    }

    /// An action ended that should have started it.
    pub fn start_was_due(&mut self) {
        if let Process::Ended { end: End::Asked { due }, .. } = &mut self.process {
            *due = true;
            self.absent = 0;
        }
    }

    fn is_told_again(&self, told: Option<&str>, how: End) -> bool {
        let Process::Ended { attempt, end, .. } = &self.process else { return false };
        let same_way = match (end, how) {
            (End::Asked { .. }, End::Asked { .. }) => true,
            (End::Asked { .. }, _) | (_, End::Asked { .. }) => false,
            _ => true,
        };
        same_way && told.is_some() && attempt.as_deref() == told
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
        let for_ms = age_ms.saturating_sub(self.since_age_ms());
        // A stop may be half of a restart, and a start that is due may come.
        let settled = match &self.process {
            Process::Unknown { .. } | Process::Ended { end: End::Asked { due: true }, .. } => false,
            Process::Ended { end: End::Asked { due: false }, .. } => for_ms > settle_ms,
            Process::Running { .. } | Process::Ended { .. } => for_ms > READING_SKEW_MS,
        };
        self.confirmed |= settled && self.is_running() == runs;
        if runs {
            self.seen(age_ms, for_ms, settle_ms)
        } else {
            self.missed(age_ms, for_ms, settle_ms, grace_ms)
        }
    }

    fn seen(&mut self, age_ms: u64, for_ms: u64, settle_ms: u64) {
        self.absent = 0;
        let contradicts = self.has_ended() && for_ms > settle_ms;
        if contradicts || !self.is_known() {
            *self = Self::of(Process::Running { since_age_ms: age_ms, attempt: None });
            self.confirmed = true;
        }
    }

    fn missed(&mut self, age_ms: u64, for_ms: u64, settle_ms: u64, grace_ms: u64) {
        let patience_ms = if self.is_known() { settle_ms } else { grace_ms };
        if for_ms <= patience_ms {
            return;
        }
        self.absent = self.absent.saturating_add(1);
        if self.absent < ABSENT_WANTED {
            return;
        }
        let (attempt, exit, end) = match &self.process {
            Process::Unknown { .. } => (None, Exit::default(), End::Missed),
            Process::Running { attempt, .. } => (attempt.clone(), Exit::default(), End::Missed),
            Process::Ended { attempt, exit, end: End::Asked { due: true }, .. } => {
                (attempt.clone(), exit.clone(), End::NotStartedAgain)
            }
            Process::Ended { .. } => return,
        };
        *self = Self::of(Process::Ended { since_age_ms: age_ms, attempt, exit, end });
        self.confirmed = true;
    }
}
