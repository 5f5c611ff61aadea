//! Who descends from whom, for workloads that have no cgroup.

use std::io;

use super::MEMBERS_MAX;
use super::table::{Process, Table};

/// All of `/proc` is read this often at most, because that costs more than all
/// else that is read. A new descendant is seen that late.
const FAMILY_AGE_MS_MAX: u64 = 5_000;

#[derive(Default)]
pub(super) struct Family {
    /// Sorted by pid.
    relatives: Vec<Relative>,
    /// Parent and child, sorted.
    children: Vec<(u32, u32)>,
    read_ms: u64,
}

#[derive(Clone, Copy)]
struct Relative {
    pid: u32,
    start: u64,
}

impl Family {
    /// Reads the family anew if it is old, or does not know `pid`.
    pub(super) fn refresh(&mut self, table: &mut Table, pid: u32, now_ms: u64) -> io::Result<()> {
        let fresh = now_ms.saturating_sub(self.read_ms) < FAMILY_AGE_MS_MAX;
        if fresh && self.find(pid).is_some() {
            return Ok(());
        }
        self.relatives.clear();
        self.children.clear();
        for pid in table.pids()? {
            // A process that says nonsense is no relative; it is heard of when
            // it is summed.
            if let Ok(Some(Process { pid, parent, start, .. })) = table.read(pid) {
                self.relatives.push(Relative { pid, start });
                self.children.push((parent, pid));
            }
        }
        self.relatives.sort_unstable_by_key(|relative| relative.pid);
        self.children.sort_unstable();
        self.read_ms = now_ms;
        Ok(())
    }

    /// `pid`, all that descends from it, and what else the shim took over from
    /// it. A process may come twice.
    pub(super) fn descendants(&self, pid: u32, shim_pid: Option<u32>, into: &mut Vec<u32>) {
        let mut parents = vec![pid];
        parents.extend(shim_pid);
        into.push(pid);
        while let Some(parent) = parents.pop() {
            let first = self.children.partition_point(|(of, _)| *of < parent);
            let own = self.children[first..].iter().take_while(|(of, _)| *of == parent);
            for (_, child) in own {
                into.push(*child);
                parents.push(*child);
            }
            // Read while processes came and went, it might even be a circle.
            if into.len() > MEMBERS_MAX {
                return;
            }
        }
    }

    /// Whether this is not the process that was met under its pid, but a later one.
    pub(super) fn is_another(&self, process: &Process) -> bool {
        self.find(process.pid).is_some_and(|met| met.start != process.start)
    }

    fn find(&self, pid: u32) -> Option<&Relative> {
        let found = self.relatives.binary_search_by_key(&pid, |relative| relative.pid).ok()?;
        Some(&self.relatives[found])
    }
}
