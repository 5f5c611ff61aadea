//! What is there when no shim is: read from the records and the process table,
//! under the lock, and written down where an end went unrecorded.
//!
//! Invariant: an end that nobody saw has the status `Unknown`. It is never guessed.

use std::io;
use std::time::{Duration, Instant};

use super::history::History;
use super::record::{AttemptRecord, ExitRecord, Latest, Place};
use super::tree::{Brand, Proc, Tree};
use crate::clock;
use crate::model::ExitStatus;

/// For a killed tree to be gone.
const EMPTY_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_PERIOD: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub enum Settled {
    /// A shim lives and has the lock.
    Busy,
    /// The workload lives and its shim does not.
    Alive(AttemptRecord),
    Ended(ExitRecord),
    /// Nothing was ever begun, as far as anything here knows.
    Nothing,
}

/// Blocks: reads files and the process table, and may wait for the killed.
pub fn settle(place: &Place, brand: &Brand, history: &History) -> io::Result<Settled> {
    let Some(_lock) = place.lock()? else { return Ok(Settled::Busy) };
    let boot_id = clock::boot_id()?;
    match place.latest()? {
        Latest::Begun(record) if record.boot_id == boot_id => {
            if record.main.lives() {
                return Ok(Settled::Alive(record));
            }
            // The main process is gone; the rest goes with it.
            let tree = Tree::new(brand, record.cgroup.as_ref(), Some(record.main));
            kill(&tree, None);
            conclude(place, &record)
        }
        Latest::Begun(record) => conclude(place, &record),
        // With the lock free no child is on its way to its exec, and one that
        // came so far has written itself down: this was never executed.
        Latest::Intended(intent) if intent.boot_id == boot_id => {
            place.withdraw_intent()?;
            match place.latest()? {
                Latest::Ended(exit) => Ok(Settled::Ended(exit)),
                _ => Ok(Settled::Nothing),
            }
        }
        // After a power cut the child's word may be lost: it may have run.
        Latest::Intended(intent) => {
            let exit = place.conclude(intent.attempt, ExitStatus::Unknown, false)?;
            Ok(Settled::Ended(exit))
        }
        Latest::Ended(exit) => Ok(Settled::Ended(exit)),
        Latest::Nothing => after_a_reboot(place, history),
    }
}

/// Ends whatever could belong to the workload. Gives back whom nothing ended.
/// Blocks for up to five seconds.
pub fn kill(tree: &Tree, main: Option<Proc>) -> Vec<u32> {
    let until = Instant::now() + EMPTY_DEADLINE;
    loop {
        let mut left = tree.all();
        left.extend(main.filter(|main| main.lives() && !left.contains(main)));
        if left.is_empty() || Instant::now() >= until {
            return left.iter().map(|proc| proc.pid).collect();
        }
        tree.kill_all();
        if let Some(main) = main {
            main.signal(rustix::process::Signal::KILL);
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

fn conclude(place: &Place, record: &AttemptRecord) -> io::Result<Settled> {
    let exit = place.conclude(record.attempt, ExitStatus::Unknown, record.stopping)?;
    Ok(Settled::Ended(exit))
}

/// The run directory is empty: what the history has as running ended with its boot.
fn after_a_reboot(place: &Place, history: &History) -> io::Result<Settled> {
    match history.attempts.back() {
        None => Ok(Settled::Nothing),
        Some(entry) => {
            let (status, wanted) =
                entry.end.map_or((ExitStatus::Unknown, false), |end| (end.status, end.wanted));
            let exit = place.conclude(entry.attempt, status, wanted)?;
            if entry.end.is_some() {
                // Told before that boot ended.
                std::fs::write(place.seen(), entry.attempt.to_string())?;
            }
            Ok(Settled::Ended(exit))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AttemptId;
    use crate::workload::record::Intent;

    const ATTEMPT: AttemptId = AttemptId { birth: 1, seq: 1 };

    fn place() -> (tempfile::TempDir, Place, Brand) {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::new(&dir.path().join("run"), &dir.path().join("state"), "a");
        place.make().expect("made");
        let brand = Brand::new("a", dir.path(), None);
        (dir, place, brand)
    }

    fn intent(boot_id: String) -> Intent {
        let shim = Proc { pid: 1, start_ticks: 1 };
        Intent { attempt: ATTEMPT, boot_id, cgroup: None, shim }
    }

    #[test]
    fn an_intent_of_this_boot_without_a_child_never_ran() {
        let (_dir, place, brand) = place();
        place.write_intent(&intent(clock::boot_id().expect("boot"))).expect("w");
        let settled = settle(&place, &brand, &History::default()).expect("settled");
        assert!(matches!(settled, Settled::Nothing));
        assert!(!place.spawn().exists());
    }

    #[test]
    fn an_intent_of_an_earlier_boot_may_have_run() {
        let (_dir, place, brand) = place();
        place.write_intent(&intent("an earlier boot".into())).expect("w");
        let settled = settle(&place, &brand, &History::default()).expect("settled");
        assert!(
            matches!(settled, Settled::Ended(exit) if exit.attempt == ATTEMPT && exit.status == ExitStatus::Unknown)
        );
    }

    #[test]
    fn what_ran_when_the_box_went_down_has_ended_unseen() {
        let (_dir, place, brand) = place();
        let mut history = History::default();
        history.begin(ATTEMPT, "an earlier boot");
        let settled = settle(&place, &brand, &history).expect("settled");
        assert!(matches!(settled, Settled::Ended(exit) if exit.status == ExitStatus::Unknown));
        assert!(!place.seen().exists(), "nobody was told");
    }

    #[test]
    fn a_held_lock_means_a_shim() {
        let (_dir, place, brand) = place();
        let _held = place.lock().expect("lock").expect("free");
        let settled = settle(&place, &brand, &History::default()).expect("settled");
        assert!(matches!(settled, Settled::Busy));
    }
}
