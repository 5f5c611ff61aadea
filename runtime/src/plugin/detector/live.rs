//! One instance of a detector, call by call.

use std::sync::Arc;

use wasmtime::component::InstancePre;

use super::super::answer::{self, Known};
use super::super::bindings::{checkpoint, detect};
use super::super::engine::Engine;
use super::super::fault::Fault;
use super::super::package::World;
use super::super::question;
use super::super::sandbox::{Guest, Plugin, Sandbox};
use crate::model::{Frame, Report, Series};

/// A component that is ready to become an instance.
#[derive(Clone)]
pub(in super::super) struct Pre {
    instance: InstancePre<Guest>,
    detect: detect::GuestIndices,
    /// Only in world `detector-resumable`.
    checkpoint: Option<checkpoint::GuestIndices>,
}

impl Pre {
    /// Fails where an export is missing; whether its type is right is seen
    /// only in an instance.
    pub(in super::super) fn new(
        instance: InstancePre<Guest>,
        world: World,
    ) -> wasmtime::Result<Self> {
        let detect = detect::GuestIndices::new(&instance)?;
        let checkpoint = match world {
            World::DetectorResumable => Some(checkpoint::GuestIndices::new(&instance)?),
            World::Detector | World::Healer => None,
        };
        Ok(Self { instance, detect, checkpoint })
    }

    pub(super) fn is_resumable(&self) -> bool {
        self.checkpoint.is_some()
    }
}

/// One instance. After a [`Fault`] it is of no more use: drop it.
pub(in super::super) struct Live {
    sandbox: Sandbox,
    detect: detect::Guest,
    checkpoint: Option<checkpoint::Guest>,
}

impl Live {
    pub(in super::super) fn open(
        engine: &Arc<Engine>,
        pre: &Pre,
        plugin: &Arc<Plugin>,
    ) -> Result<Self, Fault> {
        let mut sandbox = Sandbox::new(engine, plugin);
        let (detect, checkpoint) = sandbox.call("instantiation", |store| {
            let instance = pre.instance.instantiate(&mut *store)?;
            let detect = pre.detect.load(&mut *store, &instance)?;
            let checkpoint = pre.checkpoint.as_ref();
            let checkpoint =
                checkpoint.map(|indices| indices.load(&mut *store, &instance)).transpose()?;
            Ok((detect, checkpoint))
        })?;
        Ok(Self { sandbox, detect, checkpoint })
    }

    /// Returns the selectors of the series that it wants.
    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    pub(super) fn configure(&mut self, config: &str) -> Result<Vec<String>, Fault> {
        let Self { sandbox, detect, .. } = self;
        sandbox
            .call("configure", |store| detect.call_configure(store, config))?
            .map_err(|error| answer::refusal("be configured", error))
            .and_then(answer::selectors)
    }

    pub(super) fn bind(&mut self, series: Vec<Series>, known: &mut Known) -> Result<(), Fault> {
        known.bound(&series);
        let series = question::series(series);
        let Self { sandbox, detect, .. } = self;
        sandbox
            .call("bind", |store| detect.call_bind(store, &series))?
            .map_err(|error| answer::refusal("be bound", error))
    }

    pub(super) fn observe(&mut self, frame: Frame, known: &mut Known) -> Result<Report, Fault> {
        known.seen(&frame);
        let frame = question::frame(frame);
        let Self { sandbox, detect, .. } = self;
        let report = sandbox.call("observe", |store| detect.call_observe(store, &frame))?;
        answer::report(report, known)
    }

    /// Its state, where it has any to give.
    pub(super) fn save(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let Self { sandbox, checkpoint, .. } = self;
        let Some(checkpoint) = checkpoint else { return Ok(None) };
        let state = sandbox.call("save", |store| checkpoint.call_save(store))?;
        answer::checkpoint(state).map(Some)
    }

    /// The inner error is the plugin's own word that it cannot use this state.
    pub(super) fn restore(&mut self, state: &[u8]) -> Result<Result<(), String>, Fault> {
        let Self { sandbox, checkpoint, .. } = self;
        let Some(checkpoint) = checkpoint else { return Ok(Ok(())) };
        sandbox.call("restore", |store| checkpoint.call_restore(store, state))
    }
}
