//! From a file to a plugin that may run, or to a refusal that says why.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use homeostat::config::{self, Machine, PluginConfig, PublisherKey};
use homeostat::model::Event;
use homeostat::model::view::TrustView;
use homeostat::plugin::package::{Blob, PAYLOAD_TYPE, Package, PackageError};
use homeostat::plugin::{
    Cause, CheckpointStore, CodeOrigin, CompileError, Fault, PluginError, Running,
};
use homeostat::reconcile::{Arrived, Reconciler, Stage};
use homeostat::store::{SharedSlot, Slot};
use homeostat::trust::{self, TrustError};

use crate::guest;
use crate::rig::{Rig, key, manifest};

fn refusal(result: Result<impl std::fmt::Debug, PluginError>) -> (Cause, String) {
    let error = result.unwrap_err();
    let text = error.to_string();
    (error.cause, text)
}

#[test]
fn a_plugin_is_compiled_once_and_comes_from_the_cache_ever_after() {
    let rig = Rig::new();
    let config = rig.plugin(&guest::detector(), "detector");
    assert_eq!(rig.host().load(&config, 0).unwrap().origin(), CodeOrigin::Compiled);
    let host = rig.host();
    assert_eq!(host.load(&config, 0).unwrap().origin(), CodeOrigin::Cached);
    assert_eq!(host.load(&config, 0).unwrap().origin(), CodeOrigin::Cached);
    assert!(host.conditions().is_empty());
}

#[test]
fn a_tampered_cache_is_not_loaded_but_built_anew() {
    let rig = Rig::new();
    let config = rig.plugin(&guest::detector(), "detector");
    rig.host().load(&config, 0).unwrap();
    let path = rig.state().join("cache").join(format!("{}.native", config.digest));
    let good = std::fs::read(&path).unwrap();
    for at in [0, 8, 40, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&path, bad).unwrap();
        assert_eq!(rig.host().load(&config, 0).unwrap().origin(), CodeOrigin::Compiled, "{at}");
        assert_eq!(rig.host().load(&config, 0).unwrap().origin(), CodeOrigin::Cached, "{at}");
    }
}

#[test]
fn without_a_state_folder_plugins_run_and_it_is_said() {
    let rig = Rig::new();
    std::fs::write(rig.state(), b"a file is in the way").unwrap();
    let host = rig.host();
    let config = rig.plugin(&guest::detector(), "detector");
    assert_eq!(host.load(&config, 0).unwrap().origin(), CodeOrigin::Compiled);
    assert_eq!(host.conditions()[0].name, "plugin.cache");
}

#[test]
fn files_that_are_not_what_was_signed_are_refused() {
    let rig = Rig::new();
    let host = rig.host();
    let component = guest::detector();
    let config = rig.plugin(&component, "detector");
    let good = std::fs::read(&config.package).unwrap();

    let mut altered = good.clone();
    let at = altered.windows(9).position(|part| part == b"test.kind").unwrap();
    altered[at] = b'T';
    let (cause, text) = refusal(host.load(&rig.file(&altered, &component), 0));
    assert!(matches!(cause, Cause::Package(PackageError::Altered { .. })), "{text}");

    let (cause, text) = refusal(host.load(&rig.file(&good[..good.len() / 2], &component), 0));
    assert!(matches!(cause, Cause::Package(PackageError::Truncated { .. })), "{text}");

    let oversized = vec![0; 16 << 20];
    let (cause, text) = refusal(host.load(&rig.file(&oversized, &component), 0));
    assert!(matches!(cause, Cause::Package(PackageError::TooLarge { .. })), "{text}");

    let stranger = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let wrong_key =
        Package::write(manifest("detector"), &component, &BTreeMap::new(), &stranger).unwrap();
    let (cause, text) = refusal(host.load(&rig.file(&wrong_key, &component), 0));
    assert!(
        matches!(cause, Cause::Package(PackageError::Trust(TrustError::UnknownKey { .. }))),
        "{text}"
    );

    let (cause, text) = refusal(host.load(&rig.file(&good, b"another component"), 0));
    assert!(matches!(cause, Cause::Package(PackageError::NotAdmitted { .. })), "{text}");

    let (cause, text) = refusal(host.load(&rig.file(&good, &component), 4));
    assert!(matches!(cause, Cause::Package(PackageError::Rollback { .. })), "{text}");
    assert!(text.starts_with("plugin test: "), "{text}");
}

#[test]
fn an_unsigned_file_and_one_of_another_api_are_refused_each_with_its_reason() {
    let rig = Rig::new();
    let host = rig.host();
    let component = guest::detector();

    let unsigned =
        br#"{"payloadType":"application/vnd.homeostat.plugin+json","payload":"","signatures":[]}"#;
    let (cause, text) = refusal(host.load(&rig.file(&pack(unsigned, &component), &component), 0));
    assert!(matches!(cause, Cause::Package(PackageError::Trust(TrustError::Unsigned))), "{text}");

    let mut newer = manifest("detector");
    newer.api = "0.9.0".into();
    newer.component = Blob::of(&component);
    let envelope = trust::sign(PAYLOAD_TYPE, &serde_json::to_vec(&newer).unwrap(), &key());
    let (cause, text) = refusal(host.load(&rig.file(&pack(&envelope, &component), &component), 0));
    assert!(matches!(cause, Cause::Package(PackageError::Api { .. })), "{text}");
    assert!(text.contains("0.1.0") && text.contains("0.9.0"), "{text}");
}

/// A plugin file with any envelope.
fn pack(envelope: &[u8], component: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in [("plugin.dsse.json", envelope), ("component.wasm", component)] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn a_component_of_another_world_than_its_manifest_says_is_refused() {
    let rig = Rig::new();
    let host = rig.host();
    for (component, world) in [
        (guest::detector(), "healer"),
        (guest::healer(), "detector"),
        (guest::detector(), "detector-resumable"),
    ] {
        let (cause, text) = refusal(host.load(&rig.plugin(&component, world), 0));
        assert!(matches!(cause, Cause::World { .. }), "{text}");
    }
}

#[test]
fn an_import_beyond_the_contract_is_refused_by_name() {
    let rig = Rig::new();
    let (cause, text) = refusal(rig.host().load(&rig.plugin(&guest::nosy(), "detector"), 0));
    assert!(matches!(cause, Cause::Imports { .. }), "{text}");
    assert!(text.contains("homeostat:plugin/clock@0.1.0"), "{text}");
    assert!(!rig.state().join("cache").read_dir().unwrap().any(|_| true), "nothing was sealed");
}

#[test]
fn a_contract_that_is_almost_ours_is_found_by_the_self_test() {
    let rig = Rig::new();
    let (cause, text) = refusal(rig.host().load(&rig.plugin(&guest::mistyped(), "detector"), 0));
    assert!(matches!(cause, Cause::SelfTest(_) | Cause::Link { .. }), "{text}");
}

#[test]
fn a_plugin_that_never_starts_is_stopped_in_the_self_test() {
    let rig = Rig::new();
    let mut config = rig.plugin(&guest::never_starts(), "detector");
    config.deadline_ms = 20;
    let (cause, text) = refusal(rig.host().load(&config, 0));
    assert!(matches!(cause, Cause::SelfTest(Fault::Overrun { .. })), "{text}");
}

#[test]
fn memory_that_is_not_given_is_refused_before_or_in_the_self_test() {
    let rig = Rig::new();
    let host = rig.host();
    let (cause, text) = refusal(host.load(&rig.plugin(&guest::greedy(), "detector"), 0));
    assert!(matches!(cause, Cause::SelfTest(_)), "{text}");

    let mut config = rig.plugin(&guest::detector(), "detector");
    config.memory_max_bytes = 1 << 19;
    let (cause, text) = refusal(host.load(&config, 0));
    assert!(matches!(cause, Cause::Memory { .. }), "{text}");
}

#[test]
fn what_is_no_component_is_refused_by_the_compiler_and_named() {
    let rig = Rig::new();
    for bytes in [&b"no wasm at all"[..], b"\0asm\x01\0\0\0"] {
        let (cause, text) = refusal(rig.host().load(&rig.plugin(bytes, "detector"), 0));
        assert!(matches!(cause, Cause::Compile(CompileError::Invalid { .. })), "{text}");
    }
}

#[test]
fn a_missing_compiler_is_an_error_that_says_what_to_do() {
    let rig = Rig::new();
    let empty = tempfile::tempdir().unwrap();
    let config = rig.plugin(&guest::detector(), "detector");
    let (cause, text) = refusal(rig.host_with(empty.path()).load(&config, 0));
    assert!(matches!(cause, Cause::Compile(CompileError::Start { .. })), "{text}");
    assert!(text.contains("install homeostat-compile"), "{text}");
}

/// Whoever hears of plugins, and keeps them.
#[derive(Default)]
struct Arrivals(Vec<Arrived>);

impl Stage for Arrivals {
    fn arrive(&mut self, arrived: Arrived) -> ControlFlow<()> {
        self.0.push(arrived);
        ControlFlow::Continue(())
    }

    fn leave(&mut self, _: &str, _: bool) -> Option<Running> {
        None
    }

    fn gone(&mut self, _: &str, _: bool) {}

    fn trusts(&mut self, _: TrustView) {}

    fn write(&mut self, _: Event) {}

    fn now_age_ms(&self) -> u64 {
        0
    }
}

#[test]
fn one_bad_plugin_costs_no_other_its_place() {
    let mut rig = Rig::new();
    let host = rig.host();
    std::fs::write(rig.state().join("cache/00ff.native"), b"of a plugin that is gone").unwrap();
    let good = rig.plugin(&guest::detector(), "detector");
    let bad = PluginConfig { name: "other".into(), ..good.clone() };
    let checkpoints: Arc<dyn CheckpointStore> = rig.checkpoints.clone();
    let (mut slot, _) = Slot::open(&rig.state().join("trust")).unwrap();
    let accepted = ("test".to_owned(), 3);
    slot.update(|floors| floors.plugin_sequence.extend([accepted])).unwrap();
    let text = "[box]\nname = \"b\"\nmode = \"observe\"\n";
    let mut config = config::parse(Path::new("/b.toml"), text, &Machine::default()).unwrap();
    config.paths.state = rig.state();
    config.plugins = vec![bad, good];
    let public = key().verifying_key().to_bytes();
    config.trust.publishers = vec![PublisherKey { name: "acme".into(), key: public }];
    let slot = SharedSlot::new(slot);
    let mut stage = Arrivals::default();
    let mut reconciler =
        Reconciler::new(&host, &config, slot.clone(), checkpoints, rig.mouth.clone());
    assert!(reconciler.start_all(&mut stage).is_continue());
    let outcomes = stage.0;
    assert!(matches!(
        outcomes[0].result.as_ref().unwrap_err().cause,
        Cause::Package(PackageError::Name { .. })
    ));
    let owner = slot.look(|floors| floors.plugin_publisher.get("test").cloned());
    assert_eq!(owner.as_deref(), Some("acme"), "the name is its publisher's from now on");
    let (loaded, running) = outcomes[1].result.as_ref().unwrap();
    assert_eq!(loaded.manifest().sequence, 3);
    assert!(matches!(running, Running::Detector(_)));
    rig.hear_ready();
    assert_eq!(rig.state().join("cache").read_dir().unwrap().count(), 1);
}
