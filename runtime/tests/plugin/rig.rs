//! A box in a folder: state, programs, plugin files, and ears.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use homeostat::config::{Paths, PluginConfig, PublisherKey, TrustConfig};
use homeostat::model::{AfterFault, Decision, Frame, Instant, Report, Series, TargetId};
use homeostat::plugin::package::{Blob, Limits, MANIFEST_SPEC, Manifest, Package};
use homeostat::plugin::{CheckpointStore, Events, Host, PluginEvent, Said};
use homeostat::trust::sha256_hex;
use tokio::sync::mpsc;

/// No event takes this long, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Rig {
    pub dir: tempfile::TempDir,
    pub checkpoints: Arc<Checkpoints>,
    pub events: Events,
    /// For runs of their own.
    pub mouth: mpsc::Sender<Said>,
    ears: mpsc::Receiver<Said>,
    kept: VecDeque<PluginEvent>,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    pub fn new() -> Self {
        let (mouth, ears) = mpsc::channel(64);
        Self {
            dir: tempfile::tempdir().unwrap(),
            checkpoints: Arc::default(),
            events: Events::new(mouth.clone(), 1),
            mouth,
            ears,
            kept: VecDeque::new(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        }
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn host(&self) -> Host {
        self.host_with(Path::new(env!("CARGO_BIN_EXE_homeostat-compile")).parent().unwrap())
    }

    pub fn host_with(&self, programs: &Path) -> Host {
        let paths = Paths {
            state: self.state(),
            run: self.dir.path().join("run"),
            programs: programs.to_owned(),
        };
        let key = PublisherKey { name: "acme".into(), key: key().verifying_key().to_bytes() };
        Host::new(&paths, &TrustConfig { publishers: vec![key] }, 2).unwrap()
    }

    /// Signs a component and writes what the box's file would say of it.
    pub fn plugin(&self, component: &[u8], world: &str) -> PluginConfig {
        let bytes = Package::write(manifest(world), component, &BTreeMap::new(), &key()).unwrap();
        self.file(&bytes, component)
    }

    pub fn file(&self, package: &[u8], component: &[u8]) -> PluginConfig {
        let path = self.dir.path().join("test.plugin");
        std::fs::write(&path, package).unwrap();
        PluginConfig {
            name: "test".into(),
            package: path,
            digest: sha256_hex(component),
            grants: Default::default(),
            config: String::new(),
            targets: vec!["workload:*".into()],
            judges: Default::default(),
            period_ms: 1_000,
            deadline_ms: 5_000,
            memory_max_bytes: 4 << 20,
            checkpoint_ms: 1_000,
            backoff_ms: 1,
            quarantine_faults: 100,
            quarantine_window_ms: 3_600_000,
        }
    }

    /// The next event, whatever it is.
    pub fn hear(&mut self) -> PluginEvent {
        self.hear_said().event
    }

    /// The next that any run says.
    pub fn hear_said(&mut self) -> Said {
        let next = async { tokio::time::timeout(PATIENCE, self.ears.recv()).await };
        let said = self.runtime.block_on(next).expect("an event comes in time");
        said.expect("somebody speaks")
    }

    /// For who comes to look for it.
    pub fn keep(&mut self, event: PluginEvent) {
        self.kept.push_back(event);
    }

    /// What was kept, oldest first.
    pub fn hear_of_hostile(&mut self) -> Option<PluginEvent> {
        self.kept.pop_front()
    }

    pub fn hear_ready(&mut self) {
        match self.hear() {
            PluginEvent::Ready { .. } => {}
            other => panic!("wanted Ready, heard {other:?}"),
        }
    }

    pub fn hear_report(&mut self) -> Report {
        match self.hear() {
            PluginEvent::Report { report, .. } => report,
            other => panic!("wanted a Report, heard {other:?}"),
        }
    }

    pub fn hear_fault(&mut self) -> (String, AfterFault) {
        match self.hear() {
            PluginEvent::Faulted { why, then, .. } => (why, then),
            other => panic!("wanted Faulted, heard {other:?}"),
        }
    }

    pub fn hear_decision(&mut self) -> Result<Decision, String> {
        match self.hear() {
            PluginEvent::Decision { result, .. } => result,
            other => panic!("wanted a Decision, heard {other:?}"),
        }
    }

    /// As when the driver has ended.
    pub fn deafen(&mut self) {
        self.ears.close();
    }

    /// Nothing more is said: every sender but ours is gone.
    pub fn hear_silence(&mut self) {
        assert_eq!(self.ears.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }
}

pub fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn manifest(world: &str) -> Manifest {
    Manifest {
        spec: MANIFEST_SPEC,
        name: "test".into(),
        version: "1.0.0".into(),
        sequence: 3,
        publisher: "acme".into(),
        world: world.into(),
        api: "0.1.0".into(),
        min_runtime: "0.1.0".into(),
        component: Blob::default(),
        reads: vec![],
        actions: vec![],
        explains: BTreeMap::new(),
        limits: Limits { memory_bytes: 1 << 20 },
        config_schema: None,
        golden: vec![],
    }
}

/// Two series of one workload.
pub fn series() -> Vec<Series> {
    let one = |name: &str| Series {
        name: name.into(),
        unit: "1".into(),
        target: TargetId::workload("a"),
        period_ms: 1_000,
        labels: vec![],
    };
    vec![one("order"), one("count")]
}

/// A frame of one row.
pub fn frame(seq: u64, order: f64, count: f64) -> Frame {
    let now = Instant { age_ms: seq * 1_000, boot: 1, unix_ms: None };
    Frame { seq, now, rows: vec![now.age_ms], values: vec![order, count], ..Frame::default() }
}

/// The store's part, in memory.
#[derive(Default)]
pub struct Checkpoints {
    states: Mutex<BTreeMap<String, Vec<u8>>>,
    broken: AtomicBool,
}

impl Checkpoints {
    pub fn put(&self, state: &[u8]) {
        self.states.lock().unwrap().insert("test".into(), state.to_vec());
    }

    /// From now on it panics when asked.
    pub fn break_down(&self) {
        self.broken.store(true, Relaxed);
    }

    pub fn stored(&self) -> Option<Vec<u8>> {
        self.states.lock().unwrap().get("test").cloned()
    }
}

impl CheckpointStore for Checkpoints {
    fn load(&self, plugin: &str) -> Option<Vec<u8>> {
        assert!(!self.broken.load(Relaxed), "the store is broken");
        self.states.lock().unwrap().get(plugin).cloned()
    }

    fn save(&self, plugin: &str, state: &[u8]) -> Result<(), String> {
        self.states.lock().unwrap().insert(plugin.into(), state.to_vec());
        Ok(())
    }

    fn clear(&self, plugin: &str) -> Result<(), String> {
        self.states.lock().unwrap().remove(plugin);
        Ok(())
    }
}
