//! What is kept of what was installed.

use std::fs;

use super::installed::{Installed, Place, Shadow, Shelf, Trial};
use crate::config::PluginConfig;

fn installed(digest: &str) -> Installed {
    Installed {
        version: "0.1.0".into(),
        sequence: 1,
        publisher: "acme".into(),
        digest: digest.into(),
        file: format!("{digest}.plugin"),
    }
}

fn entry(name: &str, digest: &str) -> PluginConfig {
    PluginConfig { digest: digest.into(), ..PluginConfig::unnamed(name) }
}

/// Over a file that says `aa` of `liveness` and nothing of `too-hot`.
fn shelf(state: &std::path::Path) -> Shelf {
    let (mut shelf, error) = Shelf::open(state);
    assert!(error.is_none(), "{error:?}");
    for digest in ["bb", "cc", "dd", "ee"] {
        shelf.put(digest, b"a file").unwrap();
    }
    let trial = Trial { until_age_ms: 9_000, before: Some(installed("bb")) };
    let liveness = Place {
        over: Some("aa".into()),
        live: Some(installed("cc")),
        trial: Some(trial),
        ..Place::default()
    };
    let shadow = Shadow { what: installed("dd"), until_age_ms: 5_000, trial_ms: 1_000 };
    let too_hot = Place { shadow: Some(shadow), ..Place::default() };
    shelf.places.insert("liveness".into(), liveness);
    shelf.places.insert("too-hot".into(), too_hot);
    shelf.save().unwrap();
    shelf
}

#[test]
fn what_is_installed_comes_back_and_files_that_nobody_names_go() {
    let state = tempfile::tempdir().unwrap();
    let before = shelf(state.path());
    let (again, error) = Shelf::open(state.path());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(again.places, before.places);
    let mut files: Vec<_> = fs::read_dir(state.path().join("plugins"))
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    // What would be gone back to is kept, and what nothing names is not.
    assert_eq!(files, ["bb.plugin", "cc.plugin", "dd.plugin", "installed.json"]);
}

#[test]
fn a_box_file_that_came_to_say_something_else_is_the_newer_word() {
    let state = tempfile::tempdir().unwrap();
    for (file, kept) in [
        (vec![entry("liveness", "aa")], vec!["liveness", "too-hot"]),
        (vec![entry("liveness", "ff")], vec!["too-hot"]),
        (vec![], vec!["too-hot"]),
        (vec![entry("liveness", "aa"), entry("too-hot", "11")], vec!["liveness"]),
    ] {
        let mut shelf = shelf(state.path());
        shelf.follow(&file);
        assert_eq!(shelf.places.keys().collect::<Vec<_>>(), kept, "{file:?}");
    }
}

#[test]
fn an_index_that_does_not_read_says_so_and_installs_nothing() {
    let state = tempfile::tempdir().unwrap();
    drop(shelf(state.path()));
    let index = state.path().join("plugins/installed.json");
    for (text, word) in [
        ("{", "does not read"),
        (r#"{"homeostat_installed":2,"plugins":{}}"#, "wanted format 1, found 2"),
        (r#"{"homeostat_installed":1,"plugins":{},"more":1}"#, "unknown field"),
    ] {
        fs::write(&index, text).unwrap();
        let (shelf, error) = Shelf::open(state.path());
        let error = error.expect("it does not read").to_string();
        assert!(shelf.places.is_empty() && error.contains(word), "{error}");
    }
}

#[test]
fn only_so_many_names_may_be_installed() {
    let mut shelf = Shelf::new("/nowhere".into());
    for number in 0..32 {
        shelf.has_room_for("more").unwrap();
        shelf.places.insert(format!("p{number}"), Place::default());
    }
    assert!(shelf.has_room_for("more").is_err());
    shelf.has_room_for("p3").unwrap();
}
