//! The WebAssembly engine: one for all plugins, and the settings that bound it.
//!
//! Invariant: `homeostat-compile` and the daemon build their engines from the
//! same [`code_config`], so native code of the one fits the other; whatever
//! else decides what native code looks like is in [`Engine::fingerprint`].

mod ticker;

use std::time::Duration;

use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

pub(super) use self::ticker::{InCall, Ticker};
use crate::trust::sha256_hex;

/// No plugin gets more linear memory than this, whatever the box's file says.
pub const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// How late an interruption can be seen: DESIGN.md allows 10 ms.
pub const TICK: Duration = Duration::from_millis(2);

/// wasmtime's exact version: its own check of native code looks at the major
/// number alone. A test holds it against Cargo.lock.
pub(super) const WASMTIME_VERSION: &str = "48.0.8";

/// Native stack of a plugin, in bytes; its thread gets [`THREAD_STACK_BYTES`].
const WASM_STACK_BYTES: usize = 512 << 10;
pub(super) const THREAD_STACK_BYTES: usize = 1 << 20;
/// Pools larger than this, in bytes of address space, are made narrow. Some
/// arm64 kernels give a process 512 GiB in all.
const WIDE_POOL_BYTES_MAX: u64 = 128 << 30;
const TABLE_ELEMENTS_MAX: usize = 10_000;
/// wit-component splits a plugin into its own module and two small ones.
pub(super) const CORE_INSTANCES_MAX: u32 = 8;
pub(super) const TABLES_MAX: u32 = 4;
pub(super) const MEMORIES_MAX: u32 = 1;

#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {why}")]
pub struct EngineError {
    why: String,
}

impl From<wasmtime::Error> for EngineError {
    fn from(error: wasmtime::Error) -> Self {
        Self { why: format!("{error:#}") }
    }
}

/// For what native code is made; it fits only its own kind.
///
/// Wide and narrow say how much address space stands behind each linear memory.
/// With all of the 4 GiB that an index can reach, most bounds checks fall away:
/// detectors ran 25 to 35 % slower without (facts of the project, wasm-host).
/// Where address space is short there is a narrow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    Wide,
    Narrow,
    /// Wide, and it counts what it executes: for an author, never for a box.
    Metered,
}

impl CodeKind {
    pub fn word(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Narrow => "narrow",
            Self::Metered => "metered",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Wide, Self::Narrow, Self::Metered].into_iter().find(|kind| kind.word() == word)
    }

    fn bytes(self) -> u64 {
        match self {
            Self::Wide | Self::Metered => 4 << 30,
            Self::Narrow => MEMORY_BYTES_MAX,
        }
    }
}

/// Everything that decides what native code looks like.
pub(super) fn code_config(kind: CodeKind) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(kind == CodeKind::Metered)
        // Without: an empty call costs a third, a host call likewise.
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        // Its results may differ from CPU to CPU, and a recording replays exactly.
        .wasm_relaxed_simd(false)
        .memory_reservation(kind.bytes())
        .memory_may_move(false)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .generate_address_map(cfg!(debug_assertions))
        .debug_symbols(false)
        // For native debuggers; wasmtime walks its own frames.
        .native_unwind_info(false);
    #[cfg(feature = "compiler")]
    config
        .cranelift_opt_level(OptLevel::Speed)
        // The bits of a NaN differ from CPU to CPU too.
        .cranelift_nan_canonicalization(true);
    #[cfg(not(feature = "compiler"))]
    let _ = OptLevel::Speed;
    config
}

/// One engine, with room for so many plugins, and its clock.
#[derive(Debug)]
pub(super) struct Engine {
    engine: wasmtime::Engine,
    kind: CodeKind,
    ticker: Ticker,
}

impl Engine {
    /// `plugins_max` live instances, as many fresh ones beside them while
    /// plugins are exchanged, and one that is being tested.
    pub(super) fn new(plugins_max: u32) -> Result<Self, EngineError> {
        let slots = plugins_max.saturating_mul(2).saturating_add(1);
        let wide = u64::from(slots) * CodeKind::Wide.bytes() <= WIDE_POOL_BYTES_MAX;
        let built = match wide {
            true => build(CodeKind::Wide, slots).or_else(|why| {
                tracing::info!("no wide address space for plugins, taking the narrow: {why:#}");
                build(CodeKind::Narrow, slots)
            }),
            false => build(CodeKind::Narrow, slots),
        };
        let (engine, kind) = built?;
        let ticker = Ticker::start(&engine, TICK)
            .map_err(|error| EngineError { why: format!("no thread for its clock: {error}") })?;
        Ok(Self { engine, kind, ticker })
    }

    /// One that counts what plugins execute.
    pub(super) fn metered() -> Result<Self, EngineError> {
        let (engine, kind) = build(CodeKind::Metered, 2)?;
        let ticker = Ticker::start(&engine, TICK)
            .map_err(|error| EngineError { why: format!("no thread for its clock: {error}") })?;
        Ok(Self { engine, kind, ticker })
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    pub(super) fn kind(&self) -> CodeKind {
        self.kind
    }

    /// Ticks until what is returned is dropped.
    pub(super) fn in_call(&self) -> InCall<'_> {
        self.ticker.in_call()
    }

    /// What native code must have been made for to be loaded here: versions,
    /// settings, target, CPU.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(self.kind, &cpu())
    }
}

fn fingerprint(kind: CodeKind, cpu: &str) -> String {
    // Line by line in order: a compiler's settings are in a hash map.
    let config = format!("{:#?}", code_config(kind));
    let mut config: Vec<&str> = config.lines().collect();
    config.sort_unstable();
    let config = sha256_hex(config.join("\n").as_bytes());
    format!(
        "homeostat {}; wasmtime {WASMTIME_VERSION}; {}-{}; config {config}; cpu {cpu}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS,
    )
}

/// A digest of what the kernel says this CPU can do. The compiler uses all of
/// it; a disk that moves to another machine gets its code built anew.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let words = ["flags", "Features", "CPU implementer", "CPU part", "isa"];
    let mut lines: Vec<&str> =
        info.lines().filter(|line| words.iter().any(|word| line.starts_with(word))).collect();
    lines.sort_unstable();
    lines.dedup();
    sha256_hex(lines.join("\n").as_bytes())
}

fn build(kind: CodeKind, slots: u32) -> wasmtime::Result<(wasmtime::Engine, CodeKind)> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_MAX))
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .total_memories(slots.saturating_mul(MEMORIES_MAX))
        .max_memories_per_component(MEMORIES_MAX)
        .max_memory_size(MEMORY_BYTES_MAX as usize)
        .total_tables(slots.saturating_mul(TABLES_MAX))
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(2);
    let mut config = code_config(kind);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Ok((wasmtime::Engine::new(&config)?, kind))
}

/// Native code of a component, for an engine of that kind on this CPU.
/// Runs in `homeostat-compile`, never in the daemon.
#[cfg(feature = "compiler")]
pub(super) fn compile(component: &[u8], kind: CodeKind) -> Result<Vec<u8>, String> {
    let text = |error: wasmtime::Error| format!("{error:#}");
    let engine = wasmtime::Engine::new(&code_config(kind)).map_err(text)?;
    engine.precompile_component(component).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_we_seal_under_is_the_version_we_build_with() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(lock.contains(&entry), "set WASMTIME_VERSION to the version in Cargo.lock");
    }

    #[test]
    fn settings_and_cpu_are_in_the_fingerprint() {
        let wide = fingerprint(CodeKind::Wide, "a");
        assert_eq!(wide, fingerprint(CodeKind::Wide, "a"));
        assert_ne!(wide, fingerprint(CodeKind::Narrow, "a"));
        assert_ne!(wide, fingerprint(CodeKind::Wide, "b"));
    }

    #[test]
    fn many_plugins_get_narrow_memories_and_few_get_wide_ones() {
        assert_eq!(Engine::new(2).unwrap().kind(), CodeKind::Wide);
        assert_eq!(Engine::new(40).unwrap().kind(), CodeKind::Narrow);
    }
}
