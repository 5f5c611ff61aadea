//! A healer: one thread, and a fresh instance for each decision.
//!
//! Invariant: each brief that was taken comes back as exactly one `Decision`.
//! Nothing is left in the plugin from one to the next: what is known of past
//! repairs is in the brief. A fault is answered as a failed decision, and then
//! supervised like a detector's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::InstancePre;

use super::answer;
use super::bindings::heal;
use super::detector::thread_name;
use super::engine::{Engine, THREAD_STACK_BYTES};
use super::fault::Fault;
use super::mailbox::{Busy, Closed, Mailbox, Next, Slept};
use super::question;
use super::sandbox::{Guest, Plugin, Sandbox, Stats};
use super::supervision::{Began, Policy, Supervision, Then};
use super::{Events, PluginEvent, panic_text};
use crate::clock::boottime_ms;
use crate::config::PluginConfig;
use crate::model::{AfterFault, Brief, Decision};

/// A component that is ready to become an instance.
#[derive(Clone)]
pub(super) struct Pre {
    instance: InstancePre<Guest>,
    heal: heal::GuestIndices,
}

impl Pre {
    pub(super) fn new(instance: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let heal = heal::GuestIndices::new(&instance)?;
        Ok(Self { instance, heal })
    }
}

/// An instance that is good for one decision.
pub struct Once {
    sandbox: Sandbox,
    heal: heal::Guest,
}

impl Once {
    pub(super) fn open(
        engine: &Arc<Engine>,
        pre: &Pre,
        plugin: &Arc<Plugin>,
    ) -> Result<Self, Fault> {
        let mut sandbox = Sandbox::new(engine, plugin);
        let heal = sandbox.call("instantiation", |store| {
            let instance = pre.instance.instantiate(&mut *store)?;
            pre.heal.load(&mut *store, &instance)
        })?;
        Ok(Self { sandbox, heal })
    }

    /// The inner error is the healer's own: it could not decide.
    pub fn decide(mut self, config: &str, brief: Brief) -> Result<Result<Decision, String>, Fault> {
        let incident = question::incident(brief);
        let Self { sandbox, heal } = &mut self;
        match sandbox.call("decide", |store| heal.call_decide(store, config, &incident))? {
            Ok(decision) => answer::decision(decision).map(Ok),
            Err(error) => Ok(Err(answer::refusal("decide", error).to_string())),
        }
    }
}

/// A handle on the thread. Dropping it lets the thread end by itself.
#[derive(Debug)]
pub struct Healer {
    plugin: Arc<Plugin>,
    mailbox: Arc<Mailbox<Brief>>,
    thread: Option<JoinHandle<()>>,
}

impl Healer {
    pub(super) fn start(
        engine: &Arc<Engine>,
        pre: &Pre,
        config: &PluginConfig,
        events: Events,
    ) -> std::io::Result<Self> {
        let plugin = Plugin::new(config);
        let mailbox = Arc::new(Mailbox::new());
        let life = Life {
            engine: engine.clone(),
            pre: pre.clone(),
            plugin: plugin.clone(),
            config: config.config.clone(),
            mailbox: mailbox.clone(),
            events,
            supervision: Supervision::new(Policy::of(config)),
        };
        let thread = std::thread::Builder::new()
            .name(thread_name(&config.name))
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || life.live())?;
        Ok(Self { plugin, mailbox, thread: Some(thread) })
    }

    pub fn decide(&self, brief: Brief) -> Result<(), Busy> {
        self.mailbox.put(brief, |_, _| Ok(())).map_err(|(why, _)| why)
    }

    pub fn stats(&self) -> Stats {
        self.plugin.stats()
    }

    /// Ends it and waits for the call in flight to be interrupted. Its events
    /// must still be received, or their channel be closed.
    pub fn stop(mut self) {
        self.signal();
        if let Some(thread) = self.thread.take() {
            // It catches its own panics.
            let _ = thread.join();
        }
    }

    fn signal(&self) {
        self.mailbox.stop();
        self.plugin.stop();
    }
}

impl Drop for Healer {
    fn drop(&mut self) {
        self.signal();
    }
}

struct Life {
    engine: Arc<Engine>,
    pre: Pre,
    plugin: Arc<Plugin>,
    config: String,
    mailbox: Arc<Mailbox<Brief>>,
    events: Events,
    supervision: Supervision,
}

/// Nobody listens any more, or the handle said so.
struct Stopped;

impl Life {
    fn live(mut self) {
        let lived = catch_unwind(AssertUnwindSafe(|| self.decisions()));
        if let Err(panic) = lived {
            self.mailbox.close(Closed::Quarantined);
            let why = Fault::Panicked { why: panic_text(&*panic) };
            let _ = self.emit_fault(why.to_string(), AfterFault::Quarantined);
        }
    }

    /// Returns when stopped or quarantined.
    fn decisions(&mut self) -> Option<Stopped> {
        loop {
            self.supervision.began(Began::Empty);
            self.mailbox.open();
            let plugin = self.plugin.name.clone();
            self.emit(PluginEvent::Ready { plugin, selectors: Vec::new() }).ok()?;
            let fault = self.until_fault()?;
            let ms = self.follow(fault)?;
            if self.mailbox.sleep(Duration::from_millis(ms)) == Slept::Stopped {
                return Some(Stopped);
            }
        }
    }

    /// Decides until one of them faults.
    fn until_fault(&mut self) -> Option<Fault> {
        loop {
            let brief = match self.mailbox.next() {
                Next::Job(brief) => brief,
                Next::Bind(_) => continue,
                Next::Stop => return None,
            };
            let incident = brief.id;
            let decided = Once::open(&self.engine, &self.pre, &self.plugin)
                .and_then(|once| once.decide(&self.config, brief));
            if self.mailbox.stopped() {
                return None;
            }
            let plugin = self.plugin.name.clone();
            match decided {
                Ok(result) => {
                    self.supervision.answered();
                    self.plugin.count_call();
                    self.mailbox.done();
                    self.emit(PluginEvent::Decision { plugin, incident, result }).ok()?;
                }
                Err(fault) => {
                    self.mailbox.close(Closed::NotReady);
                    let result = Err(fault.to_string());
                    self.emit(PluginEvent::Decision { plugin, incident, result }).ok()?;
                    return Some(fault);
                }
            }
        }
    }

    /// How long it pauses after a fault; none when that was the last.
    fn follow(&mut self, fault: Fault) -> Option<u64> {
        self.plugin.count_fault();
        let (then, _) = self.supervision.faulted(boottime_ms());
        let (after, pause_ms) = match then {
            Then::Restart => (AfterFault::Restarted { from_checkpoint: false }, Some(0)),
            Then::Backoff { ms } => (AfterFault::Backoff { ms }, Some(ms)),
            Then::Quarantine => {
                self.mailbox.close(Closed::Quarantined);
                (AfterFault::Quarantined, None)
            }
        };
        self.emit_fault(fault.to_string(), after).ok()?;
        pause_ms
    }

    fn emit_fault(&self, why: String, then: AfterFault) -> Result<(), Stopped> {
        let plugin = self.plugin.name.clone();
        tracing::warn!(plugin, ?then, "{why}");
        self.emit(PluginEvent::Faulted { plugin, why, then })
    }

    fn emit(&self, event: PluginEvent) -> Result<(), Stopped> {
        self.events.say(event).map_err(|_| Stopped)
    }
}
