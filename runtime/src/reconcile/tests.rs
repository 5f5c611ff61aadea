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
        settings: Default::default(),
    }
}

fn entry(name: &str, digest: &str) -> PluginConfig {
    PluginConfig { digest: digest.into(), ..PluginConfig::unnamed(name) }
}

/// Over a file that says `aa` of `liveness` and nothing of `too-hot`.
fn shelf(state: &std::path::Path) -> Shelf {
    let (mut shelf, error) = Shelf::open(state);
    assert!(error.is_none(), "{error:?}");
    std::fs::create_dir_all(state.join("plugins")).unwrap();
    for digest in ["bb", "cc", "dd", "ee"] {
        std::fs::write(state.join(format!("plugins/{digest}.plugin")), "a file").unwrap();
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
    shelf
        .change(|places| {
            places.insert("liveness".into(), liveness);
            places.insert("too-hot".into(), too_hot);
        })
        .unwrap();
    shelf
}

#[test]
fn what_is_installed_comes_back_and_files_that_nobody_names_go() {
    let state = tempfile::tempdir().unwrap();
    let before = shelf(state.path());
    let (again, error) = Shelf::open(state.path());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(again.places(), before.places());
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
        assert_eq!(shelf.places().keys().collect::<Vec<_>>(), kept, "{file:?}");
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
        let (mut shelf, error) = Shelf::open(state.path());
        let error = error.expect("it does not read").to_string();
        assert!(shelf.places().is_empty() && error.contains(word), "{error}");
        // Nor is anything written over it, or what it names taken away.
        let error = shelf.change(|_| {}).unwrap_err().to_string();
        assert!(error.contains("mend or remove the index"), "{error}");
        assert!(shelf.put(b"another").is_err());
        shelf.change_anyway(|_| {});
        assert_eq!(fs::read_to_string(&index).unwrap(), text);
        assert!(state.path().join("plugins/cc.plugin").exists());
    }
}

#[test]
fn only_so_many_names_may_be_installed() {
    let state = tempfile::tempdir().unwrap();
    let mut shelf = Shelf::new(state.path().join("plugins"));
    for number in 0..32 {
        shelf.has_room_for("more").unwrap();
        let place = Place { live: Some(installed("aa")), ..Place::default() };
        shelf.change(|places| drop(places.insert(format!("p{number}"), place))).unwrap();
    }
    assert!(shelf.has_room_for("more").is_err());
    shelf.has_room_for("p3").unwrap();
}

#[test]
fn what_cannot_be_written_down_is_not_installed_and_what_is_bad_goes_all_the_same() {
    let state = tempfile::tempdir().unwrap();
    let mut shelf = shelf(state.path());
    // The folder is gone, and something is in its place.
    fs::remove_dir_all(state.path().join("plugins")).unwrap();
    fs::write(state.path().join("plugins"), "no folder").unwrap();
    let before = shelf.places().clone();
    assert!(shelf.change(|places| places.clear()).is_err());
    assert_eq!(*shelf.places(), before);
    shelf.change_anyway(|places| drop(places.remove("liveness")));
    assert_eq!(shelf.places().keys().collect::<Vec<_>>(), ["too-hot"]);
}

#[test]
fn two_plugins_of_one_component_have_a_file_each() {
    let state = tempfile::tempdir().unwrap();
    let shelf = shelf(state.path());
    assert_ne!(shelf.put(b"signed as a").unwrap(), shelf.put(b"signed as b").unwrap());
}
