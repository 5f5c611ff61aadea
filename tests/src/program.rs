//! Where the programs and packages lie that `cargo xtask build` made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Deserialize;

/// `target/plugins/index.json`, as `cargo xtask build` writes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    pub publisher: Publisher,
    pub plugins: BTreeMap<String, Packaged>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Publisher {
    pub name: String,
    /// ed25519 public key, base64.
    pub key: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Packaged {
    pub package: PathBuf,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    pub version: String,
    pub world: String,
}

/// A program beside the test's own: `target/debug/NAME`.
pub fn program(name: &str) -> PathBuf {
    let path = profile().join(name);
    assert!(path.exists(), "{} is not built: run `cargo xtask build` first", path.display());
    path
}

/// The folder of all build products.
pub fn target() -> PathBuf {
    profile().parent().expect("a profile's folder lies in the target folder").to_owned()
}

/// The development key that signed the packages.
pub fn signing_key() -> PathBuf {
    target().join("dev-key/publisher.key")
}

/// The id of a public key in base64, as `homeostat trust` takes it.
pub fn key_id(public: &str) -> String {
    use base64::Engine as _;
    let public = base64::engine::general_purpose::STANDARD.decode(public).expect("it is base64");
    homeostat::trust::key_id(&public.try_into().expect("a public key has 32 bytes"))
}

pub fn index() -> &'static Index {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(|| {
        let path = target().join("plugins/index.json");
        let text = std::fs::read(&path).unwrap_or_else(|error| {
            panic!("{}: {error}. Run `cargo xtask build` first", path.display())
        });
        serde_json::from_slice(&text).expect("the index is what `cargo xtask build` writes")
    })
}

pub fn packaged(name: &str) -> &'static Packaged {
    index().plugins.get(name).unwrap_or_else(|| {
        panic!("no plugin {name:?} in the index, only {:?}", index().plugins.keys())
    })
}

/// `target/debug`: tests lie one folder deeper, in `deps`.
fn profile() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows where it lies");
    let folder = own.parent().expect("a program lies in a folder");
    match folder.file_name() {
        Some(name) if name == "deps" => folder.parent().expect("deps lies in a folder").to_owned(),
        _ => folder.to_owned(),
    }
}
