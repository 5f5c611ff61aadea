//! The nouns: inert data that every room shares.
//!
//! Invariant: nothing here does I/O, holds a clock or decides. Each type is
//! what the journal stores, what the API shows and (where the contract has it)
//! what a plugin sees, under the same name.

pub mod action;
pub mod brief;
pub mod catalogue;
pub mod command;
pub mod drill;
pub mod event;
pub mod finding;
pub mod frame;
pub mod target;
pub mod view;

pub use action::{
    Attempt, AttemptId, AttemptOutcome, Decision, Lease, Mode, Origin, Outcome, Proposal, Refusal,
    Remedy,
};
pub use brief::{Brief, Node};
pub use command::{Command, CommandError, PluginSettings};
pub use drill::DrillFault;
pub use event::{AfterFault, Event, ExitStatus, FindingRef, Record, Seq, Sighting};
pub use finding::{Finding, IncidentId, Report, Severity};
pub use frame::{Attrs, Batch, Frame, Instant, Line, Mark, Series, SeriesId, Value};
pub use target::{Graph, Target, TargetId, TargetKind, selects};
pub use view::{Condition, View};
