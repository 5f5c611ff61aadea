//! The life of a detector's thread.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::super::answer::Known;
use super::super::engine::Engine;
use super::super::fault::Fault;
use super::super::mailbox::{Closed, Mailbox, Next, Slept};
use super::super::sandbox::Plugin;
use super::super::supervision::{Began, Checkpoint, Policy, Supervision, Then};
use super::super::{CheckpointStore, Events, PluginEvent, panic_text};
use super::live::{Live, Pre};
use crate::clock::boottime_ms;
use crate::config::PluginConfig;
use crate::model::{AfterFault, Frame};

pub(super) struct Life {
    engine: Arc<Engine>,
    pre: Pre,
    plugin: Arc<Plugin>,
    config: String,
    mailbox: Arc<Mailbox<Frame>>,
    events: Events,
    supervision: Supervision,
    known: Known,
    saves: Saves,
}

/// What is saved, where, and when next: counted in the frames' own time.
struct Saves {
    store: Arc<dyn CheckpointStore>,
    every_ms: u64,
    due_age_ms: Option<u64>,
    /// Observed since the last save.
    unsaved: bool,
    /// Keys of the findings of the last report.
    told: BTreeSet<String>,
    /// What is stored made it fail, and could not be removed.
    distrusted: bool,
}

/// Nobody listens any more, or the handle said so: not a fault.
struct Stopped;

impl Life {
    pub(super) fn new(
        engine: &Arc<Engine>,
        pre: &Pre,
        config: &PluginConfig,
        plugin: &Arc<Plugin>,
        mailbox: &Arc<Mailbox<Frame>>,
        store: Arc<dyn CheckpointStore>,
        events: Events,
    ) -> Self {
        Self {
            engine: engine.clone(),
            pre: pre.clone(),
            plugin: plugin.clone(),
            config: config.config.clone(),
            mailbox: mailbox.clone(),
            events,
            supervision: Supervision::new(Policy::of(config)),
            known: Known::new(config),
            saves: Saves {
                store,
                every_ms: config.checkpoint_ms,
                due_age_ms: None,
                unsaved: false,
                told: BTreeSet::new(),
                distrusted: false,
            },
        }
    }

    pub(super) fn live(mut self) {
        let lived = catch_unwind(AssertUnwindSafe(|| self.instances()));
        if let Err(panic) = lived {
            // A bug of ours: the plugin is not to blame, but without a thread
            // it is as good as quarantined.
            self.mailbox.close(Closed::Quarantined);
            let why = Fault::Panicked { why: panic_text(&*panic) };
            let _ = self.emit_fault(why, AfterFault::Quarantined);
        }
    }

    /// One instance after the other, as supervision has it.
    fn instances(&mut self) {
        let mut state = self.stored();
        loop {
            let fault = match self.instance(state.take()) {
                Ok(Stopped) => return,
                // An interrupted call looks like an overrun.
                Err(_) if self.mailbox.stopped() => return,
                Err(fault) => fault,
            };
            self.plugin.count_fault();
            let (then, checkpoint) = self.supervision.faulted(boottime_ms());
            if checkpoint == Checkpoint::Clear {
                self.saves.clear(&self.plugin.name);
            }
            state = self.stored();
            let (after, closed) = match then {
                Then::Restart => {
                    (AfterFault::Restarted { from_checkpoint: state.is_some() }, Closed::NotReady)
                }
                Then::Backoff { ms } => (AfterFault::Backoff { ms }, Closed::NotReady),
                Then::Quarantine => (AfterFault::Quarantined, Closed::Quarantined),
            };
            self.mailbox.close(closed);
            if self.emit_fault(fault, after).is_err() || then == Then::Quarantine {
                return;
            }
            if let Then::Backoff { ms } = then
                && self.mailbox.sleep(Duration::from_millis(ms)) == Slept::Stopped
            {
                return;
            }
        }
    }

    /// The life of one instance.
    fn instance(&mut self, state: Option<Vec<u8>>) -> Result<Stopped, Fault> {
        let (mut live, selectors) = self.begin(state)?;
        self.mailbox.open();
        let plugin = self.plugin.name.clone();
        if self.emit(PluginEvent::Ready { plugin, selectors }).is_err() {
            return Ok(Stopped);
        }
        loop {
            match self.mailbox.next() {
                Next::Stop => {
                    self.save_at_last(live);
                    return Ok(Stopped);
                }
                Next::Bind(series) => live.bind(series, &mut self.known)?,
                Next::Job(frame) => {
                    if self.observe(&mut live, frame)?.is_err() {
                        self.save_at_last(live);
                        return Ok(Stopped);
                    }
                }
            }
        }
    }

    /// A configured instance, from `state` where that is given.
    fn begin(&mut self, state: Option<Vec<u8>>) -> Result<(Live, Vec<String>), Fault> {
        self.supervision.began(match state {
            Some(_) => Began::Restored,
            None => Began::Empty,
        });
        let mut live = Live::open(&self.engine, &self.pre, &self.plugin)?;
        let selectors = live.configure(&self.config)?;
        let Some(state) = state else { return Ok((live, selectors)) };
        match live.restore(&state)? {
            Ok(()) => Ok((live, selectors)),
            Err(why) => {
                let plugin = &self.plugin.name;
                tracing::warn!(plugin, "it cannot use its checkpoint and starts without: {why}");
                self.saves.clear(plugin);
                // What it read of it may be half in place.
                drop(live);
                self.begin(None)
            }
        }
    }

    fn observe(&mut self, live: &mut Live, frame: Frame) -> Result<Result<(), Stopped>, Fault> {
        let (seq, now_age_ms) = (frame.seq, frame.now.age_ms);
        let report = live.observe(frame, &mut self.known)?;
        self.supervision.answered();
        self.plugin.count_call();
        self.saves.unsaved = true;
        // Evidence that is an edge comes once: what is told is kept before it is
        // told, or whoever follows this instance would take it back.
        let told: BTreeSet<String> = report.findings.iter().map(|it| it.key.clone()).collect();
        if self.pre.is_resumable() && self.saves.told != told {
            self.saves.told = told;
            self.save(live)?;
        }
        // Free first, so that whoever hears of the report finds it so.
        self.mailbox.done();
        let plugin = self.plugin.name.clone();
        if self.emit(PluginEvent::Report { plugin, seq, report }).is_err() {
            return Ok(Err(Stopped));
        }
        if self.pre.is_resumable() && self.saves.is_due(now_age_ms) {
            self.save(live)?;
        }
        Ok(Ok(()))
    }

    fn save(&mut self, live: &mut Live) -> Result<(), Fault> {
        if let Some(state) = live.save()? {
            self.saves.put(&self.plugin.name, &state);
        }
        Ok(())
    }

    /// What it learnt since the last save, on the way out. A fault has no
    /// consequence any more.
    fn save_at_last(&mut self, mut live: Live) {
        if !self.pre.is_resumable() || !self.saves.unsaved {
            return;
        }
        if let Err(fault) = self.save(&mut live) {
            tracing::warn!(plugin = self.plugin.name, "no last checkpoint: {fault}");
        }
    }

    fn stored(&self) -> Option<Vec<u8>> {
        let wanted = self.pre.is_resumable() && !self.saves.distrusted;
        wanted.then(|| self.saves.store.load(&self.plugin.name)).flatten()
    }

    fn emit_fault(&self, fault: Fault, then: AfterFault) -> Result<(), Stopped> {
        let plugin = self.plugin.name.clone();
        tracing::warn!(plugin, ?then, "{fault}");
        self.emit(PluginEvent::Faulted { plugin, why: fault.to_string(), then })
    }

    fn emit(&self, event: PluginEvent) -> Result<(), Stopped> {
        self.events.say(event).map_err(|_| Stopped)
    }
}

impl Saves {
    /// The first frame only starts the count.
    fn is_due(&mut self, now_age_ms: u64) -> bool {
        let next = now_age_ms.saturating_add(self.every_ms);
        match self.due_age_ms {
            Some(due) if now_age_ms < due => false,
            Some(_) => {
                self.due_age_ms = Some(next);
                true
            }
            None => {
                self.due_age_ms = Some(next);
                false
            }
        }
    }

    fn put(&mut self, plugin: &str, state: &[u8]) {
        match self.store.save(plugin, state) {
            Ok(()) => {
                self.unsaved = false;
                self.distrusted = false;
            }
            Err(why) => tracing::warn!(plugin, "its checkpoint was not stored: {why}"),
        }
    }

    fn clear(&mut self, plugin: &str) {
        if let Err(why) = self.store.clear(plugin) {
            self.distrusted = true;
            tracing::warn!(plugin, "its bad checkpoint stays, and is not used: {why}");
        }
    }
}
