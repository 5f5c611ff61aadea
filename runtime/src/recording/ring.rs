//! The last minutes, in memory.
//!
//! Invariant: bounded in bytes and in age. An entry's number says how many came
//! before it, so a reader that was too slow knows what it missed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::config::RecordingConfig;
use crate::model::{Batch, Line, Mark, SeriesId, TargetId};

/// One thing that came in. Cloned without copying what it holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// As many values as ids.
    Numbers {
        age_ms: u64,
        ids: Arc<[SeriesId]>,
        values: Arc<[f64]>,
    },
    Line(Arc<Line>),
    Mark(Arc<Mark>),
}

impl Entry {
    pub fn age_ms(&self) -> u64 {
        match self {
            Self::Numbers { age_ms, .. } => *age_ms,
            Self::Line(line) => line.age_ms,
            Self::Mark(mark) => mark.age_ms,
        }
    }

    /// Memory that it takes, ids not counted: they are shared.
    fn bytes(&self) -> usize {
        let held = match self {
            Self::Numbers { values, .. } => size_of_val(&**values),
            Self::Line(line) => {
                line.text.len() + line.source.len() + line.target.as_str().len() + size_of::<Line>()
            }
            // Attributes are few and short.
            Self::Mark(mark) => mark.target.as_str().len() + mark.attrs.len() * 64 + 64,
        };
        held + size_of::<Self>() + 16
    }
}

#[derive(Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    /// Number of the first entry that is held.
    first: u64,
    bytes: usize,
    bytes_max: usize,
    keep_ms: u64,
    /// Sources send the same series in the same order, time after time.
    ids: HashMap<SeriesId, Arc<[SeriesId]>>,
    /// The last mark of each target that was pushed out, where it tells a level:
    /// whoever begins here is to know that a workload runs.
    standing: BTreeMap<TargetId, Arc<Mark>>,
}

impl Ring {
    pub fn new(config: &RecordingConfig) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            bytes: 0,
            bytes_max: usize::try_from(config.memory_max_bytes).unwrap_or(usize::MAX),
            keep_ms: config.keep_ms,
            ids: HashMap::new(),
            standing: BTreeMap::new(),
        }
    }

    pub fn batch(&mut self, batch: &Batch) {
        let Some((first, _)) = batch.values.first() else { return };
        let same = |ids: &&Arc<[SeriesId]>| {
            ids.len() == batch.values.len()
                && ids.iter().zip(&batch.values).all(|(id, (other, _))| id == other)
        };
        let ids = match self.ids.get(first).filter(same) {
            Some(ids) => Arc::clone(ids),
            None => {
                let ids: Arc<[SeriesId]> = batch.values.iter().map(|(id, _)| *id).collect();
                self.ids.insert(*first, Arc::clone(&ids));
                ids
            }
        };
        let values = batch.values.iter().map(|(_, value)| *value).collect();
        self.push(Entry::Numbers { age_ms: batch.age_ms, ids, values });
    }

    pub fn line(&mut self, line: Line) {
        self.push(Entry::Line(Arc::new(line)));
    }

    pub fn mark(&mut self, mark: Mark) {
        self.push(Entry::Mark(Arc::new(mark)));
    }

    fn push(&mut self, entry: Entry) {
        let newest_ms = entry.age_ms();
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while let Some(oldest) = self.entries.front() {
            let old = oldest.age_ms().saturating_add(self.keep_ms) < newest_ms;
            if !old && self.bytes <= self.bytes_max {
                break;
            }
            self.push_out();
        }
    }

    fn push_out(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.first += 1;
        self.bytes -= entry.bytes();
        if let Entry::Mark(mark) = entry
            && tells_a_level(&mark.what)
        {
            self.standing.insert(mark.target.clone(), mark);
        }
    }

    /// Number of the next entry.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Entries from that number on, and the number of the first of them.
    pub fn since(&self, number: u64) -> (u64, impl Iterator<Item = &Entry>) {
        let from = number.max(self.first);
        let skipped = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        (from, self.entries.iter().skip(skipped))
    }

    /// The number of the first entry that is at most so old.
    pub fn at_age(&self, age_ms: u64) -> u64 {
        let older = self.entries.iter().take_while(|entry| entry.age_ms() < age_ms).count();
        self.first + older as u64
    }

    /// What the marks before that entry leave standing, one for each target.
    pub fn standing(&self, number: u64) -> Vec<Arc<Mark>> {
        let mut standing = self.standing.clone();
        let before = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for entry in self.entries.iter().take(before) {
            if let Entry::Mark(mark) = entry
                && tells_a_level(&mark.what)
            {
                standing.insert(mark.target.clone(), Arc::clone(mark));
            }
        }
        let mut standing: Vec<_> = standing.into_values().collect();
        standing.sort_by_key(|mark| mark.age_ms);
        standing
    }
}

/// Whether it says how things are from then on, and not what happened once.
fn tells_a_level(what: &str) -> bool {
    what.starts_with("workload.") || what == "box.booted"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(keep_ms: u64, memory_max_bytes: u64) -> Ring {
        Ring::new(&RecordingConfig {
            keep_ms,
            memory_max_bytes,
            incidents_max: 0,
            disk_max_bytes: 0,
        })
    }

    fn batch(age_ms: u64, values: &[f64]) -> Batch {
        Batch { age_ms, values: (0..).map(SeriesId).zip(values.iter().copied()).collect() }
    }

    fn mark(age_ms: u64, target: &str, what: &str) -> Mark {
        let target = TargetId::from_text(target);
        Mark { target, age_ms, what: what.into(), attrs: vec![] }
    }

    #[test]
    fn what_is_too_old_goes_first_and_is_counted() {
        let mut ring = ring(1_000, 1 << 20);
        (0..5).for_each(|second| ring.batch(&batch(second * 500, &[0.5])));
        let (from, entries) = ring.since(0);
        let ages: Vec<_> = entries.map(Entry::age_ms).collect();
        assert_eq!((from, ages), (2, vec![1_000, 1_500, 2_000]));
        assert_eq!((ring.next(), ring.at_age(1_400)), (5, 3));
    }

    #[test]
    fn a_flood_of_lines_stays_within_the_memory_that_is_allowed() {
        let mut ring = ring(u64::MAX, 64 << 10);
        for age_ms in 0..10_000 {
            ring.line(Line {
                target: TargetId::the_box(),
                source: "kernel".into(),
                age_ms,
                priority: 3,
                text: "x".repeat(200),
            });
        }
        assert!(ring.bytes <= 64 << 10, "{}", ring.bytes);
        assert!((100..400).contains(&ring.entries.len()), "{}", ring.entries.len());
    }

    #[test]
    fn a_source_that_sends_the_same_series_costs_their_names_once() {
        let mut ring = ring(u64::MAX, 1 << 20);
        ring.batch(&batch(1, &[1.0, 2.0]));
        ring.batch(&batch(2, &[3.0, 4.0]));
        // One of them was not read this time.
        ring.batch(&batch(3, &[5.0]));
        let ids: Vec<_> = ring
            .since(0)
            .1
            .filter_map(|entry| match entry {
                Entry::Numbers { ids, .. } => Some(Arc::as_ptr(ids)),
                _ => None,
            })
            .collect();
        assert_eq!(ids[0], ids[1]);
        assert_ne!(ids[1], ids[2]);
    }

    #[test]
    fn what_was_pushed_out_leaves_the_level_that_it_told() {
        let mut ring = ring(1_000, 1 << 20);
        ring.mark(mark(1, "workload:a", "workload.started"));
        ring.mark(mark(2, "workload:b", "workload.started"));
        ring.mark(mark(3, "workload:a", "action.ended"));
        ring.mark(mark(4_000, "workload:b", "workload.exited"));
        ring.batch(&batch(4_500, &[1.0]));
        let standing = |ring: &Ring, number| -> Vec<String> {
            let told = ring.standing(number);
            told.iter().map(|it| format!("{} {}", it.target, it.what)).collect()
        };
        assert_eq!(
            standing(&ring, 0),
            ["workload:a workload.started", "workload:b workload.started"]
        );
        assert_eq!(
            standing(&ring, ring.next()),
            ["workload:a workload.started", "workload:b workload.exited"]
        );
    }
}
