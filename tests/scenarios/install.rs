//! Plugins that are put in, exchanged and taken out while the box goes on.

use std::fs;
use std::path::Path;

use homeostat::model::view::{NamedBy, PluginState, PluginView};
use homeostat::model::{Event, View};
use homeostat_tests::plan::path;
use homeostat_tests::repackage::{repackage, signed_by};
use homeostat_tests::{Plan, TestBox};
use model_server::fault::Fault;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn is_refused(house: &TestBox, args: &[&str], words: &[&str]) {
    let said = house.is_refused(args);
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

/// The live one of that name.
fn live<'v>(view: &'v View, name: &str) -> Option<&'v PluginView> {
    view.plugins.iter().find(|it| it.name == name && it.shadow_until_age_ms.is_none())
}

fn shadow<'v>(view: &'v View, name: &str) -> Option<&'v PluginView> {
    view.plugins.iter().find(|it| it.name == name && it.shadow_until_age_ms.is_some())
}

fn until_runs(house: &TestBox, name: &str, version: &str) {
    house.until_view(&format!("{name} {version} to run"), |view| {
        let plugin = live(view, name)?;
        (plugin.version == version && plugin.state == PluginState::Running).then_some(())
    });
}

/// A detector that the box's file does not name: it finds every box too hot.
fn settings(house: &TestBox) -> std::path::PathBuf {
    let file = house.folder().join("watch.toml");
    let config = "[[rules]]\nname = \"busy\"\nkind = \"box.busy\"\n\
                  series = \"system.memory.utilization\"\ntarget = \"box\"\nop = \">\"\nraise = 0.0\n";
    fs::write(&file, config).expect("the story's folder can be written");
    file
}

/// `threshold` under another name.
fn watch(folder: &Path, version: &str, sequence: u64) -> std::path::PathBuf {
    repackage("threshold", folder, |manifest| {
        manifest.name = "watch".into();
        manifest.version = version.into();
        manifest.sequence = sequence;
    })
}

#[test]
fn a_new_detector_is_watched_in_shadow_and_then_takes_its_place() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    let before = house.now();
    let (file, config) = (watch(house.folder(), "0.1.0", 1), settings(&house));
    let install = |more: &[&str]| {
        let (file, config) = (path(&file), path(&config));
        let words = ["plugin", "install", &file, "--plugin-config", &config, "--target", "box"];
        words.iter().chain(more).map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let said = house.does(&install(&["--shadow", "1h"]));
    assert!(said.contains("watch 0.1.0 (sequence 1) runs in shadow"), "{said}");
    house.until_view("what it says in shadow", |view| {
        let found = shadow(view, "watch")?;
        found.shadow_findings.iter().any(|it| it.kind == "box.busy").then_some(())
    });
    let list = house.does(&["plugin", "list"]);
    assert!(list.contains("in shadow") && list.contains("box.busy"), "{list}");
    house.until_quiet();
    let incident = |record: &homeostat::model::Record| {
        record.seq > before && matches!(record.event, Event::IncidentOpened { .. })
    };
    assert!(!house.journal().iter().any(incident), "nothing follows from a shadow");

    // A shadow outlives its daemon, and a shorter one is soon over.
    let said = house.does(&install(&["--shadow", "1s"]));
    assert!(said.contains("in shadow for 1 s"), "{said}");
    until_runs(&house, "watch", "0.1.0");
    house.until_raised(before, "box.busy");
    let view = house.view();
    let plugin = live(&view, "watch").expect("it runs");
    assert!(plugin.trial_until_age_ms.is_some() && plugin.named_by == NamedBy::Operator);
    assert!(shadow(&view, "watch").is_none(), "{view:#?}");

    let said = house.does(&["plugin", "remove", "watch"]);
    assert!(said.contains("watch is gone"), "{said}");
    house.until_view("it to be gone", |view| live(view, "watch").is_none().then_some(()));
    house.until_event(before, "what it said to be cleared", |event| match event {
        Event::FindingCleared { detector, .. } if detector == "watch" => Some(()),
        _ => None,
    });
    is_refused(&house, &["plugin", "remove", "watch"], &["no plugin \"watch\" is installed"]);
    house.check();
}

#[test]
fn a_plugin_is_shown_what_it_was_signed_for_whatever_it_asks_for() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    // It asks for the box's memory, and its manifest says probes alone.
    let lying = repackage("threshold", house.folder(), |manifest| {
        manifest.name = "watch".into();
        manifest.reads = vec!["homeostat.probe.*".into()];
    });
    let (file, config) = (path(&lying), path(&settings(&house)));
    let install = ["plugin", "install", &file, "--plugin-config", &config, "--shadow", "1h"];
    house.does(&install);
    house.until_view("it to be bound to nothing", |view| {
        let found = shadow(view, "watch")?;
        (found.state == PluginState::Running && found.detail == "0 series").then_some(())
    });
    house.check();
}

#[test]
fn a_plugin_is_exchanged_while_it_watches_and_goes_on_with_what_it_learnt() {
    let mut house = Plan::usual().raise();
    house.until_watched("digits");
    let newer = repackage("liveness", house.folder(), |manifest| {
        manifest.version = "9.0.0".into();
        manifest.sequence = 9;
    });
    let before = house.now();
    house.does(&["plugin", "install", path(&newer).as_str(), "--trial", "1s"]);
    until_runs(&house, "liveness", "9.0.0");
    house.until_event(before, "its trial to be over", |event| match event {
        Event::PluginAccepted { plugin, sequence: 9, .. } if plugin == "liveness" => Some(()),
        _ => None,
    });
    let lost = |record: &homeostat::model::Record| {
        record.seq > before && matches!(record.event, Event::ProtectionLost { .. })
    };
    assert!(!house.journal().iter().any(lost), "its targets were never without it");
    house.until_looked("liveness");
    let broke = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", broke);

    // It stays across a restart, and nothing older follows it.
    house.kill_daemon();
    house.start(&[]);
    until_runs(&house, "liveness", "9.0.0");
    let older = repackage("liveness", house.folder(), |manifest| {
        manifest.version = "8.0.0".into();
        manifest.sequence = 8;
    });
    let words = ["a sequence of at least 9, found 8"];
    is_refused(&house, &["plugin", "install", &path(&older)], &words);
    is_refused(&house, &["plugin", "remove", "liveness"], &["may not", "9"]);
    until_runs(&house, "liveness", "9.0.0");
    house.check();
}

#[test]
fn one_that_does_not_stand_its_trial_is_taken_back_by_itself() {
    let house = Plan::usual()
        .with(|settings| {
            let liveness = settings.named("plugin", "liveness");
            liveness.insert("backoff_ms".into(), 10.into());
        })
        .raise();
    house.until_watched("digits");
    let version =
        house.view().plugins.iter().find(|it| it.name == "liveness").map(|it| it.version.clone());
    let version = version.expect("it runs");
    // It knows nothing of how liveness is configured, and says so each time.
    let bad = repackage("misbehave", house.folder(), |manifest| {
        manifest.name = "liveness".into();
        manifest.version = "9.0.0".into();
        manifest.sequence = 9;
    });
    let before = house.now();
    house.does(&["plugin", "install", path(&bad).as_str()]);
    house.until_event(before, "it to be taken back", |event| match event {
        Event::PluginWithdrawn { plugin, why, by: None, back_to: Some(_), .. } => {
            (plugin == "liveness" && why.contains("quarantined within its trial")).then_some(())
        }
        _ => None,
    });
    until_runs(&house, "liveness", &version);
    house.until_looked("liveness");
    let broke = house.now();
    house.server("digits").breaks(Fault::Crash);
    house.until_healed("digits", broke);
    house.check();
}

#[test]
fn what_may_not_be_installed_changes_nothing() {
    let house = Plan::usual().raise();
    house.until_watched("digits");
    let before = house.now();
    let folder = house.folder().join("files");
    fs::create_dir(&folder).expect("the story's folder can be written");
    let named = |name: &'static str| {
        move |manifest: &mut homeostat::plugin::package::Manifest| manifest.name = name.into()
    };

    let stranger = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let foreign = signed_by(&stranger, "threshold", &folder, named("foreign"));
    is_refused(&house, &["plugin", "install", &path(&foreign)], &["signature"]);

    let healer = repackage("ladder", &folder, named("healer-of-nobody"));
    let words = ["is a healer", "[[incident.route]]"];
    is_refused(&house, &["plugin", "install", &path(&healer)], &words);

    let lying = repackage("threshold", &folder, |manifest| {
        manifest.name = "lying".into();
        manifest.world = "healer".into();
    });
    is_refused(&house, &["plugin", "install", &path(&lying)], &["lying"]);

    let watch = watch(&folder, "0.1.0", 1);
    let install = ["plugin", "install", &path(&watch), "--target", "workload:nobody"];
    is_refused(&house, &install, &["no target of this box", "workload:nobody"]);
    let liveness = repackage("liveness", &folder, |_| {});
    let install = ["plugin", "install", &path(&liveness), "--target", "*"];
    is_refused(&house, &install, &["is in the box's file"]);
    is_refused(&house, &["plugin", "remove", "liveness"], &["take its [[plugin]] out"]);
    let missing = house.cli(&["plugin", "install", "/nonexistent.plugin"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stderr));

    let changed = |record: &homeostat::model::Record| {
        record.seq > before
            && matches!(
                record.event,
                Event::PluginStarted { .. }
                    | Event::PluginInstalled { .. }
                    | Event::PluginWithdrawn { .. }
            )
    };
    assert!(!house.journal().iter().any(changed));
    assert!(!house.folder().join("state/plugins").exists());
    house.check();
}
