//! Circles among needs.
//!
//! Invariant: each circle that a depth-first walk closes is named once, at the
//! need that closes it; a graph without a circle gives none.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub from: String,
    pub to: String,
    pub offset: usize,
}

pub(super) struct Cycle<'e> {
    /// The need that closes it.
    pub edge: &'e Edge,
    /// First and last are the same.
    pub path: Vec<&'e str>,
}

pub(super) fn cycles(edges: &[Edge]) -> Vec<Cycle<'_>> {
    let mut from: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        from.entry(&edge.from).or_default().push(edge);
    }
    let mut walk = Walk { from: &from, path: Vec::new(), done: BTreeSet::new(), found: Vec::new() };
    for start in from.keys() {
        walk.visit(start);
    }
    walk.found
}

struct Walk<'w, 'e> {
    from: &'w BTreeMap<&'e str, Vec<&'e Edge>>,
    path: Vec<&'e str>,
    done: BTreeSet<&'e str>,
    found: Vec<Cycle<'e>>,
}

impl<'e> Walk<'_, 'e> {
    /// As deep as there are workloads; the reader bounds their number.
    fn visit(&mut self, name: &'e str) {
        if self.done.contains(name) {
            return;
        }
        self.path.push(name);
        for edge in self.from.get(name).into_iter().flatten() {
            match self.path.iter().position(|seen| *seen == edge.to) {
                Some(start) => {
                    let mut path = self.path[start..].to_vec();
                    path.push(&edge.to);
                    self.found.push(Cycle { edge, path });
                }
                None => self.visit(&edge.to),
            }
        }
        self.path.pop();
        self.done.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_circle_is_named_once_and_a_diamond_is_none() {
        let edge =
            |(from, to): &(&str, &str)| Edge { from: (*from).into(), to: (*to).into(), offset: 0 };
        for (pairs, expected) in [
            (vec![("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")], vec![]),
            (vec![("a", "a")], vec!["a a"]),
            (vec![("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")], vec!["a b c a"]),
            (vec![("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")], vec!["a b a", "c d c"]),
        ] {
            let edges: Vec<_> = pairs.iter().map(edge).collect();
            let found: Vec<_> = cycles(&edges).iter().map(|cycle| cycle.path.join(" ")).collect();
            assert_eq!(found, expected, "{pairs:?}");
        }
    }
}
