//! The house of ARCHITECTURE.md, held against the code: imports point down
//! only, and rooms of one layer never import each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Top to bottom. Rooms of one line are neighbours.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["daemon"],
    &["api"],
    &["driver", "reconcile"],
    &["source", "plugin", "action"],
    &["bus", "workload"],
    &["recording", "store"],
    &["incident", "guard", "trust", "story"],
    &["config"],
    &["http", "program"],
    &["clock"],
    &["model"],
    &["failpoint", "heap", "secret"],
];

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable source tree") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// Rooms named behind `crate::` outside comments.
fn imports(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut rooms = Vec::new();
    for line in code {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let room: String =
                rest.chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '_').collect();
            rooms.push(room);
        }
    }
    rooms
}

#[test]
fn imports_point_down_only() {
    let level: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(level, rooms)| rooms.iter().map(move |room| (*room, level)))
        .collect();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut wrong = Vec::new();
    for path in all {
        let inside = path.strip_prefix(&src).expect("inside the tree");
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if room == "lib" || room == "bin" {
            continue;
        }
        let Some(own) = level.get(room.as_str()) else {
            wrong.push(format!("{} is a room that no layer names", inside.display()));
            continue;
        };
        let text = fs::read_to_string(&path).expect("source text");
        for other in imports(&text) {
            match level.get(other.as_str()) {
                Some(theirs) if *theirs > *own || other == room => {}
                Some(_) => wrong.push(format!("{} imports {other}", inside.display())),
                None => wrong
                    .push(format!("{} imports {other}, which no layer names", inside.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
