//! What a box wrote down of all that it read, as one plugin would have seen it.

use super::{Header, Recording, Step};
use crate::frame::RawFrame;
use crate::text::selects;
use crate::types::Series;

impl Recording {
    /// Whether a box made it, for any plugin.
    pub fn is_captured(&self) -> bool {
        self.header.plugin.is_empty() && !self.header.box_name.is_empty()
    }

    /// The part of it that a detector of that name is handed: the series that
    /// one of `reads` selects, and lines and marks, on one of `targets`. Rows
    /// without a reading of it are left out, and so are frames without anything,
    /// as the daemon leaves them out.
    pub fn seen_by(
        &self,
        plugin: &str,
        config: serde_json::Value,
        reads: &[String],
        targets: &[String],
    ) -> Self {
        let judged = |target: &str| targets.iter().any(|it| selects(it, target));
        let series = &self.header.series;
        let columns: Vec<usize> = (0..series.len())
            .filter(|column| {
                let series = &series[*column];
                judged(&series.target) && reads.iter().any(|it| selects_series(it, series))
            })
            .collect();
        // What was lost before a frame that is left out was lost before the next.
        let mut lost = 0_u32;
        let steps = self.steps.iter().filter_map(|step| match step {
            Step::Frame(frame) => {
                lost = lost.saturating_add(frame.lost);
                let mut seen = seen(frame, series.len(), &columns, &judged)?;
                seen.lost = std::mem::take(&mut lost);
                Some(Step::Frame(seen))
            }
            // A box writes down nothing else.
            _ => None,
        });
        Self {
            header: Header {
                plugin: plugin.to_owned(),
                config,
                series: columns.iter().map(|column| series[*column].clone()).collect(),
                ..self.header.clone()
            },
            steps: steps.collect(),
        }
    }
}

fn seen(
    frame: &RawFrame,
    width: usize,
    columns: &[usize],
    judged: &impl Fn(&str) -> bool,
) -> Option<RawFrame> {
    let mut taken = RawFrame {
        seq: frame.seq,
        lost: frame.lost,
        now: frame.now,
        lines: frame.lines.iter().filter(|it| judged(&it.target)).cloned().collect(),
        marks: frame
            .marks
            .iter()
            .filter(|it| it.target == "box" || judged(&it.target))
            .cloned()
            .collect(),
        ..RawFrame::default()
    };
    for (age_ms, row) in frame.rows.iter().zip(frame.values.chunks(width.max(1))) {
        let values = columns.iter().map(|column| row.get(*column).copied().unwrap_or(f64::NAN));
        let values: Vec<_> = values.collect();
        if values.iter().any(|value| !value.is_nan()) {
            taken.rows.push(*age_ms);
            taken.values.extend(values);
        }
    }
    let nothing = taken.rows.is_empty() && taken.lines.is_empty() && taken.marks.is_empty();
    (!nothing).then_some(taken)
}

/// By `NAME` or `NAME@TARGET`, each with an optional `*` at its end.
fn selects_series(selector: &str, series: &Series) -> bool {
    let (name, target) = selector.split_once('@').unwrap_or((selector, "*"));
    selects(name, &series.name) && selects(target, &series.target)
}
