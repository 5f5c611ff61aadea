//! Golden recordings against the native type.

use std::marker::PhantomData;
use std::path::Path;

use super::session;
use crate::detector::{Detector, Instance, Resumable};
use crate::frame::RawFrame;
use crate::heal::{Decision, Incident};
use crate::healer::Healer;
use crate::recording::{Recording, Subject};
use crate::types::{Report, Series};

/// Replays every `*.jsonl` of a folder, each against a fresh subject, and
/// panics with every difference. With `HOMEOSTAT_BLESS=1` in the environment it
/// writes down what came instead: read the change before you commit it.
pub fn golden<S: Subject>(dir: impl AsRef<Path>, subject: impl Fn() -> S) {
    let dir = dir.as_ref();
    let bless = std::env::var_os("HOMEOSTAT_BLESS").is_some_and(|word| word == "1");
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|it| it == "jsonl"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no recording", dir.display());
    let mut wrong = String::new();
    for path in paths {
        let name = path.display();
        let recording = Recording::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (played, differences) =
            recording.play(&mut subject()).unwrap_or_else(|error| panic!("{name}: {error}"));
        if bless {
            std::fs::write(&path, played.to_text()).expect("a blessed recording can be written");
        } else {
            wrong.extend(differences.iter().map(|it| format!("{name}: {it}\n")));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A detector as the subject of a recording.
pub fn detector<D: Detector>() -> impl Subject {
    Native::<D> { instance: Instance::empty(), config: String::new() }
}

/// A detector with a checkpoint as the subject of a recording.
pub fn resumable<D: Resumable>() -> impl Subject {
    NativeResumable(Native::<D> { instance: Instance::empty(), config: String::new() })
}

/// A healer as the subject of a recording.
pub fn healer<H: Healer>() -> impl Subject {
    NativeHealer::<H> { config: String::new(), healer: PhantomData }
}

struct Native<D> {
    instance: Instance<D>,
    config: String,
}

impl<D: Detector> Subject for Native<D> {
    fn configure(&mut self, config: &str) -> Result<Vec<String>, String> {
        config.clone_into(&mut self.config);
        self.instance.configure(config).map_err(|error| error.to_string())
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), String> {
        self.instance.bind(series.to_vec()).map_err(|error| error.to_string())
    }

    fn observe(&mut self, frame: &RawFrame) -> Result<Report, String> {
        Ok(self.instance.observe(frame))
    }

    fn resume(&mut self, _: &[Series]) -> Result<(), String> {
        Err("this detector has no checkpoint".into())
    }

    fn decide(&mut self, _: &Incident) -> Result<Decision, String> {
        Err("a detector decides nothing".into())
    }
}

struct NativeResumable<D>(Native<D>);

impl<D: Resumable> Subject for NativeResumable<D> {
    fn configure(&mut self, config: &str) -> Result<Vec<String>, String> {
        self.0.configure(config)
    }

    fn bind(&mut self, series: &[Series]) -> Result<(), String> {
        self.0.bind(series)
    }

    fn observe(&mut self, frame: &RawFrame) -> Result<Report, String> {
        self.0.observe(frame)
    }

    fn resume(&mut self, series: &[Series]) -> Result<(), String> {
        let mut fresh = Instance::empty();
        let config = serde_json::from_str(&self.0.config).unwrap_or_default();
        session::resume(&mut fresh, &self.0.instance, &config, series)?;
        self.0.instance = fresh;
        Ok(())
    }

    fn decide(&mut self, incident: &Incident) -> Result<Decision, String> {
        self.0.decide(incident)
    }
}

struct NativeHealer<H> {
    config: String,
    healer: PhantomData<H>,
}

impl<H: Healer> Subject for NativeHealer<H> {
    fn configure(&mut self, config: &str) -> Result<Vec<String>, String> {
        config.clone_into(&mut self.config);
        Ok(Vec::new())
    }

    fn bind(&mut self, _: &[Series]) -> Result<(), String> {
        Err("a healer reads no series".into())
    }

    fn observe(&mut self, _: &RawFrame) -> Result<Report, String> {
        Err("a healer observes nothing".into())
    }

    fn resume(&mut self, _: &[Series]) -> Result<(), String> {
        Err("a healer has no checkpoint".into())
    }

    fn decide(&mut self, incident: &Incident) -> Result<Decision, String> {
        crate::healer::decide::<H>(&self.config, incident).map_err(|error| error.to_string())
    }
}
