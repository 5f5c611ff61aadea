//! The story of one incident, told from its records: what was seen, what was
//! decided by whom, what was refused and why, what was permitted, what came of it.
//!
//! Invariant: a pure fold. Everything it tells stands in a record; what no
//! record says is left out, never guessed.

mod teller;

use serde::{Deserialize, Serialize};

use crate::model::{
    AttemptId, Decision, DrillFault, Finding, IncidentId, Instant, Origin, Outcome, Proposal,
    Record, Refusal, Seq, TargetId,
};
use teller::Teller;

/// A story is for a person. Of a longer one the middle is left out.
const CHAPTERS_MAX: usize = 400;
/// Kept from its beginning, when the middle is left out.
const CHAPTERS_FIRST: usize = 100;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Story {
    pub incident: IncidentId,
    /// When it was told.
    pub now: Instant,
    /// None when its first record is no longer kept.
    pub opening: Option<Opening>,
    /// The phase that the records lead to.
    pub phase: String,
    pub chapters: Vec<Chapter>,
    /// Chapters left out of the middle.
    pub left_out: usize,
    /// Size of the recording of what led to it, where one is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording_bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    pub at: Instant,
    pub root: TargetId,
    pub kind: String,
    pub signature: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chapter {
    /// Of its record; of the first one, where several alike became one chapter.
    pub seq: Seq,
    pub at: Instant,
    /// How many alike, and when the last of them was.
    pub times: u32,
    pub last: Instant,
    #[serde(flatten)]
    pub passage: Passage,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "chapter")]
pub enum Passage {
    Seen {
        detector: String,
        finding: Finding,
    },
    Opened {},
    /// An operator staged a fault on its root before it opened.
    Drilled {
        #[serde(flatten)]
        fault: DrillFault,
        by: Origin,
        drill: Seq,
        after_ms: u64,
    },
    /// A healer was asked, and its answer is not there yet.
    Asked {
        healer: String,
    },
    Decided {
        healer: String,
        decision: Decision,
    },
    Unanswered {
        healer: String,
        why: String,
    },
    Refused {
        origin: Origin,
        proposal: Proposal,
        refusal: Refusal,
    },
    Permitted {
        attempt: AttemptId,
        origin: Origin,
        proposal: Proposal,
        expires_age_ms: u64,
    },
    Ended {
        attempt: AttemptId,
        outcome: Outcome,
        took_ms: Option<u64>,
    },
    /// A crash hid how the attempt ended; this was observed afterwards.
    Observed {
        attempt: AttemptId,
        outcome: Outcome,
    },
    /// A person's yes.
    Approved {
        by: Origin,
    },
    /// A person's no.
    Denied {
        by: Origin,
    },
    /// A person closed it, ill or not.
    Dismissed {
        by: Origin,
    },
    Proof {
        good: bool,
        detail: String,
    },
    ProofFailed {
        attempt: Option<AttemptId>,
        why: String,
    },
    Recovered {
        attempt: Option<AttemptId>,
        after_ms: Option<u64>,
    },
    Relapsed {
        attempt: Option<AttemptId>,
        why: String,
    },
    Proven {
        attempt: Option<AttemptId>,
    },
    Stuck {
        why: String,
    },
    Reopened {
        why: String,
    },
    Closed {
        why: String,
    },
}

/// Tells the story of `incident` from its records, oldest first. Records of
/// other things may stand among them: `finding-raised` says what was seen, the
/// rest is passed over. None when no record is about the incident.
pub fn tell(incident: IncidentId, records: &[Record], now: Instant) -> Option<Story> {
    let mut teller = Teller::default();
    for record in records {
        if record.event.incident(record.seq) == Some(incident) {
            teller.tell(record);
        }
    }
    if teller.chapters.is_empty() {
        return None;
    }
    let mut chapters = teller.chapters;
    let left_out = chapters.len().saturating_sub(CHAPTERS_MAX);
    if left_out > 0 {
        chapters.drain(CHAPTERS_FIRST..CHAPTERS_FIRST + left_out);
    }
    let phase = teller.phase.to_owned();
    let opening = teller.opening;
    Some(Story { incident, now, opening, phase, chapters, left_out, recording_bytes: None })
}

#[cfg(test)]
mod tests;
