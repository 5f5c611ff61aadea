//! Named points of the path where a test can kill the process, so that every
//! crash the design speaks of can be made to happen; and clocks that it can
//! put wrong.
//!
//! Built only with the feature `failpoints`; otherwise [`hit`] is empty, and
//! the clocks are the machine's.
//! `HOMEOSTAT_FAILPOINT=NAME` kills the process with SIGKILL at the first pass,
//! `NAME:N` at the N-th; `NAME:stall` stands still there for ever, the process
//! living on. `HOMEOSTAT_WALL_CLOCK=FILE` names a file with the seconds
//! by which the wall clock is off, `HOMEOSTAT_SLEPT=FILE` one with the seconds
//! that the box slept; both are read whenever the clock is.

/// One place each. The order is the path's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    DriverReport,
    DriverIncidentOpened,
    DriverAsk,
    DriverDecided,
    DriverPermitted,
    JournalBeforeCommit,
    JournalAfterCommit,
    SlotBeforeWrite,
    SlotBetweenCopies,
    ActionBeforeTouch,
    ActionAfterStop,
    ActionAfterStart,
    DriverEnded,
    DriverProof,
    DriverRecovered,
    DriverProven,
    ShimLocked,
    ShimBeforeSpawn,
    ShimAfterSpawn,
    ShimRecorded,
    ShimStopping,
    ShimExitSeen,
    ShimExitWritten,
}

impl Failpoint {
    /// Points the daemon passes.
    pub const DAEMON: [Self; 16] = [
        Self::DriverReport,
        Self::DriverIncidentOpened,
        Self::DriverAsk,
        Self::DriverDecided,
        Self::DriverPermitted,
        Self::JournalBeforeCommit,
        Self::JournalAfterCommit,
        Self::SlotBeforeWrite,
        Self::SlotBetweenCopies,
        Self::ActionBeforeTouch,
        Self::ActionAfterStop,
        Self::ActionAfterStart,
        Self::DriverEnded,
        Self::DriverProof,
        Self::DriverRecovered,
        Self::DriverProven,
    ];

    /// Points a shim passes.
    pub const SHIM: [Self; 7] = [
        Self::ShimLocked,
        Self::ShimBeforeSpawn,
        Self::ShimAfterSpawn,
        Self::ShimRecorded,
        Self::ShimStopping,
        Self::ShimExitSeen,
        Self::ShimExitWritten,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::DriverReport => "driver.report",
            Self::DriverIncidentOpened => "driver.incident-opened",
            Self::DriverAsk => "driver.ask",
            Self::DriverDecided => "driver.decided",
            Self::DriverPermitted => "driver.permitted",
            Self::JournalBeforeCommit => "journal.before-commit",
            Self::JournalAfterCommit => "journal.after-commit",
            Self::SlotBeforeWrite => "slot.before-write",
            Self::SlotBetweenCopies => "slot.between-copies",
            Self::ActionBeforeTouch => "action.before-touch",
            Self::ActionAfterStop => "action.after-stop",
            Self::ActionAfterStart => "action.after-start",
            Self::DriverEnded => "driver.ended",
            Self::DriverProof => "driver.proof",
            Self::DriverRecovered => "driver.recovered",
            Self::DriverProven => "driver.proven",
            Self::ShimLocked => "shim.locked",
            Self::ShimBeforeSpawn => "shim.before-spawn",
            Self::ShimAfterSpawn => "shim.after-spawn",
            Self::ShimRecorded => "shim.recorded",
            Self::ShimStopping => "shim.stopping",
            Self::ShimExitSeen => "shim.exit-seen",
            Self::ShimExitWritten => "shim.exit-written",
        }
    }
}

/// Dies here if the environment says so.
#[cfg(feature = "failpoints")]
pub fn hit(point: Failpoint) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ARMED: OnceLock<Option<(String, Option<u64>)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);

    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("HOMEOSTAT_FAILPOINT").ok()?;
        match text.split_once(':') {
            Some((name, "stall")) => Some((name.to_owned(), None)),
            Some((name, nth)) => Some((name.to_owned(), Some(nth.parse().unwrap_or(1)))),
            None => Some((text, Some(1))),
        }
    });
    let Some((name, nth)) = armed.as_ref().filter(|(name, _)| name == point.name()) else { return };
    match nth {
        None => {
            tracing::warn!(name, "standing still, as the failpoint says");
            loop {
                std::thread::park();
            }
        }
        Some(nth) if PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *nth => {
            let own = rustix::process::getpid();
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
        Some(_) => {}
    }
}

/// Nothing, in a build without the feature.
#[cfg(not(feature = "failpoints"))]
pub fn hit(_: Failpoint) {}

/// By how much the wall clock is off. It is the process's own, because the
/// machine's is everybody's, and no namespace of Linux has one.
pub fn wall_off_ms() -> i64 {
    seconds("HOMEOSTAT_WALL_CLOCK").saturating_mul(1000)
}

/// How long the box slept beside what its kernel knows of. A time namespace
/// could say so too, but not to a process that already runs.
pub fn slept_ms() -> u64 {
    u64::try_from(seconds("HOMEOSTAT_SLEPT")).unwrap_or(0).saturating_mul(1000)
}

/// What is in the file that `variable` names. A file, because clocks have to
/// jump under a daemon that runs.
#[cfg(feature = "failpoints")]
fn seconds(variable: &str) -> i64 {
    let Some(file) = std::env::var_os(variable) else { return 0 };
    let text = std::fs::read_to_string(file).ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Nothing, in a build without the feature.
#[cfg(not(feature = "failpoints"))]
fn seconds(_: &str) -> i64 {
    0
}
