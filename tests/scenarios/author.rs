//! From nothing to a plugin that is tested, built and replayed, with the author's
//! tool alone.

use std::path::Path;
use std::process::{Command, Output};

use homeostat_tests::program;

/// As an author would type it, in `dir`.
#[track_caller]
fn types(dir: &Path, words: &[&str]) -> Output {
    let [program, args @ ..] = words else { panic!("a command has a name") };
    let program = match *program {
        "homeostat" => program::program("homeostat"),
        other => other.into(),
    };
    let output = Command::new(program)
        .args(args)
        .current_dir(dir)
        // What was built once for these stories serves the next.
        .env("CARGO_TARGET_DIR", program::target().join("author"))
        .env("CARGO_NET_OFFLINE", "true")
        .env_remove("RUSTFLAGS")
        .output()
        .expect("it can be started");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{words:?} in {}: {}\n{}\n{}",
        dir.display(),
        output.status,
        said(&output.stdout),
        said(&output.stderr)
    );
    output
}

fn from_nothing(name: &str, kind: &str) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let made = types(folder.path(), &["homeostat", "plugin", "new", name, "--kind", kind]);
    let made = String::from_utf8_lossy(&made.stdout).into_owned();
    assert!(made.contains("THE ONE FUNCTION TO WRITE"), "{made}");
    let dir = folder.path().join(name);
    let tested = types(&dir, &["cargo", "test"]);
    let tested = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(tested.contains("2 passed"), "{tested}");
    let checked = types(&dir, &["homeostat", "plugin", "check"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains(&format!("world    {kind}")), "{checked}");
    let replayed = types(&dir, &["homeostat", "plugin", "replay"]);
    let replayed = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(replayed.contains("first.jsonl: as recorded"), "{replayed}");
}

#[test]
fn a_detector_from_nothing_is_tested_built_and_replayed() {
    from_nothing("too-full", "detector");
}

#[test]
fn a_healer_from_nothing_is_tested_built_and_replayed() {
    from_nothing("start-again", "healer");
}

#[test]
fn a_box_without_the_authors_tool_says_where_it_belongs() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let alone = folder.path().join("homeostat");
    std::fs::copy(program::program("homeostat"), &alone).expect("a program can be copied");
    let output = Command::new(&alone)
        .args(["plugin", "new", "x"])
        .env("PATH", folder.path())
        .output()
        .expect("it can be started");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no box needs it"), "{said}");
}
