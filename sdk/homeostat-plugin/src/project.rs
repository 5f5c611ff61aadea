//! `plugin.toml`: what its author says of a plugin, beside the code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use homeostat::plugin::package::{API_VERSIONS, Blob, Limits, MANIFEST_SPEC, Manifest, World};
use serde::Deserialize;

/// A plugin's folder.
#[derive(Clone, Debug)]
pub struct Project {
    pub dir: PathBuf,
    pub about: About,
    pub world: World,
    /// From `Cargo.toml` where `plugin.toml` names none.
    pub version: String,
    /// Recordings by file name.
    pub golden: BTreeMap<String, Vec<u8>>,
    config_schema: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub name: String,
    pub version: Option<String>,
    /// Counts releases: a box never goes back to a lower one.
    pub sequence: u64,
    world: String,
    #[serde(default = "min_runtime")]
    min_runtime: String,
    /// Selectors of the series it reads; what it asks for must be among them.
    #[serde(default)]
    pub reads: Vec<String>,
    /// Actions it may propose.
    #[serde(default)]
    pub actions: Vec<String>,
    /// A kind of finding, and the kinds that it explains on what needs its target.
    #[serde(default)]
    explains: BTreeMap<String, Vec<String>>,
    limits: AboutLimits,
    /// JSON schema of its configuration, a path beside `plugin.toml`.
    config_schema: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AboutLimits {
    memory_bytes: u64,
}

fn min_runtime() -> String {
    "0.1.0".into()
}

impl Project {
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("plugin.toml");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("no {}: is {} a plugin's folder?", path.display(), dir.display())
        })?;
        let about: About =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        let Some(world) = World::from_word(&about.world) else {
            let words = World::ALL.map(World::word).join(", ");
            bail!("{}: wanted a world of {words}, found {:?}", path.display(), about.world);
        };
        let version = match &about.version {
            Some(version) => version.clone(),
            None => cargo_version(dir)?,
        };
        let config_schema = match &about.config_schema {
            Some(file) => Some(read_schema(&dir.join(file))?),
            None => None,
        };
        let golden = read_golden(&dir.join("golden"))?;
        Ok(Self { dir: dir.to_owned(), about, world, version, golden, config_schema })
    }

    /// What will be signed; the digests are filled in when it is packed.
    pub fn manifest(&self, publisher: &str) -> Manifest {
        Manifest {
            spec: MANIFEST_SPEC,
            name: self.about.name.clone(),
            version: self.version.clone(),
            sequence: self.about.sequence,
            publisher: publisher.to_owned(),
            world: self.world.word().to_owned(),
            api: API_VERSIONS[0].to_owned(),
            min_runtime: self.about.min_runtime.clone(),
            component: Blob::default(),
            reads: self.about.reads.clone(),
            actions: self.about.actions.clone(),
            explains: self.about.explains.clone(),
            limits: Limits { memory_bytes: self.about.limits.memory_bytes },
            config_schema: self.config_schema.clone(),
            golden: Vec::new(),
        }
    }

    pub fn file_name(&self) -> String {
        format!("{}-{}.plugin", self.about.name, self.version)
    }
}

/// The version in `Cargo.toml`, its own or its workspace's.
fn cargo_version(dir: &Path) -> Result<String> {
    let manifest = dir.join("Cargo.toml");
    let own = read_toml(&manifest)?;
    let version = own.get("package").and_then(|it| it.get("version"));
    if let Some(version) = version.and_then(|it| it.as_str()) {
        return Ok(version.to_owned());
    }
    for above in dir.canonicalize()?.ancestors().skip(1) {
        let root = above.join("Cargo.toml");
        if !root.exists() {
            continue;
        }
        let root = read_toml(&root)?;
        let shared = root.get("workspace").and_then(|it| it.get("package")?.get("version"));
        if let Some(version) = shared.and_then(|it| it.as_str()) {
            return Ok(version.to_owned());
        }
    }
    bail!("{} says no version, and neither does plugin.toml", manifest.display())
}

fn read_toml(path: &Path) -> Result<toml::Table> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("reading {}", path.display()))
}

fn read_schema(path: &Path) -> Result<serde_json::Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// No folder is no recordings.
fn read_golden(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut golden = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(golden),
        Err(error) => return Err(error).with_context(|| format!("reading {}", dir.display())),
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "jsonl") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            golden.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(golden)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: &str =
        "name = \"hot\"\nsequence = 2\nworld = \"healer\"\n[limits]\nmemory_bytes = 9\n";

    fn folder(about: &str, cargo: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("plugin.toml"), about).unwrap();
        std::fs::write(dir.path().join("Cargo.toml"), cargo).unwrap();
        dir
    }

    #[test]
    fn a_version_is_the_crates_own_or_its_workspaces() {
        let own = folder(ABOUT, "[package]\nversion = \"1.2.3\"\n");
        let project = Project::open(own.path()).unwrap();
        assert_eq!(project.file_name(), "hot-1.2.3.plugin");
        assert_eq!((project.world, project.manifest("acme").sequence), (World::Healer, 2));

        let root = folder(ABOUT, "[workspace.package]\nversion = \"4.5.6\"\n");
        let inner = root.path().join("plugins/hot");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("plugin.toml"), ABOUT).unwrap();
        std::fs::write(inner.join("Cargo.toml"), "[package]\nversion.workspace = true\n").unwrap();
        assert_eq!(Project::open(&inner).unwrap().version, "4.5.6");
    }

    #[test]
    fn only_recordings_become_golden() {
        let dir = folder(ABOUT, "[package]\nversion = \"1.2.3\"\n");
        std::fs::create_dir(dir.path().join("golden")).unwrap();
        for name in ["a.jsonl", "b.txt"] {
            std::fs::write(dir.path().join("golden").join(name), "{}").unwrap();
        }
        let project = Project::open(dir.path()).unwrap();
        assert_eq!(project.golden.keys().collect::<Vec<_>>(), ["a.jsonl"]);
    }

    #[test]
    fn a_mistake_in_plugin_toml_is_named() {
        let cargo = "[package]\nversion = \"1.2.3\"\n";
        for (about, word) in [
            (ABOUT.replace("healer", "heeler"), "found \"heeler\""),
            (ABOUT.replace("sequence", "sequel"), "unknown field `sequel`"),
            (ABOUT.replace("sequence = 2\n", ""), "missing field `sequence`"),
        ] {
            let error = Project::open(folder(&about, cargo).path()).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        }
        let error = Project::open(folder(ABOUT, "[package]\n").path()).unwrap_err();
        assert!(format!("{error:#}").contains("says no version"), "{error:#}");
        let error = Project::open(Path::new("/nonexistent")).unwrap_err();
        assert!(format!("{error:#}").contains("a plugin's folder?"), "{error:#}");
    }
}
