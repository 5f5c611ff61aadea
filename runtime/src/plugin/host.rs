//! From a plugin file to a component that may run.
//!
//! Invariant: a [`Loaded`] was verified, compiled for this engine, imports
//! nothing but what the contract gives, and was an instance once already.
//!
//! ```text
//! file ─verify─▶ package ─cache or compile─▶ native code ─load─▶ component
//!      ─imports─▶ ─world─▶ ─self-test: one instance─▶ Loaded   (then sealed)
//! ```

mod check;
mod loaded;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use wasmtime::component::{Component, Linker};

use self::loaded::Pre;
pub use self::loaded::{CodeOrigin, Loaded};
use super::cache::{Cache, CacheError, Found};
use super::compile::{Compiler, Halt};
use super::detector::{self, Detector, Live, Session};
use super::engine::{Engine, EngineError};
use super::error::{Cause, PluginError};
use super::healer::{self, Healer, Once};
use super::package::{Admission, Package, PackageError, World};
use super::sandbox::{self, Guest, Plugin};
use super::{CheckpointStore, Events};
use crate::config::{Paths, PluginConfig, TrustConfig};
use crate::model::Condition;
use crate::trust::{Keyring, TrustError};

const COMPILE_DEADLINE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Runs plugins: one for the daemon's life.
pub struct Host {
    engine: Arc<Engine>,
    linker: Linker<Guest>,
    /// Replaced as a whole when somebody is trusted no more.
    ring: RwLock<Arc<Keyring>>,
    compiler: Compiler,
    cache: Result<Cache, CacheError>,
}

/// A plugin that was started.
#[derive(Debug)]
pub enum Running {
    Detector(Detector),
    Healer(Healer),
}

impl Host {
    /// An engine for so many plugins, whose keys are trusted as `trust` says.
    /// A state folder that cannot be written costs the cache, not the host.
    pub fn new(paths: &Paths, trust: &TrustConfig, plugins: usize) -> Result<Self, HostError> {
        let engine = Engine::new(u32::try_from(plugins.max(1)).unwrap_or(u32::MAX))?;
        Self::on(engine, paths, trust)
    }

    /// One that counts what its plugins execute; for an author's tool.
    pub fn metered(paths: &Paths, trust: &TrustConfig) -> Result<Self, HostError> {
        Self::on(Engine::metered()?, paths, trust)
    }

    fn on(engine: Engine, paths: &Paths, trust: &TrustConfig) -> Result<Self, HostError> {
        let ring = Keyring::new(trust)?;
        let linker = sandbox::linker(&engine).map_err(EngineError::from)?;
        let cache = Cache::open(&paths.state, engine.fingerprint());
        if let Err(error) = &cache {
            tracing::warn!("{error}");
        }
        let compiler = Compiler {
            program: paths.programs.join("homeostat-compile"),
            deadline: COMPILE_DEADLINE,
            halt: Halt::default(),
        };
        let ring = RwLock::new(Arc::new(ring));
        Ok(Self { engine: Arc::new(engine), linker, ring, compiler, cache })
    }

    /// From now on these are believed, and nobody else. What runs goes on.
    pub fn trust(&self, ring: Keyring) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }

    fn ring(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether both still vouch for what is configured. Compiles nothing.
    pub fn admits(&self, config: &PluginConfig, floor: u64) -> Result<(), PluginError> {
        self.verified(config, floor).map(drop)
    }

    /// Whether nobody may run what is configured any more, whatever its file is now.
    pub fn revoked(&self, config: &PluginConfig) -> Option<PluginError> {
        let (name, digest) = (config.name.clone(), config.digest.clone());
        let revoked = self.ring().is_revoked(&digest);
        revoked
            .then(|| PluginError::new(&config.name, PackageError::Revoked { name, digest }.into()))
    }

    fn verified(&self, config: &PluginConfig, floor: u64) -> Result<Package, PluginError> {
        let named = |cause| PluginError::new(&config.name, cause);
        let bytes = Package::read(&config.package).map_err(|error| named(error.into()))?;
        Package::verify(&bytes, &self.ring(), &Admission::of(config, floor))
            .map_err(|error| named(error.into()))
    }

    /// Its compiler ends when that is called, and none begins again.
    pub fn halted_by(mut self, halt: Halt) -> Self {
        self.compiler.halt = halt;
        self
    }

    /// What is degraded.
    pub fn conditions(&self) -> Vec<Condition> {
        let cache = self
            .cache
            .as_ref()
            .err()
            .map(|error| Condition { name: "plugin.cache".into(), detail: error.to_string() });
        cache.into_iter().collect()
    }

    /// Verifies, compiles or finds in the cache, tests. Blocks: for as long as
    /// the compiler takes, at first, and for a millisecond or so ever after.
    pub fn load(&self, config: &PluginConfig, floor: u64) -> Result<Loaded, PluginError> {
        self.prepare(config, &self.verified(config, floor)?)
    }

    /// A file that a publisher of ours signed and that is whole. What the box
    /// says of it is still to be heard.
    pub fn open(&self, bytes: &[u8]) -> Result<Package, PackageError> {
        Package::inspect(bytes, &self.ring())
    }

    /// The rest of [`Host::load`], for a package that was verified elsewhere.
    pub fn prepare(&self, config: &PluginConfig, package: &Package) -> Result<Loaded, PluginError> {
        self.prepared(config, package).map_err(|cause| {
            let version = &package.manifest().version;
            PluginError::new(&format!("{} {version}", config.name), cause)
        })
    }

    fn prepared(&self, config: &PluginConfig, package: &Package) -> Result<Loaded, Cause> {
        check::memory(config, package.manifest())?;
        let digest = package.digest();
        let cached = self.cached(digest);
        let (component, native) = match cached {
            Some(component) => (component, None),
            None => {
                let native = self.compiler.compile(package.component(), self.engine.kind())?;
                (self.deserialize(&native)?, Some(native))
            }
        };
        check::imports(&component)?;
        check::exports(&component, package.world())?;
        let pre = self.pre(&component, package.world())?;
        self.self_test(config, &pre)?;
        let origin = match native {
            None => CodeOrigin::Cached,
            Some(native) => {
                self.seal(digest, &native);
                CodeOrigin::Compiled
            }
        };
        let (manifest, world) = (package.manifest().clone(), package.world());
        Ok(Loaded { config: config.clone(), manifest, world, pre, origin })
    }

    pub fn start_detector(
        &self,
        loaded: &Loaded,
        checkpoints: Arc<dyn CheckpointStore>,
        events: Events,
    ) -> Result<Detector, PluginError> {
        let pre = loaded.detector()?;
        Detector::start(&self.engine, pre, &loaded.config, checkpoints, events)
            .map_err(|error| loaded.error(Cause::Thread(error)))
    }

    pub fn start_healer(&self, loaded: &Loaded, events: Events) -> Result<Healer, PluginError> {
        let pre = loaded.healer()?;
        Healer::start(&self.engine, pre, &loaded.config, events)
            .map_err(|error| loaded.error(Cause::Thread(error)))
    }

    /// As a detector or as a healer, whichever it is.
    pub fn start(
        &self,
        loaded: &Loaded,
        checkpoints: Arc<dyn CheckpointStore>,
        events: Events,
    ) -> Result<Running, PluginError> {
        match loaded.is_healer() {
            true => self.start_healer(loaded, events).map(Running::Healer),
            false => self.start_detector(loaded, checkpoints, events).map(Running::Detector),
        }
    }

    /// An instance of a detector for a caller that waits; not configured yet.
    pub fn open_detector(&self, loaded: &Loaded) -> Result<Session, PluginError> {
        let live = Live::open(&self.engine, loaded.detector()?, &Plugin::new(&loaded.config))
            .map_err(|fault| loaded.error(fault.into()))?;
        Ok(Session::new(live, &loaded.config))
    }

    /// An instance of a healer for a caller that waits.
    pub fn open_healer(&self, loaded: &Loaded) -> Result<Once, PluginError> {
        Once::open(&self.engine, loaded.healer()?, &Plugin::new(&loaded.config))
            .map_err(|fault| loaded.error(fault.into()))
    }

    /// Forgets the native code of every plugin that is not among these.
    pub fn retain(&self, digests: &BTreeSet<String>) {
        if let Ok(cache) = &self.cache {
            cache.retain(digests);
        }
    }

    fn cached(&self, digest: &str) -> Option<Component> {
        let cache = self.cache.as_ref().ok()?;
        let why = match cache.get(digest) {
            Found::Nothing => return None,
            Found::Dropped(why) => why,
            Found::Code(native) => match self.deserialize(&native) {
                Ok(component) => return Some(component),
                Err(error) => {
                    cache.drop_entry(digest, "");
                    error.to_string()
                }
            },
        };
        tracing::warn!(digest, "native code from the cache was dropped, compiling anew: {why}");
        None
    }

    fn deserialize(&self, native: &[u8]) -> Result<Component, Cause> {
        // SAFETY: these bytes are native code that our own compiler wrote.
        // Either it wrote them to our pipe a moment ago, as the program that
        // the operator installed beside the daemon, or they were read from the
        // cache once and the MAC that only this daemon can make held over
        // these very bytes, this component and this engine. A plugin's author
        // never supplies them.
        let component = unsafe { Component::deserialize(self.engine.wasmtime(), native) };
        component.map_err(|error| Cause::Native { why: format!("{error:#}") })
    }

    fn pre(&self, component: &Component, world: World) -> Result<Pre, Cause> {
        let link = |error: wasmtime::Error| Cause::Link { why: format!("{error:#}") };
        let instance = self.linker.instantiate_pre(component).map_err(link)?;
        Ok(match world {
            World::Detector | World::DetectorResumable => {
                Pre::Detector(detector::Pre::new(instance, world).map_err(link)?)
            }
            World::Healer => Pre::Healer(healer::Pre::new(instance).map_err(link)?),
        })
    }

    /// Only an instance proves that its exports have the contract's types.
    fn self_test(&self, config: &PluginConfig, pre: &Pre) -> Result<(), Cause> {
        let plugin = Plugin::new(config);
        match pre {
            Pre::Detector(pre) => Live::open(&self.engine, pre, &plugin).map(drop)?,
            Pre::Healer(pre) => Once::open(&self.engine, pre, &plugin).map(drop)?,
        }
        Ok(())
    }

    fn seal(&self, digest: &str, native: &[u8]) {
        if let Ok(cache) = &self.cache
            && let Err(error) = cache.put(digest, native)
        {
            tracing::warn!("{error}");
        }
    }
}
