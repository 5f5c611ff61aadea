//! Which series there are. Their order is fixed by the configuration, so that a
//! series keeps its id while the daemon runs.

use crate::model::{Series, SeriesId, TargetId};

/// Readings of one moment.
pub(super) type Values = Vec<(SeriesId, f64)>;

#[derive(Debug, Default)]
pub(super) struct Registry {
    series: Vec<Series>,
    period_ms: u32,
}

impl Registry {
    /// What is added from here on is read this often.
    pub(super) fn set_period_ms(&mut self, period_ms: u64) {
        self.period_ms = u32::try_from(period_ms).unwrap_or(u32::MAX);
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        unit: &str,
        target: &TargetId,
        labels: &[(&str, &str)],
    ) -> SeriesId {
        let id = u32::try_from(self.series.len()).expect("a box has fewer series than that");
        self.series.push(Series {
            name: name.to_owned(),
            unit: unit.to_owned(),
            target: target.clone(),
            period_ms: self.period_ms,
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        });
        SeriesId(id)
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn into_series(self) -> Vec<Series> {
        self.series
    }

    #[cfg(test)]
    pub(super) fn describe(&self, id: SeriesId) -> String {
        let series = &self.series[id.0 as usize];
        let labels: Vec<_> = series.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        match labels.is_empty() {
            true => series.name.clone(),
            false => format!("{}{{{}}}", series.name, labels.join(",")),
        }
    }
}
