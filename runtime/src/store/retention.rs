//! What is kept when room is short, and the copy that makes the file small.
//!
//! sled does not give space back, so what is kept is copied into a new
//! database, which then takes the place of the old one. Telemetry goes first,
//! oldest first, then the records of closed incidents, oldest incident first;
//! audit never goes, and neither does an incident that is open.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::{Archive, Row};
use super::cell::Head;
use super::database::{Batch, Database, Fault};
use super::recover::Stamps;
use crate::model::event::Class;
use crate::model::{IncidentId, Seq};

/// What a record costs in the file besides its JSON: cell, keys, page share.
const OVERHEAD_BYTES: u64 = 128;
const PAGE_ROWS: usize = 256;

/// A record, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    pub seq: Seq,
    pub class: Class,
    pub closes: bool,
    pub bytes: u64,
}

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    telemetry_below: Seq,
    incidents: BTreeSet<IncidentId>,
    /// The newest record stays, whatever it is: it is what shows that the
    /// journal is whole.
    last: Seq,
    /// Bytes of what is kept.
    pub kept_bytes: u64,
}

impl Weight {
    pub fn of(row: &Row) -> Self {
        Self {
            seq: row.head.seq,
            class: row.head.class,
            closes: row.head.closes,
            bytes: row.body.len() as u64 + OVERHEAD_BYTES,
        }
    }
}

impl Plan {
    /// Drops as little as brings the records under `budget` bytes.
    pub fn new(records: impl Iterator<Item = Weight>, budget: u64) -> Self {
        let mut plan = Self::default();
        let mut telemetry = Vec::new();
        let mut incidents: BTreeMap<IncidentId, (u64, bool)> = BTreeMap::new();
        for record in records {
            plan.kept_bytes += record.bytes;
            plan.last = record.seq;
            match record.class {
                Class::Telemetry => telemetry.push((record.seq, record.bytes)),
                Class::Incident(id) => {
                    let (bytes, closed) = incidents.entry(id).or_default();
                    *bytes += record.bytes;
                    *closed |= record.closes;
                }
                Class::Audit => {}
            }
        }
        for (seq, bytes) in telemetry {
            if plan.kept_bytes <= budget {
                break;
            }
            plan.telemetry_below = seq + 1;
            plan.kept_bytes -= bytes;
        }
        for (id, (bytes, closed)) in incidents {
            if plan.kept_bytes <= budget {
                break;
            }
            if closed {
                plan.incidents.insert(id);
                plan.kept_bytes -= bytes;
            }
        }
        plan
    }

    pub fn keeps(&self, head: &Head) -> bool {
        let by_class = match head.class {
            Class::Telemetry => head.seq >= self.telemetry_below,
            Class::Incident(id) => !self.incidents.contains(&id),
            Class::Audit => true,
        };
        by_class || head.seq == self.last
    }
}

/// Copies the records that are kept within `budget` bytes into the empty `to`.
/// The source is the raw file: read through sled, all of it would stay in memory.
pub fn copy_records(
    from: &Archive,
    to: &Database,
    budget: u64,
    stamps: &Stamps,
) -> Result<(), Fault> {
    let plan = Plan::new(pages(from).flatten().map(|row| Weight::of(&row)), budget);
    let mut prev = 0;
    for rows in pages(from) {
        let mut batch = Batch::default();
        for row in rows.iter().filter(|row| plan.keeps(&row.head)) {
            batch.record(Head { prev, stamp: stamps.next(), ..row.head }, &row.body);
            prev = row.head.seq;
        }
        to.apply(batch)?;
    }
    to.sync()
}

fn pages(from: &Archive) -> impl Iterator<Item = Vec<Row>> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let rows = from.rows(next, PAGE_ROWS);
        next = rows.last()?.head.seq + 1;
        Some(rows)
    })
}

/// Copies what is no record, and syncs it.
pub fn copy_rest(from: &Database, to: &Database, stamps: &Stamps) -> Result<(), Fault> {
    for plugin in from.checkpoint_names()? {
        // Tombstones stay behind: no raw bytes are left for them to outrank.
        if let Some(state) = from.checkpoint(&plugin)? {
            to.put_checkpoint(&plugin, Some(&state), stamps.next())?;
        }
    }
    if let Some(gap) = from.gap()? {
        let mut batch = Batch::default();
        batch.gap(&gap, stamps.next());
        to.apply(batch)?;
    }
    to.sync()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cell::Space;

    const OPEN: Class = Class::Incident(IncidentId(3));
    const CLOSED_EARLY: Class = Class::Incident(IncidentId(1));
    const CLOSED_LATE: Class = Class::Incident(IncidentId(2));

    fn journal() -> Vec<(Class, bool)> {
        vec![
            (Class::Audit, false),
            (CLOSED_EARLY, false),
            (Class::Telemetry, false),
            (CLOSED_LATE, false),
            (OPEN, false),
            (CLOSED_EARLY, true),
            (Class::Telemetry, false),
            (CLOSED_LATE, true),
            (Class::Audit, false),
        ]
    }

    /// Numbers of what stays when each record weighs ten bytes.
    fn kept(budget: u64) -> Vec<Seq> {
        let records = journal();
        let weights = records.iter().zip(1..).map(|((class, closes), seq)| Weight {
            seq,
            class: *class,
            closes: *closes,
            bytes: 10,
        });
        let plan = Plan::new(weights, budget);
        let head = |seq: usize| Head {
            seq: seq as u64,
            class: records[seq - 1].0,
            ..Head::plain(Space::Journal, 0)
        };
        (1..=records.len()).filter(|seq| plan.keeps(&head(*seq))).map(|seq| seq as u64).collect()
    }

    #[test]
    fn telemetry_goes_first_then_closed_incidents_oldest_first_and_audit_never() {
        for (budget, wanted) in [
            (90, &[1, 2, 3, 4, 5, 6, 7, 8, 9][..]),
            (89, &[1, 2, 4, 5, 6, 7, 8, 9]),
            (79, &[1, 2, 4, 5, 6, 8, 9]),
            (69, &[1, 4, 5, 8, 9]),
            (49, &[1, 5, 9]),
            (0, &[1, 5, 9]),
        ] {
            assert_eq!(kept(budget), wanted, "budget {budget}");
        }
    }

    #[test]
    fn the_newest_record_stays_whatever_it_is() {
        let weight = |seq| Weight { seq, class: Class::Telemetry, closes: false, bytes: 10 };
        let plan = Plan::new((1..=4).map(weight), 0);
        let head = |seq| Head { seq, class: Class::Telemetry, ..Head::plain(Space::Journal, 0) };
        assert!(plan.keeps(&head(4)));
        assert!(!plan.keeps(&head(3)));
    }
}
