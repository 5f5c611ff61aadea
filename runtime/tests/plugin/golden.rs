//! Components of every released contract, really run: `golden/README.md`.

use homeostat::config::PluginConfig;
use homeostat::model::{Brief, Decision, IncidentId, Instant, TargetId, Value};
use homeostat::plugin::package::API_VERSIONS;

use crate::rig::{Rig, frame, series};

const DETECTOR: &[u8] = include_bytes!("golden/0.1.0/detector.wasm");
const RESUMABLE: &[u8] = include_bytes!("golden/0.1.0/detector-resumable.wasm");
const HEALER: &[u8] = include_bytes!("golden/0.1.0/healer.wasm");

fn plugin(rig: &Rig, component: &[u8], world: &str, config: &str) -> PluginConfig {
    PluginConfig { config: config.into(), ..rig.plugin(component, world) }
}

#[test]
fn each_version_that_is_served_has_its_components() {
    assert_eq!(API_VERSIONS, ["0.1.0"], "a new version wants a folder in golden/ and its tests");
}

#[test]
fn a_detector_of_0_1_0_reports() {
    let mut rig = Rig::new();
    let config = plugin(&rig, DETECTOR, "detector", r#"{"target":"workload:a"}"#);
    let host = rig.host();
    let loaded = host.load(&config, 0).unwrap();
    let events = rig.events.clone();
    let detector = host.start_detector(&loaded, rig.checkpoints.clone(), events).unwrap();
    rig.hear_ready();
    detector.bind(series());
    detector.observe(frame(7, 1.0, f64::NAN)).unwrap();
    let report = rig.hear_report();
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.kind.as_str(), &finding.target), ("echo", &TargetId::workload("a")));
    assert_eq!(finding.evidence, [("seq".to_owned(), Value::Int(7))]);
}

#[test]
fn a_resumable_detector_of_0_1_0_goes_on_from_its_checkpoint() {
    let mut rig = Rig::new();
    // It counts across its lives; after three frames its checkpoint is one that
    // the next life cannot live with.
    let settings = r#"{"how":"poison","after":3,"finding":"workload:a"}"#;
    let config = plugin(&rig, RESUMABLE, "detector-resumable", settings);
    let host = rig.host();
    let loaded = host.load(&config, 0).unwrap();
    for seq in 1..=5 {
        let events = rig.events.clone();
        let detector = host.start_detector(&loaded, rig.checkpoints.clone(), events).unwrap();
        rig.hear_ready();
        detector.bind(series());
        detector.observe(frame(seq, 1.0, 1.0)).unwrap();
        match seq {
            ..=3 => assert_eq!(rig.hear_report().findings.len(), 1, "frame {seq}"),
            4 => drop(rig.hear_report()),
            _ => {
                let (why, _) = rig.hear_fault();
                assert!(why.contains("poisoned"), "it counted across its lives: {why}");
            }
        }
        detector.stop();
    }
}

#[test]
fn a_healer_of_0_1_0_decides() {
    let mut rig = Rig::new();
    let config = plugin(&rig, HEALER, "healer", r#"{"how":"insist","action":"workload.restart"}"#);
    let host = rig.host();
    let loaded = host.load(&config, 0).unwrap();
    let healer = host.start_healer(&loaded, rig.events.clone()).unwrap();
    rig.hear_ready();
    let now = Instant { age_ms: 5_000, boot: 1, unix_ms: Some(1) };
    let brief = Brief {
        id: IncidentId(7),
        signature: "process.gone@workload:a".into(),
        now,
        seed: 1,
        opened: now,
        root: TargetId::workload("a"),
        findings: vec![],
        graph: vec![],
        remedies: vec![],
        attempts: vec![],
        facts: vec![],
    };
    healer.decide(brief).unwrap();
    let Ok(Decision::Act(proposal)) = rig.hear_decision() else { panic!("wanted a proposal") };
    assert_eq!(proposal.action, "workload.restart");
    assert_eq!(proposal.target, TargetId::workload("a"));
}
