//! What can be ill, and what it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a target: `box`, or `KIND:NAME` such as `workload:digits`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(String);

impl TargetId {
    /// The machine itself.
    pub fn the_box() -> Self {
        Self("box".into())
    }

    pub fn new(kind: TargetKind, name: &str) -> Self {
        match kind {
            TargetKind::Box => Self::the_box(),
            _ => Self(format!("{}:{name}", kind.word())),
        }
    }

    pub fn workload(name: &str) -> Self {
        Self::new(TargetKind::Workload, name)
    }

    /// Takes the text as it is; whether such a target exists is the graph's to say.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part behind the colon; the whole for `box`.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The workload's name, when this target is a workload.
    pub fn as_workload(&self) -> Option<&str> {
        self.0.strip_prefix("workload:")
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TargetId> for String {
    fn from(id: TargetId) -> Self {
        id.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    Box,
    Workload,
    Model,
    Accelerator,
    Link,
    External,
}

impl TargetKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Workload => "workload",
            Self::Model => "model",
            Self::Accelerator => "accelerator",
            Self::Link => "link",
            Self::External => "external",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: TargetId,
    pub kind: TargetKind,
    /// Direct dependencies.
    pub needs: Vec<TargetId>,
}

/// All targets of the box. Acyclic: configuration refuses a cycle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    targets: BTreeMap<TargetId, Target>,
}

impl Graph {
    pub fn insert(&mut self, target: Target) {
        self.targets.insert(target.id.clone(), target);
    }

    pub fn get(&self, id: &TargetId) -> Option<&Target> {
        self.targets.get(id)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.values()
    }

    /// `id` and everything it needs, directly or not.
    pub fn closure(&self, id: &TargetId) -> BTreeSet<TargetId> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![id.clone()];
        while let Some(next) = todo.pop() {
            if let Some(target) = self.targets.get(&next) {
                todo.extend(target.needs.iter().filter(|need| !seen.contains(*need)).cloned());
            }
            seen.insert(next);
        }
        seen
    }

    /// Whether `id` needs `other`, directly or not. Nothing needs itself.
    pub fn depends_on(&self, id: &TargetId, other: &TargetId) -> bool {
        id != other && self.closure(id).contains(other)
    }
}

/// Whether a selector such as `box`, `workload:digits` or `workload:*` names
/// `text`. A single `*` at the end matches any rest.
pub fn selects(selector: &str, text: &str) -> bool {
    match selector.strip_suffix('*') {
        Some(prefix) => text.starts_with(prefix),
        None => selector == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (name, needs) in edges {
            graph.insert(Target {
                id: TargetId::workload(name),
                kind: TargetKind::Workload,
                needs: needs.iter().map(|n| TargetId::workload(n)).collect(),
            });
        }
        graph
    }

    #[test]
    fn a_closure_holds_what_is_needed_at_any_distance_and_itself() {
        let g =
            graph(&[("web", &["model"]), ("model", &["cache"]), ("cache", &[]), ("other", &[])]);
        let names: Vec<_> =
            g.closure(&TargetId::workload("web")).iter().map(|t| t.name().to_owned()).collect();
        assert_eq!(names, ["cache", "model", "web"]);
        assert!(g.depends_on(&TargetId::workload("web"), &TargetId::workload("cache")));
        assert!(!g.depends_on(&TargetId::workload("cache"), &TargetId::workload("web")));
        assert!(!g.depends_on(&TargetId::workload("web"), &TargetId::workload("web")));
    }

    #[test]
    fn a_selector_names_one_target_or_a_family() {
        for (selector, text, expected) in [
            ("box", "box", true),
            ("workload:*", "workload:digits", true),
            ("workload:*", "box", false),
            ("workload:digits", "workload:digits2", false),
            ("*", "anything", true),
        ] {
            assert_eq!(selects(selector, text), expected, "{selector} on {text}");
        }
    }
}
