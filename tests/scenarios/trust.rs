//! Whom a box believes, and what it does when that ends.

use std::fs;

use homeostat::model::Event;
use homeostat::model::view::{PluginState, View};
use homeostat_tests::plan::path;
use homeostat_tests::repackage::repackage;
use homeostat_tests::{Plan, TestBox, program};
use model_server::fault::Fault;

fn state(view: &View, name: &str) -> Option<PluginState> {
    view.plugins.iter().find(|it| it.name == name).map(|it| it.state)
}

#[track_caller]
fn until(house: &TestBox, name: &str, wanted: PluginState) {
    house.until_view(&format!("{name} to be {wanted:?}"), |view| {
        (state(view, name) == Some(wanted)).then_some(())
    });
}

#[test]
fn a_revoked_component_stops_at_once_and_never_runs_again() {
    let mut house = Plan::usual().raise();
    house.until_watched("digits");
    let shown = house.does(&["trust", "show"]);
    assert!(shown.contains("version 1, made by this box"), "{shown}");
    let digest = program::packaged("liveness").digest.clone();
    let before = house.now();
    let said = house.does(&["trust", "revoke", "--digest", &digest]);
    assert!(said.contains("version 2"), "{said}");
    until(&house, "liveness", PluginState::Refused);
    house.until_event(before, "its refusal", |event| match event {
        Event::PluginRefused { plugin, why } if plugin == "liveness" => {
            why.contains("is revoked").then_some(())
        }
        _ => None,
    });
    house.until_event(before, "that its targets are without it", |event| {
        matches!(event, Event::ProtectionLost { .. }).then_some(())
    });
    assert_eq!(state(&house.view(), "ladder"), Some(PluginState::Running), "nobody else is");
    house.until_serving("digits");

    // Neither a restart nor a database that is gone, nor installing it again.
    house.stop_daemon();
    fs::remove_dir_all(house.folder().join("state/store")).expect("it is there");
    house.start(&[]);
    until(&house, "liveness", PluginState::Refused);
    let file = path(&program::packaged("liveness").package);
    let said = house.is_refused(&["plugin", "install", &file]);
    assert!(said.contains("is revoked"), "{said}");

    // A later version is another component; this one is the same under a later
    // number, and that does not help.
    let later = repackage("liveness", house.folder(), |manifest| manifest.sequence = 99);
    let said = house.is_refused(&["plugin", "install", &path(&later)]);
    assert!(said.contains("is revoked"), "{said}");
    let shown = house.does(&["trust", "show"]);
    assert!(shown.contains("version 2") && shown.contains(&digest), "{shown}");
}

#[test]
fn a_publisher_whose_key_is_revoked_runs_nothing_any_more() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    let publisher = &program::index().publisher;
    let key = program::key_id(&publisher.key);
    house.does(&["trust", "revoke", "--key", &key]);
    for plugin in ["liveness", "ladder"] {
        until(&house, plugin, PluginState::Refused);
    }
    let shown = house.does(&["trust", "show"]);
    assert!(shown.contains("publishers: none") && shown.contains(&key), "{shown}");
    // What it keeps running needs no plugin.
    house.until_serving("digits");
    house.check();
}

#[test]
fn a_root_is_taken_from_a_file_that_enough_keys_signed_and_from_no_other() {
    use homeostat::trust::Root;

    let house = Plan::usual().raise();
    house.until_watched("digits");
    let own = fs::read(house.folder().join("state/root.key")).expect("the box made its key");
    let own: [u8; 32] = own.try_into().expect("it has 32 bytes");
    let own = ed25519_dalek::SigningKey::from_bytes(&own);
    let theirs = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    // Handed over to somebody else's key.
    let next = Root { version: 2, ..Root::of_one_key(&theirs) };
    let file = house.folder().join("root-2.json");
    let update = ["trust", "update", &path(&file)];
    for (signed, word) in [
        (next.sign(&[&theirs]), "signature"),
        (next.sign(&[&own]), "wanted a signature by one of the keys"),
        (Root { version: 3, ..next.clone() }.sign(&[&own, &theirs]), "wanted version 2"),
        (b"{}".to_vec(), "no DSSE envelope"),
    ] {
        fs::write(&file, signed).expect("the story's folder can be written");
        let said = house.is_refused(&update);
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    // Nor is it waited for what never ends.
    let said = house.is_refused(&["trust", "update", "/dev/zero"]);
    assert!(said.contains("wanted a file"), "{said}");
    assert_eq!(house.view().trust.root_version, 1);
    fs::write(&file, next.sign(&[&own, &theirs])).expect("the story's folder can be written");
    house.does(&update);
    let shown = house.does(&["trust", "show"]);
    assert!(shown.contains("version 2, held by others"), "{shown}");
    // From now on the box's own key changes nothing.
    let said = house.is_refused(&["trust", "revoke", "--key", "0123456789abcdef"]);
    assert!(said.contains("is not its own"), "{said}");
    let broke = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", broke);
    house.check();
}
