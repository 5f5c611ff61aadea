//! The walls around one instance: memory, time, and the one thing it may call.
//!
//! Invariant: no call into a plugin is made but by [`Sandbox::call`], which
//! arms the deadline anew and keeps the epoch moving until the call is back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker};
use wasmtime::{ResourceLimiter, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use super::bindings;
use super::engine::{self, Engine};
use super::fault::{Circumstances, Fault};
use super::log::{self, Quota};
use crate::config::PluginConfig;

/// What one call may hand to the host, strings and lists together. wasmtime's
/// own default is 128 MiB per call.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const TABLE_ELEMENTS_MAX: usize = 10_000;

/// What outlives the instances of one plugin.
#[derive(Debug)]
pub(super) struct Plugin {
    pub name: String,
    pub deadline_ms: u32,
    memory_max: usize,
    quota: Mutex<Quota>,
    stop: AtomicBool,
    calls: AtomicU64,
    faults: AtomicU64,
}

/// Counted since the plugin was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answers it gave.
    pub calls: u64,
    pub faults: u64,
    /// Lines that it logged over its allowance.
    pub lines_left_out: u64,
}

impl Plugin {
    pub(super) fn new(config: &PluginConfig) -> Arc<Self> {
        let memory_max = config.memory_max_bytes.min(engine::MEMORY_BYTES_MAX);
        Arc::new(Self {
            name: config.name.clone(),
            deadline_ms: config.deadline_ms.max(1),
            memory_max: usize::try_from(memory_max).unwrap_or(usize::MAX),
            quota: Mutex::new(Quota::new(Instant::now())),
            stop: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            faults: AtomicU64::new(0),
        })
    }

    /// Ends the call in flight, if there is one, as if it had run too long.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Allows calls again, for what is done on the way out.
    pub(super) fn go_on(&self) {
        self.stop.store(false, Relaxed);
    }

    pub(super) fn count_call(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(super) fn count_fault(&self) {
        self.faults.fetch_add(1, Relaxed);
    }

    pub(super) fn stats(&self) -> Stats {
        let quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            calls: self.calls.load(Relaxed),
            faults: self.faults.load(Relaxed),
            lines_left_out: quota.left_out_ever(),
        }
    }
}

/// The host's side of one instance.
#[derive(Debug)]
pub(super) struct Guest {
    plugin: Arc<Plugin>,
    limiter: Limiter,
    deadline: Instant,
    last_words: Option<String>,
}

#[derive(Debug)]
struct Limiter {
    limits: StoreLimits,
    memory_max: usize,
    memory_refused: Option<usize>,
}

/// A store with one instance's state in it.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub store: Store<Guest>,
    engine: Arc<Engine>,
    plugin: Arc<Plugin>,
}

impl Sandbox {
    pub(super) fn new(engine: &Arc<Engine>, plugin: &Arc<Plugin>) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(plugin.memory_max)
            .table_elements(TABLE_ELEMENTS_MAX)
            .instances(engine::CORE_INSTANCES_MAX as usize)
            .tables((engine::TABLES_MAX * engine::CORE_INSTANCES_MAX) as usize)
            .memories(engine::MEMORIES_MAX as usize)
            .build();
        let limiter = Limiter { limits, memory_max: plugin.memory_max, memory_refused: None };
        let guest =
            Guest { plugin: plugin.clone(), limiter, deadline: Instant::now(), last_words: None };
        let mut store = Store::new(engine.wasmtime(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        // Asked at every tick, so a late tick makes no deadline later by more
        // than itself, and ticks that come in a burst make none earlier.
        store.epoch_deadline_callback(|context| {
            let guest = context.data();
            match guest.plugin.stop.load(Relaxed) || Instant::now() >= guest.deadline {
                true => Ok(UpdateDeadline::Interrupt),
                false => Ok(UpdateDeadline::Continue(1)),
            }
        });
        Self { store, engine: engine.clone(), plugin: plugin.clone() }
    }

    /// One call, under the deadline.
    pub(super) fn call<T>(
        &mut self,
        during: &'static str,
        call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let deadline_ms = self.plugin.deadline_ms;
        let guest = self.store.data_mut();
        guest.deadline = Instant::now() + Duration::from_millis(u64::from(deadline_ms));
        guest.limiter.memory_refused = None;
        guest.last_words = None;
        self.store.set_epoch_deadline(1);
        let in_call = self.engine.in_call();
        let result = call(&mut self.store);
        drop(in_call);
        result.map_err(|error| {
            let guest = self.store.data_mut();
            let max = guest.limiter.memory_max;
            let at = Circumstances {
                during,
                deadline_ms,
                memory_refused: guest.limiter.memory_refused.map(|wanted| (wanted, max)),
                last_words: guest.last_words.take(),
                answer_bytes_max: ANSWER_BYTES_MAX,
            };
            Fault::of(&error, at)
        })
    }
}

/// Links what a plugin may import: `log`, and nothing.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine.wasmtime());
    bindings::log::add_to_linker::<Guest, HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl bindings::log::Host for Guest {
    fn log(&mut self, level: u8, message: String) {
        let line = log::one_line(&message);
        let mut quota = self.plugin.quota.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = quota.take(Instant::now());
        drop(quota);
        if let Some(left_out) = passed {
            log::forward(&self.plugin.name, level, &line, left_out);
        }
        if level <= 3 {
            self.last_words = Some(line);
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let granted = self.limits.memory_growing(current, desired, maximum)?;
        if !granted {
            self.memory_refused = Some(desired);
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
