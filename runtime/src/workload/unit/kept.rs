//! What is known of a unit's runs, and what a new look at it tells.
//!
//! Invariant: pure, but for its file. A run is named by systemd's invocation id,
//! so one that ended and began between two looks is seen as two.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::manager::UnitState;
use crate::model::{AttemptId, ExitStatus};
use crate::workload::record::{read_json, write_json};

/// `units/NAME.json` of the run directory: what one boot knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Of the kernel. A run directory may lie on a disk, and outlive the boot.
    #[serde(default)]
    pub boot_id: String,
    /// The last attempt, ours or one named after its invocation.
    pub attempt: Option<AttemptId>,
    /// Of that attempt; none between a start's beginning and its being seen.
    pub invocation: Option<String>,
    /// The invocation that was there before the attempt.
    pub before: String,
    pub running: bool,
    pub exit: Option<ExitStatus>,
    /// It was meant to end.
    pub wanted: bool,
    /// By somebody else than this daemon.
    pub by_others: bool,
    pub starts: u64,
}

/// Who brought a change about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This daemon, by an ask that is being answered.
    We,
    /// Somebody else, by a job of systemd's.
    Others,
    /// The box goes down, and takes it along: nobody's word about it.
    Shutdown,
    /// What it needs was stopped, and took it along.
    Dependency,
    /// No job was seen.
    Nobody,
    /// Nobody watched.
    Unwatched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Started(AttemptId),
    /// It ran when it was first looked at.
    Found(AttemptId),
    Exited {
        attempt: AttemptId,
        status: ExitStatus,
        wanted: bool,
    },
    StartedByOthers(AttemptId),
    StoppedByOthers {
        attempt: AttemptId,
        status: ExitStatus,
    },
}

impl UnitState {
    /// Its main process is there; it may still be loading.
    pub fn is_up(&self) -> bool {
        match self.active.as_str() {
            "active" | "reloading" | "refreshing" => true,
            // What it runs before its main process is part of its start.
            "activating" => self.main_pid.is_some() || self.has_job,
            "deactivating" => self.main_pid.is_some(),
            _ => false,
        }
    }
}

impl UnitState {
    /// Whether it ended because it was told to: it was on its way down before its
    /// main process was gone. One that ended well and is needed by nobody is
    /// unloaded, and says nothing more.
    pub fn was_told_to_stop(&self) -> bool {
        self.result == "success"
            && (self.invocation.is_empty() || self.left_active_us < self.main_exited_us)
    }
}

impl Kept {
    pub fn load(path: &Path, boot_id: &str) -> Self {
        let kept: Option<Self> = read_json(path).ok().flatten();
        let kept = kept.filter(|kept| kept.boot_id == boot_id);
        Self { boot_id: boot_id.to_owned(), ..kept.unwrap_or_default() }
    }

    pub fn save(&self, path: &Path) -> io::Result<()> {
        write_json(path, self)
    }

    /// Before systemd is asked to start it.
    pub fn begin(&mut self, attempt: AttemptId, now: &UnitState) {
        self.attempt = Some(attempt);
        self.invocation = None;
        self.before.clone_from(&now.invocation);
        self.exit = None;
        self.wanted = false;
    }

    /// Whether `now` is the run that [`Self::begin`] was about.
    fn is_begun(&self, now: &UnitState) -> bool {
        self.attempt.is_some() && self.invocation.is_none() && now.invocation != self.before
    }

    pub fn take(&mut self, now: &UnitState, who: Who) -> Vec<Told> {
        let mut told = Vec::new();
        let another = self.invocation.as_ref() != Some(&now.invocation);
        if self.running && (!now.is_up() || another) {
            told.extend(self.ended(now, who, another));
        }
        if now.is_up() && (!self.running || another) {
            told.push(self.began(now, who));
        } else if !now.is_up() && self.is_begun(now) {
            // It began and ended between two looks.
            self.invocation = Some(now.invocation.clone());
            self.exit = Some(now.exit);
            self.starts += 1;
        }
        told
    }

    fn ended(&mut self, now: &UnitState, who: Who, another: bool) -> Option<Told> {
        self.running = false;
        let attempt = self.attempt?;
        // The exit status is that of the latest run.
        let status = if another && now.is_up() { ExitStatus::Unknown } else { now.exit };
        self.exit = Some(status);
        let unwatched = now.is_up() || now.was_told_to_stop();
        self.by_others = match who {
            Who::Others | Who::Shutdown => true,
            Who::Unwatched => unwatched,
            Who::We | Who::Nobody | Who::Dependency => false,
        };
        self.wanted = match who {
            Who::We | Who::Others | Who::Shutdown => true,
            Who::Nobody | Who::Dependency => false,
            // So was another run in its place.
            Who::Unwatched => unwatched,
        };
        Some(match (who, self.wanted) {
            (Who::Others | Who::Unwatched, true) if !now.is_up() => {
                Told::StoppedByOthers { attempt, status }
            }
            (_, wanted) => Told::Exited { attempt, status, wanted },
        })
    }

    fn began(&mut self, now: &UnitState, who: Who) -> Told {
        let ours = self.is_begun(now);
        let attempt = match self.attempt {
            Some(attempt) if ours => attempt,
            _ => AttemptId::of_others(&now.invocation),
        };
        let first = self.attempt.is_none();
        self.attempt = Some(attempt);
        self.invocation = Some(now.invocation.clone());
        self.running = true;
        self.exit = None;
        self.wanted = false;
        self.starts += 1;
        match who {
            _ if ours => Told::Started(attempt),
            Who::Unwatched if first => Told::Found(attempt),
            Who::Others | Who::Unwatched => Told::StartedByOthers(attempt),
            Who::We | Who::Nobody | Who::Shutdown | Who::Dependency => Told::Started(attempt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: ExitStatus = ExitStatus::Signal { signal: 11 };
    const TERM: ExitStatus = ExitStatus::Signal { signal: 15 };

    fn up(invocation: &str) -> UnitState {
        UnitState {
            load: "loaded".into(),
            active: "active".into(),
            invocation: invocation.into(),
            main_pid: Some(7),
            has_job: false,
            left_active_us: 0,
            main_exited_us: 0,
            exit: ExitStatus::Unknown,
            result: "success".into(),
            restart: "no".into(),
            control_group: String::new(),
        }
    }

    fn down(invocation: &str, result: &str, exit: ExitStatus) -> UnitState {
        let active = if result == "success" { "inactive" } else { "failed" };
        UnitState {
            active: active.into(),
            main_pid: None,
            // Told to: first it leaves its state, then its process goes.
            left_active_us: 1_000,
            main_exited_us: 1_200,
            exit,
            result: result.into(),
            ..up(invocation)
        }
    }

    fn ours(seq: u64) -> AttemptId {
        AttemptId { birth: 3, seq }
    }

    /// A unit that we started, and that runs as invocation `a`.
    fn running() -> Kept {
        let mut kept = Kept::default();
        kept.begin(ours(1), &down("", "success", ExitStatus::Unknown));
        assert_eq!(kept.take(&up("a"), Who::We), [Told::Started(ours(1))]);
        kept
    }

    #[test]
    fn a_crash_is_told_as_one_and_a_stop_as_somebodys_wish() {
        let attempt = ours(1);
        let exited = |status, wanted| Told::Exited { attempt, status, wanted };
        for (who, now, told) in [
            (Who::Nobody, down("a", "signal", CRASH), exited(CRASH, false)),
            (Who::Nobody, down("a", "success", TERM), exited(TERM, false)),
            (Who::We, down("a", "success", TERM), exited(TERM, true)),
            (
                Who::Others,
                down("a", "success", TERM),
                Told::StoppedByOthers { attempt, status: TERM },
            ),
            (Who::Unwatched, down("a", "signal", CRASH), exited(CRASH, false)),
            (
                Who::Unwatched,
                down("a", "success", TERM),
                Told::StoppedByOthers { attempt, status: TERM },
            ),
            // It ended by itself, and well: nobody told it to.
            (
                Who::Unwatched,
                UnitState { main_exited_us: 900, ..down("a", "success", TERM) },
                exited(TERM, false),
            ),
            (Who::Dependency, down("a", "success", TERM), exited(TERM, false)),
            (Who::Shutdown, down("a", "success", TERM), exited(TERM, true)),
            (
                Who::Unwatched,
                down("", "success", ExitStatus::Unknown),
                Told::StoppedByOthers { attempt, status: ExitStatus::Unknown },
            ),
        ] {
            let mut kept = running();
            assert_eq!(kept.take(&now, who), [told], "{who:?} {now:?}");
            assert!(kept.take(&now, Who::Nobody).is_empty(), "once");
        }
    }

    #[test]
    fn a_run_that_was_replaced_between_two_looks_is_two() {
        let mut kept = running();
        let status = ExitStatus::Unknown;
        assert_eq!(
            kept.take(&up("b"), Who::Others),
            [
                Told::Exited { attempt: ours(1), status, wanted: true },
                Told::StartedByOthers(AttemptId::of_others("b")),
            ],
            "a restart is nobody's wish that it be stopped"
        );
    }

    #[test]
    fn what_runs_at_the_first_look_is_found_and_not_started() {
        let mut kept = Kept::default();
        let attempt = AttemptId::of_others("0f0e0d");
        assert_eq!(kept.take(&up("0f0e0d"), Who::Unwatched), [Told::Found(attempt)]);
        assert_eq!((attempt.birth, attempt.seq), (0, 0x0f_0e0d));
    }

    #[test]
    fn a_start_that_a_crash_of_ours_hid_is_known_by_its_invocation() {
        let mut kept = Kept::default();
        kept.begin(ours(5), &down("a", "success", TERM));
        assert_eq!(kept.clone().take(&down("a", "success", TERM), Who::Unwatched), []);
        assert_eq!(kept.clone().take(&up("b"), Who::Unwatched), [Told::Started(ours(5))]);
        assert_eq!(kept.take(&down("b", "exit-code", ExitStatus::Code { code: 3 }), Who::We), []);
        assert_eq!((kept.starts, kept.exit), (1, Some(ExitStatus::Code { code: 3 })));
    }

    #[test]
    fn a_model_that_loads_is_up_as_soon_as_its_process_is() {
        let loading = UnitState { active: "activating".into(), ..up("a") };
        assert!(loading.is_up());
        let prepares = UnitState { main_pid: None, has_job: true, ..loading };
        assert!(prepares.is_up(), "what it runs before may take minutes");
        assert!(!UnitState { has_job: false, ..prepares.clone() }.is_up());
        assert!(!UnitState { active: "deactivating".into(), ..prepares }.is_up());
    }

    #[test]
    fn what_another_boot_knew_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.json");
        let kept = Kept { boot_id: "one".into(), ..running() };
        kept.save(&path).unwrap();
        assert_eq!(Kept::load(&path, "one"), kept);
        assert_eq!(Kept::load(&path, "two"), Kept { boot_id: "two".into(), ..Kept::default() });
    }
}
