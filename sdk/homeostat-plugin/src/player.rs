//! A component in the real engine, as the subject of a recording.
//!
//! Invariant: it goes the daemon's own way (verify, compile, self-test, thread,
//! mailbox, checkpoint), so what replays here runs there.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use homeostat::config::{Paths, PluginConfig, TrustConfig};
use homeostat::model;
use homeostat::plugin::package::Package;
use homeostat::plugin::{
    CheckpointStore, Events, Host, Loaded, PluginEvent, Running, Said, Session,
};
use homeostat_sdk::recording::Subject;
use homeostat_sdk::{Decision, Incident, Pause, Proposal, RawFrame, Report, Series};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// Generous, so that a busy machine of an author is no fault of the plugin.
const DEADLINE_MS: u32 = 10_000;
const EVENTS_MAX: usize = 16;

/// Plays recordings to one plugin file, each to a fresh start of it.
pub struct Stage {
    host: Host,
    config: PluginConfig,
    package: Package,
    loaded: OnceCell<Loaded>,
    /// A host that counts, and the component made for it.
    metered: OnceCell<(Host, Loaded)>,
    paths: Paths,
    // Dropped last: the host's cache lies in it.
    _state: tempfile::TempDir,
}

impl Stage {
    /// `programs` is the folder with `homeostat-compile`.
    pub fn new(package: Package, programs: &Path) -> Result<Self> {
        let state = tempfile::tempdir().context("a folder for the engine's cache")?;
        let paths = Paths {
            state: state.path().join("state"),
            run: state.path().join("run"),
            programs: programs.to_owned(),
        };
        let nobody = TrustConfig { publishers: Vec::new() };
        let host = Host::new(&paths, &nobody, 1)?;
        let metered = OnceCell::new();
        let manifest = package.manifest();
        let config = PluginConfig {
            name: manifest.name.clone(),
            package: PathBuf::new(),
            digest: package.digest().to_owned(),
            grants: manifest.actions.iter().cloned().collect(),
            config: String::new(),
            targets: vec!["*".into()],
            judges: Default::default(),
            period_ms: 1_000,
            deadline_ms: DEADLINE_MS,
            memory_max_bytes: manifest.limits.memory_bytes,
            // Only when told to: at the end of an instance.
            checkpoint_ms: u64::from(u32::MAX),
            backoff_ms: 1_000,
            quarantine_faults: 1,
            quarantine_window_ms: 1_000,
        };
        let loaded = OnceCell::new();
        Ok(Self { host, paths, config, package, loaded, metered, _state: state })
    }

    /// A configured instance for a caller that waits for each answer.
    pub fn session(&self, config: &str) -> Result<Timed> {
        let loaded = match self.loaded.get() {
            Some(loaded) => loaded,
            None => {
                let loaded = self.host.prepare(&self.config, &self.package)?;
                self.loaded.get_or_init(|| loaded)
            }
        };
        let mut session = self.host.open_detector(loaded)?;
        session.configure(config)?;
        Ok(Timed { session })
    }

    /// The same, where what it executes is counted.
    pub fn metered_session(&self, config: &str) -> Result<Timed> {
        let (host, loaded) = match self.metered.get() {
            Some(metered) => metered,
            None => {
                let host = Host::metered(&self.paths, &TrustConfig { publishers: Vec::new() })?;
                let loaded = host.prepare(&self.config, &self.package)?;
                self.metered.get_or_init(|| (host, loaded))
            }
        };
        let mut session = host.open_detector(loaded)?;
        session.configure(config)?;
        Ok(Timed { session })
    }

    /// A plugin that is not started yet.
    pub fn subject(&self) -> Player<'_> {
        Player {
            stage: self,
            running: None,
            loaded: None,
            events: None,
            checkpoints: Arc::default(),
        }
    }
}

/// An instance whose calls are measured.
pub struct Timed {
    session: Session,
}

impl Timed {
    pub fn bind(&mut self, series: &[Series]) -> Result<()> {
        self.session.bind(translated(series).map_err(anyhow::Error::msg)?)?;
        Ok(())
    }

    /// As the runtime has it: not part of what is measured.
    pub fn frame(&self, frame: &RawFrame) -> Result<model::Frame> {
        model_frame(frame).map_err(anyhow::Error::msg)
    }

    pub fn observe(&mut self, frame: model::Frame) -> Result<()> {
        self.session.observe(frame)?;
        Ok(())
    }

    pub fn fuel_used(&self) -> Option<u64> {
        self.session.fuel_used()
    }

    pub fn memory_bytes(&self) -> usize {
        self.session.memory_bytes()
    }
}

fn model_frame(frame: &RawFrame) -> Result<model::Frame, String> {
    Ok(model::Frame {
        seq: frame.seq,
        lost: frame.lost,
        now: translated(&frame.now)?,
        rows: frame.rows.clone(),
        values: frame.values.clone(),
        lines: translated(&frame.lines)?,
        marks: translated(&frame.marks)?,
    })
}

pub struct Player<'a> {
    stage: &'a Stage,
    running: Option<Running>,
    loaded: Option<Loaded>,
    events: Option<mpsc::Receiver<Said>>,
    checkpoints: Arc<Checkpoints>,
}

/// The store's part, in memory.
#[derive(Default)]
struct Checkpoints {
    states: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl CheckpointStore for Checkpoints {
    fn load(&self, plugin: &str) -> Option<Vec<u8>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).get(plugin).cloned()
    }

    fn save(&self, plugin: &str, state: &[u8]) -> Result<(), String> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.insert(plugin.to_owned(), state.to_vec());
        Ok(())
    }

    fn clear(&self, plugin: &str) -> Result<(), String> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(plugin);
        Ok(())
    }
}

impl Player<'_> {
    /// Gives what it says that it reads.
    fn start(&mut self) -> Result<Vec<String>, String> {
        let loaded = self.loaded.as_ref().ok_or("it was not configured")?;
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let events = Events::new(sender, 1);
        let running = self.stage.host.start(loaded, self.checkpoints.clone(), events);
        self.running = Some(running.map_err(|error| error.to_string())?);
        self.events = Some(receiver);
        match self.hear()? {
            PluginEvent::Ready { selectors, .. } => {
                self.check_reads(&selectors)?;
                Ok(selectors)
            }
            other => Err(format!("wanted it to be ready, heard {other:?}")),
        }
    }

    /// What it asks for must be what it was signed for.
    fn check_reads(&self, selectors: &[String]) -> Result<(), String> {
        let reads = &self.stage.package.manifest().reads;
        let covered = |it: &String| reads.iter().any(|read| read == it || model::selects(read, it));
        match selectors.iter().find(|it| !covered(it)) {
            Some(foreign) => Err(format!(
                "it asks for the series {foreign:?}, and `reads` of plugin.toml has {reads:?}"
            )),
            None => Ok(()),
        }
    }

    fn hear(&mut self) -> Result<PluginEvent, String> {
        let events = self.events.as_mut().ok_or("it was not started")?;
        match events.blocking_recv().map(|said| said.event) {
            Some(PluginEvent::Faulted { why, .. }) => Err(why),
            Some(event) => Ok(event),
            None => Err("its thread ended without a word".into()),
        }
    }

    fn detector(&self) -> Result<&homeostat::plugin::Detector, String> {
        match &self.running {
            Some(Running::Detector(detector)) => Ok(detector),
            Some(Running::Healer(_)) => Err("a healer observes nothing".into()),
            None => Err("it was not started".into()),
        }
    }
}

impl Subject for Player<'_> {
    fn configure(&mut self, config: &str) -> Result<Vec<String>, String> {
        let Stage { host, package, config: template, .. } = self.stage;
        let config = PluginConfig { config: config.to_owned(), ..template.clone() };
        self.loaded = Some(host.prepare(&config, package).map_err(|error| error.to_string())?);
        self.start()
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), String> {
        self.detector()?.bind(translated(series)?);
        Ok(())
    }

    fn observe(&mut self, frame: &RawFrame) -> Result<Report, String> {
        self.detector()?.observe(model_frame(frame)?).map_err(|error| error.to_string())?;
        match self.hear()? {
            PluginEvent::Report { report, .. } => translated(&report),
            other => Err(format!("wanted a report, heard {other:?}")),
        }
    }

    fn resume(&mut self, series: &[Series]) -> Result<(), String> {
        match self.running.take() {
            // Waits for its last checkpoint.
            Some(Running::Detector(detector)) => detector.stop(),
            _ => return Err("only a running detector resumes".into()),
        }
        if self.checkpoints.load(&self.stage.config.name).is_none() {
            return Err("it left no checkpoint to resume from".into());
        }
        self.start()?;
        self.bind(series)
    }

    fn decide(&mut self, incident: &Incident) -> Result<Decision, String> {
        let brief = brief(incident)?;
        let Some(Running::Healer(healer)) = &self.running else {
            return Err("a detector decides nothing".into());
        };
        healer.decide(brief).map_err(|error| error.to_string())?;
        let decision = match self.hear()? {
            PluginEvent::Decision { result, .. } => result?,
            other => return Err(format!("wanted a decision, heard {other:?}")),
        };
        let actions = &self.stage.package.manifest().actions;
        match sdk_decision(decision)? {
            Decision::Act(it) if !actions.contains(&it.action) => Err(format!(
                "it proposes {}, and `actions` of plugin.toml has {actions:?}",
                it.action
            )),
            decision => Ok(decision),
        }
    }
}

/// Both sides have the contract's names, so JSON carries the one to the other.
fn translated<A: Serialize + ?Sized, B: DeserializeOwned>(it: &A) -> Result<B, String> {
    let value = serde_json::to_value(it).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// The runtime knows an incident by its number, and an attempt by an id that
/// no plugin is shown.
fn brief(incident: &Incident) -> Result<model::Brief, String> {
    let mut value = serde_json::to_value(incident).map_err(|error| error.to_string())?;
    let id: model::IncidentId =
        incident.id.parse().map_err(|_| format!("incident id {:?} is no i42", incident.id))?;
    value["id"] = id.0.into();
    for attempt in value["attempts"].as_array_mut().into_iter().flatten() {
        attempt["id"] = serde_json::Value::Null;
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn sdk_decision(decision: model::Decision) -> Result<Decision, String> {
    Ok(match decision {
        model::Decision::Act(proposal) => Decision::Act(translated::<_, Proposal>(&proposal)?),
        model::Decision::Wait { ms, why } => Decision::Wait(Pause { ms, why }),
        model::Decision::Decline { why } => Decision::Decline(why),
        model::Decision::GiveUp { why } => Decision::GiveUp(why),
    })
}
