//! Series, frames and incidents, made in a line each.

use crate::frame::RawFrame;
use crate::heal::{Attempt, Incident, Node, Remedy};
use crate::types::{CRITICAL, Finding, Instant, Line, Mark, Series, Value};

/// A configuration as text or as `serde_json::json!`.
pub trait IntoConfig {
    fn into_config(self) -> serde_json::Value;
}

impl IntoConfig for serde_json::Value {
    fn into_config(self) -> serde_json::Value {
        self
    }
}

/// Empty text is no configuration; other text must be JSON.
impl IntoConfig for &str {
    fn into_config(self) -> serde_json::Value {
        if self.is_empty() {
            return serde_json::Value::Null;
        }
        serde_json::from_str(self).expect("a test's configuration is JSON")
    }
}

/// A series of the box with a reading each second.
pub fn series(name: &str) -> SeriesMaker {
    SeriesMaker(Series {
        name: name.to_owned(),
        unit: "1".to_owned(),
        target: "box".to_owned(),
        period_ms: 1_000,
        labels: Vec::new(),
    })
}

#[derive(Clone, Debug)]
pub struct SeriesMaker(Series);

impl SeriesMaker {
    pub fn on(mut self, target: &str) -> Self {
        target.clone_into(&mut self.0.target);
        self
    }

    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0.labels.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn unit(mut self, unit: &str) -> Self {
        unit.clone_into(&mut self.0.unit);
        self
    }

    pub fn every_ms(mut self, period_ms: u32) -> Self {
        self.0.period_ms = period_ms;
        self
    }
}

impl From<SeriesMaker> for Series {
    fn from(maker: SeriesMaker) -> Self {
        maker.0
    }
}

/// An empty frame at that age of the box, in its first boot. The session
/// numbers it.
pub fn frame(age_ms: u64) -> FrameMaker {
    FrameMaker(RawFrame { now: Instant { age_ms, boot: 1, unix_ms: None }, ..RawFrame::default() })
}

#[derive(Clone, Debug)]
pub struct FrameMaker(RawFrame);

impl FrameMaker {
    /// Readings taken now, one per bound series: `[1.0, 2.0]`, or
    /// `[Some(1.0), None]` where one is missing.
    pub fn row<V: Into<Option<f64>>>(self, values: impl IntoIterator<Item = V>) -> Self {
        let age_ms = self.0.now.age_ms;
        self.row_at(age_ms, values)
    }

    /// Readings taken earlier.
    pub fn row_at<V: Into<Option<f64>>>(
        mut self,
        age_ms: u64,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.0.rows.push(age_ms);
        self.0.values.extend(values.into_iter().map(|value| value.into().unwrap_or(f64::NAN)));
        self
    }

    /// A line of a workload's output.
    pub fn line(self, target: &str, text: &str) -> Self {
        self.line_from(target, "output", text)
    }

    pub fn line_from(mut self, target: &str, source: &str, text: &str) -> Self {
        self.0.lines.push(Line {
            target: target.to_owned(),
            source: source.to_owned(),
            age_ms: self.0.now.age_ms,
            priority: 6,
            text: text.to_owned(),
        });
        self
    }

    /// Gives the latest line another priority than 6.
    pub fn weighing(mut self, priority: u8) -> Self {
        self.0.lines.last_mut().expect("a line comes before its priority").priority = priority;
        self
    }

    pub fn mark(self, target: &str, what: &str) -> Self {
        self.mark_with::<&str, bool>(target, what, [])
    }

    pub fn mark_with<N: Into<String>, V: Into<Value>>(
        mut self,
        target: &str,
        what: &str,
        attrs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.0.marks.push(Mark {
            target: target.to_owned(),
            age_ms: self.0.now.age_ms,
            what: what.to_owned(),
            attrs: attrs.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        });
        self
    }

    /// The mark of a process that ended: `status` is `exit code 1` or `signal 9`.
    pub fn exited(self, target: &str, status: &str, wanted: bool) -> Self {
        let attrs: [(&str, Value); 3] =
            [("attempt", "1-1".into()), ("status", status.into()), ("wanted", wanted.into())];
        self.mark_with(target, "workload.exited", attrs)
    }

    /// Moves the latest mark to another age than the frame's.
    pub fn marked_at(mut self, age_ms: u64) -> Self {
        self.0.marks.last_mut().expect("a mark comes before its age").age_ms = age_ms;
        self
    }

    pub fn lost(mut self, rows: u32) -> Self {
        self.0.lost = rows;
        self
    }

    pub fn boot(mut self, boot: u64) -> Self {
        self.0.now.boot = boot;
        self
    }

    pub(super) fn numbered(mut self, seq: u64) -> RawFrame {
        self.0.seq = seq;
        self.0
    }
}

/// An incident with one critical finding of that kind on its root, a minute
/// old at age 1,000 s, with nothing tried and nothing in the catalogue.
pub fn incident(root: &str, kind: &str) -> IncidentMaker {
    let now = Instant { age_ms: 1_000_000, boot: 1, unix_ms: None };
    let maker = IncidentMaker(Incident {
        id: "i1".to_owned(),
        signature: format!("{kind}@{root}"),
        now,
        seed: 1,
        opened: Instant { age_ms: now.age_ms - 60_000, ..now },
        root: root.to_owned(),
        findings: Vec::new(),
        graph: Vec::new(),
        remedies: Vec::new(),
        attempts: Vec::new(),
        facts: Vec::new(),
    });
    maker.node(root, "running", &[]).finding(Finding::new(kind, root, kind).severity(CRITICAL))
}

#[derive(Clone, Debug)]
pub struct IncidentMaker(Incident);

impl IncidentMaker {
    /// It has been open for so long; attempts come after it, or their ages are off.
    pub fn open_for_ms(mut self, ms: u64) -> Self {
        self.0.now.age_ms = self.0.opened.age_ms + ms;
        self
    }

    pub fn finding(mut self, finding: Finding) -> Self {
        self.0.findings.push(finding);
        self
    }

    pub fn no_findings(mut self) -> Self {
        self.0.findings.clear();
        self
    }

    pub fn node(mut self, id: &str, state: &str, needs: &[&str]) -> Self {
        self.0.graph.retain(|node| node.id != id);
        self.0.graph.push(Node {
            id: id.to_owned(),
            kind: id.split(':').next().unwrap_or(id).to_owned(),
            state: state.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        });
        self
    }

    /// An action on the root that the guard would permit.
    pub fn remedy(self, action: &str) -> Self {
        self.catalogue(action, true, "")
    }

    /// An action on the root that the guard would refuse, and why:
    /// `cooldown: 3 s left`.
    pub fn forbidden(self, action: &str, why_not: &str) -> Self {
        self.catalogue(action, false, why_not)
    }

    fn catalogue(mut self, action: &str, allowed: bool, why_not: &str) -> Self {
        self.0.remedies.push(Remedy {
            action: action.to_owned(),
            target: self.0.root.clone(),
            params: "{}".to_owned(),
            allowed,
            why_not: why_not.to_owned(),
            disruption: 1,
            reversible: true,
            tried: 0.0,
            proven: 0.0,
            cost_s: 0.0,
        });
        self
    }

    /// A try on the root that began so long ago, and what came of it.
    pub fn attempt(mut self, action: &str, age_ms: u64, outcome: &str) -> Self {
        let now = self.0.now;
        self.0.attempts.push(Attempt {
            action: action.to_owned(),
            target: self.0.root.clone(),
            params: Vec::new(),
            by: "test".to_owned(),
            begun: Instant { age_ms: now.age_ms.saturating_sub(age_ms), ..now },
            age_ms,
            outcome: outcome.to_owned(),
            detail: String::new(),
        });
        self
    }

    /// Of the latest attempt: why it stands as it does.
    pub fn detail(mut self, detail: &str) -> Self {
        let latest = self.0.attempts.last_mut().expect("an attempt comes before its detail");
        detail.clone_into(&mut latest.detail);
        self
    }

    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.facts.push((name.to_owned(), value.into()));
        self
    }
}

impl From<IncidentMaker> for Incident {
    fn from(maker: IncidentMaker) -> Self {
        maker.0
    }
}
