//! The hostile set: what a plugin may try once it runs, each attempt beside a
//! neighbour that goes on. What is refused before it runs is in `load.rs`,
//! `runtime/src/plugin/package/tests.rs` and the stories `package_refused`,
//! `install` and `trust`.

use std::collections::BTreeMap;

use homeostat::config::PluginConfig;
use homeostat::model::AfterFault;
use homeostat::plugin::package::Package;
use homeostat::plugin::{Cause, Detector, Events, Host, PluginEvent};

use crate::guest;
use crate::rig::{Rig, frame, key, manifest, series};

const HOSTILE: u64 = 1;
const NEIGHBOUR: u64 = 2;

/// What it is told to do, and what the host is to say of it.
struct Attempt {
    name: &'static str,
    config: &'static str,
    order: f64,
    count: f64,
    says: &'static [&'static str],
}

const fn attempt(name: &'static str, order: f64, says: &'static [&'static str]) -> Attempt {
    Attempt { name, config: "", order, count: 0.0, says }
}

const ATTEMPTS: &[Attempt] = &[
    attempt("an endless loop", 3.0, &["deadline"]),
    attempt("recursion without end", 15.0, &["stack"]),
    attempt("a memory bomb", 4.0, &["memory"]),
    attempt("a table bomb", 16.0, &["unreachable", "table"]),
    Attempt { count: 1_000_000.0, ..attempt("a million findings", 5.0, &["findings", "memory"]) },
    attempt("a message that claims to be a gigabyte", 17.0, &["out of bounds", "string"]),
    attempt("a message of 100 kB", 10.0, &["message"]),
    attempt("a message that is no text", 12.0, &["utf-8"]),
    attempt("a finding about a stranger's target", 7.0, &["target"]),
    attempt("a trap in observe", 2.0, &["unreachable"]),
    attempt("a checkpoint too large", 11.0, &["checkpoint", "300000"]),
    attempt("a trap in save", 18.0, &["unreachable"]),
    Attempt { config: "trap", ..attempt("a trap in configure", 0.0, &["unreachable"]) },
    Attempt { config: "bind", ..attempt("a trap in bind", 0.0, &["unreachable"]) },
];

struct Two {
    rig: Rig,
    host: Host,
    neighbour: Detector,
    seq: u64,
}

impl Two {
    /// The neighbour is bound and has answered.
    fn new() -> Self {
        let mut rig = Rig::new();
        let host = rig.host();
        let config =
            PluginConfig { deadline_ms: 200, ..rig.plugin(&guest::detector(), "detector") };
        let loaded = host.load(&config, 0).unwrap();
        let events = Events::new(rig.mouth.clone(), NEIGHBOUR);
        let neighbour = host.start_detector(&loaded, rig.checkpoints.clone(), events).unwrap();
        rig.hear_ready();
        neighbour.bind(series());
        let mut two = Self { rig, host, neighbour, seq: 0 };
        two.neighbour_answers();
        two
    }

    fn start(&mut self, config: &'static str) -> Detector {
        let plugin = self.rig.plugin(&guest::resumable(), "detector-resumable");
        let plugin = PluginConfig {
            config: config.into(),
            deadline_ms: 100,
            targets: vec!["workload:a".into()],
            // Saved after each frame.
            checkpoint_ms: 0,
            quarantine_faults: 1,
            ..plugin
        };
        let loaded = self.host.load(&plugin, 0).unwrap();
        let events = Events::new(self.rig.mouth.clone(), HOSTILE);
        self.host.start_detector(&loaded, self.rig.checkpoints.clone(), events).unwrap()
    }

    /// Late by more than its deadline would be a fault of its own.
    fn neighbour_answers(&mut self) {
        self.seq += 1;
        self.neighbour.observe(frame(self.seq, 1.0, 0.0)).unwrap();
        loop {
            let said = self.rig.hear_said();
            match (said.run, said.event) {
                (NEIGHBOUR, PluginEvent::Report { seq, report, .. }) => {
                    assert_eq!((seq, report.findings.len()), (self.seq, 1));
                    return;
                }
                (NEIGHBOUR, other) => panic!("the neighbour: {other:?}"),
                // Its end is looked for by whoever waits for it.
                (_, event) => self.rig.keep(event),
            }
        }
    }

    /// Frame after frame, until the hostile one is over; the neighbour's between.
    fn until_it_is_over(&mut self, hostile: &Detector, it: &Attempt) -> String {
        let mut seq = 0;
        loop {
            match self.rig.hear_of_hostile() {
                Some(PluginEvent::Faulted { why, then, .. }) => {
                    assert_eq!(then, AfterFault::Quarantined, "{}", it.name);
                    return why;
                }
                Some(PluginEvent::Ready { .. }) => hostile.bind(series()),
                Some(_) | None => {}
            }
            seq += 1;
            // It may have no instance to take it, or be busy with the last one.
            let _ = hostile.observe(frame(seq, it.order, it.count));
            self.neighbour_answers();
        }
    }
}

#[test]
fn whatever_it_tries_is_contained_and_its_neighbour_is_on_time() {
    let mut two = Two::new();
    for it in ATTEMPTS {
        let hostile = two.start(it.config);
        let why = two.until_it_is_over(&hostile, it).to_lowercase();
        let named = it.says.iter().any(|word| why.contains(word));
        assert!(named, "{}: none of {:?} in: {why}", it.name, it.says);
        assert!(hostile.observe(frame(9_999, 0.0, 0.0)).is_err(), "{}: it is over", it.name);
        hostile.stop();
        two.neighbour_answers();
    }
    assert_eq!(two.neighbour.stats().faults, 0);
}

#[test]
fn a_component_that_would_call_home_is_refused_by_the_name_of_what_it_wants() {
    let rig = Rig::new();
    let config = rig.plugin(&guest::dials_out(), "detector");
    let error = rig.host().load(&config, 0).unwrap_err();
    assert!(error.to_string().contains("wasi:sockets/tcp"), "{error}");
}

/// Where each top-level section of a component has its middle.
fn middles(component: &[u8]) -> Vec<usize> {
    let mut middles = Vec::new();
    let mut at = 8;
    while at < component.len() {
        let (mut len, mut shift, mut next) = (0_usize, 0, at + 1);
        loop {
            let byte = component[next];
            len |= usize::from(byte & 0x7f) << shift;
            (shift, next) = (shift + 7, next + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        middles.push(next + len / 2);
        at = next + len;
    }
    middles
}

#[test]
fn a_bit_flipped_in_any_section_is_refused_and_one_that_was_signed_so_harms_nobody() {
    let rig = Rig::new();
    let host = rig.host();
    let component = guest::detector();
    let package =
        Package::write(manifest("detector"), &component, &BTreeMap::new(), &key()).unwrap();
    let begins = package.windows(component.len()).position(|it| it == component).unwrap();
    let middles = middles(&component);
    assert!(middles.len() >= 5, "a component has its sections");
    for middle in middles {
        let mut flipped = package.clone();
        flipped[begins + middle] ^= 1;
        let error = host.load(&rig.file(&flipped, &component), 0).unwrap_err();
        assert!(matches!(error.cause, Cause::Package(_)), "{error}");

        // Its publisher signed it like that: it is refused, or it is contained.
        let mut wrong = component.clone();
        wrong[middle] ^= 1;
        match host.load(&rig.plugin(&wrong, "detector"), 0) {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(loaded) => {
                let events = rig.events.clone();
                host.start_detector(&loaded, rig.checkpoints.clone(), events).unwrap().stop();
            }
        }
    }
    // The host is what it was.
    assert!(host.load(&rig.plugin(&component, "detector"), 0).is_ok());
}
