//! The walls around one instance: memory, time, and the one thing it may call.
//!
//! Invariant: no call into a plugin is made but by [`Sandbox::call`], which
//! arms the deadline anew and keeps the epoch moving until the call is back.
//!
//! A deadline is counted in the processor's time that the call had: on a busy
//! box a healthy plugin may wait for its turn many times as long. By the clock it
//! has ten times the deadline and no more.

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
/// A call may take so many times its deadline by the clock.
const WALL_FACTOR: u32 = 10;

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

    /// Ends the call in flight, and each later one, as if it had run too long.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
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
    time: CallTime,
    last_words: Option<String>,
}

#[derive(Debug)]
struct Limiter {
    limits: StoreLimits,
    memory_max: usize,
    memory_refused: Option<usize>,
    /// Of linear memory, in bytes: it never shrinks.
    memory_held: usize,
}

/// How long the call in flight takes, by both clocks.
#[derive(Clone, Copy, Debug)]
struct CallTime {
    began: Instant,
    deadline: Duration,
    /// What the thread had had of the processor when the call began, as far as
    /// the first tick can tell. Asked for with the call it would be a system
    /// call for each, and most are over within a tick.
    cpu_before: Option<Duration>,
}

impl CallTime {
    fn begin(deadline_ms: u32) -> Self {
        let deadline = Duration::from_millis(deadline_ms.into());
        Self { began: Instant::now(), deadline, cpu_before: None }
    }

    /// Asked at each tick, on the call's own thread.
    fn is_over(&mut self) -> bool {
        self.is_over_at(self.began.elapsed(), thread_cpu)
    }

    /// A call cannot have had more of the processor than has gone by: until the
    /// deadline is over by the clock, only the first tick asks.
    fn is_over_at(&mut self, gone: Duration, cpu: impl Fn() -> Duration) -> bool {
        // What it had before its first tick is at most what went by; where more
        // than a tick did, the rest was somebody else's turn.
        let before =
            *self.cpu_before.get_or_insert_with(|| cpu().saturating_sub(gone.min(engine::TICK)));
        gone >= self.deadline
            && (gone >= self.deadline * WALL_FACTOR
                || cpu().saturating_sub(before) >= self.deadline)
    }
}

/// Of the calling thread, since it began: clock_gettime(2).
fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
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
        let memory_max = plugin.memory_max;
        let limiter = Limiter { limits, memory_max, memory_refused: None, memory_held: 0 };
        let time = CallTime::begin(plugin.deadline_ms);
        let guest = Guest { plugin: plugin.clone(), limiter, time, last_words: None };
        let mut store = Store::new(engine.wasmtime(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        // Fails where nothing is metered, and then nothing is asked for.
        let _ = store.set_fuel(u64::MAX);
        // Asked at every tick, so a late tick makes no deadline later by more
        // than itself, and ticks that come in a burst make none earlier.
        store.epoch_deadline_callback(|mut context| {
            let guest = context.data_mut();
            match guest.plugin.stop.load(Relaxed) || guest.time.is_over() {
                true => Ok(UpdateDeadline::Interrupt),
                false => Ok(UpdateDeadline::Continue(1)),
            }
        });
        Self { store, engine: engine.clone(), plugin: plugin.clone() }
    }

    /// What it executed so far, in wasmtime's units; none where it is not metered.
    pub(super) fn fuel_used(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    /// Linear memory that it holds, in bytes.
    pub(super) fn memory_held(&self) -> usize {
        self.store.data().limiter.memory_held
    }

    /// One call, under the deadline.
    pub(super) fn call<T>(
        &mut self,
        during: &'static str,
        call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let deadline_ms = self.plugin.deadline_ms;
        let guest = self.store.data_mut();
        guest.time = CallTime::begin(deadline_ms);
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
        match granted {
            true => self.memory_held = desired,
            false => self.memory_refused = Some(desired),
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Whether a call with a deadline of 100 ms is over after each tick, given
    /// what went by and what its thread had of the processor in all by then.
    fn over<const N: usize>(ticks: [(u64, u64); N]) -> [bool; N] {
        let mut time = CallTime::begin(100);
        ticks.map(|(gone, cpu)| time.is_over_at(ms(gone), || ms(cpu)))
    }

    #[test]
    fn a_deadline_counts_the_processors_time_up_to_ten_times_as_much_by_the_clock() {
        for (story, ticks, expected) in [
            ("alone on the box", [(2, 502), (98, 598), (100, 600)], [false, false, true]),
            ("half of the time", [(2, 502), (100, 550), (200, 600)], [false, false, true]),
            ("hardly ever", [(2, 502), (999, 550), (1000, 550)], [false, false, true]),
            ("waiting at first", [(900, 502), (998, 510), (999, 601)], [false, false, true]),
            ("late ticks", [(99, 599), (101, 600), (200, 698)], [false, false, true]),
        ] {
            assert_eq!(over(ticks), expected, "{story}");
        }
    }

    #[test]
    fn a_thread_knows_what_it_had_of_the_processor() {
        let (began, before) = (Instant::now(), thread_cpu());
        while thread_cpu() - before < ms(5) {}
        assert!(began.elapsed() >= ms(5));
        let (began, before) = (Instant::now(), thread_cpu());
        std::thread::sleep(ms(20));
        assert!(thread_cpu() - before < began.elapsed());
    }
}
