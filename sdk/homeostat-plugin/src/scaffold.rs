//! A plugin's crate to begin with, which builds on any machine: it brings the SDK
//! and the contract along, as they are beside this tool.
//!
//! ```text
//! NAME/Cargo.toml  plugin.toml  src/lib.rs  golden/first.jsonl
//!      sdk/homeostat-sdk/  wit/                     until the SDK is on crates.io
//! ```
//!
//! Invariant: nothing that is there is touched; what could not be made whole is
//! taken away again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use include_dir::{Dir, include_dir};

static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../homeostat-sdk");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");
static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/template");
/// For the versions that the SDK was built with.
const WORKSPACE: &str = include_str!("../../../Cargo.toml");
const LOCK: &str = include_str!("../../../Cargo.lock");
const NAME_LEN_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Says what is wrong
    Detector,
    /// Says what might help
    Healer,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Detector => "detector",
            Self::Healer => "healer",
        }
    }
}

/// Makes the crate `name` below `parent`; gives its folder.
pub fn create(parent: &Path, name: &str, kind: Kind) -> Result<PathBuf> {
    check_name(name)?;
    let dir = parent.join(name);
    fs::create_dir(&dir).with_context(|| match dir.exists() {
        true => format!("{} is there already: choose another name, or remove it", dir.display()),
        false => format!("making {}", dir.display()),
    })?;
    let made = fill(&dir, name, kind);
    if made.is_err() {
        // It is ours alone: it was not there a moment ago.
        let _ = fs::remove_dir_all(&dir);
    }
    made.map(|()| dir)
}

fn fill(dir: &Path, name: &str, kind: Kind) -> Result<()> {
    let file = |file: &str| {
        let path = format!("{}/{file}", kind.folder());
        let text = TEMPLATES.get_file(&path).and_then(|it| it.contents_utf8());
        let text = text.with_context(|| format!("this tool was built without {path}"))?;
        Ok::<_, anyhow::Error>(text.replace("{name}", name).replace("{Type}", &type_name(name)))
    };
    write(&dir.join("Cargo.toml"), &cargo_toml(name)?)?;
    write(&dir.join("Cargo.lock"), LOCK)?;
    write(&dir.join(".gitignore"), "/target\n*.plugin\n*.key\n")?;
    write(&dir.join("plugin.toml"), &file("plugin.toml")?)?;
    write(&dir.join("src/lib.rs"), &file("lib.rs")?)?;
    write(&dir.join("golden/first.jsonl"), &file("first.jsonl")?)?;
    let sdk = dir.join("sdk/homeostat-sdk");
    write_all(&SDK, &sdk)?;
    write_all(&WIT, &dir.join("wit"))
}

/// Its own workspace, wherever it lies, with what the SDK inherits from ours.
fn cargo_toml(name: &str) -> Result<String> {
    let ours: toml::Table = WORKSPACE.parse().context("the workspace this tool was built in")?;
    let shared = &ours["workspace"];
    let package = shared["package"].as_table().cloned().unwrap_or_default();
    Ok(format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n\
         [lib]\n# cdylib for a box, rlib for its tests.\ncrate-type = [\"cdylib\", \"rlib\"]\n\n\
         [dependencies]\nhomeostat-sdk = {{ path = \"sdk/homeostat-sdk\" }}\n\
         serde = {{ workspace = true }}\n\n\
         # What the SDK, which came along, inherits.\n\
         [workspace.package]\n{}\n[workspace.dependencies]\n{}",
        lines(&package),
        lines(&dependencies(&shared["dependencies"]))
    ))
}

fn lines(table: &toml::Table) -> String {
    table.iter().map(|(name, value)| format!("{name} = {}\n", inline(value))).collect()
}

fn inline(value: &toml::Value) -> String {
    use toml::Value;
    match value {
        // Quoted as Rust does: what a manifest says needs no other escapes.
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(all) => {
            let all: Vec<_> = all.iter().map(inline).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Table(table) => {
            let all: Vec<_> =
                table.iter().map(|(name, value)| format!("{name} = {}", inline(value))).collect();
            format!("{{ {} }}", all.join(", "))
        }
    }
}

/// Those that the SDK asks for.
fn dependencies(all: &toml::Value) -> toml::Table {
    let sdk = SDK.get_file("Cargo.toml").and_then(|it| it.contents_utf8()).unwrap_or_default();
    let sdk: toml::Table = sdk.parse().unwrap_or_default();
    let wanted = sdk.get("dependencies").and_then(|it| it.as_table()).cloned().unwrap_or_default();
    let known = |name: &String| Some((name.clone(), all.get(name)?.clone()));
    wanted.keys().filter_map(known).collect()
}

fn write_all(from: &Dir<'_>, to: &Path) -> Result<()> {
    for file in from.files() {
        let text = file.contents();
        let path = to.join(file.path());
        write(&path, text)?;
    }
    from.dirs().try_for_each(|dir| write_all(dir, to))
}

fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// A name that is good for a crate, a plugin and a kind of finding.
fn check_name(name: &str) -> Result<()> {
    let letters = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    let good = name.starts_with(|it: char| it.is_ascii_lowercase())
        && name.chars().all(letters)
        && !name.ends_with('-')
        && !name.contains("--")
        && name.len() <= NAME_LEN_MAX;
    if !good {
        bail!(
            "wanted a name of lower-case letters, digits and single dashes, such as too-hot, \
             found {name:?}"
        );
    }
    Ok(())
}

/// `too-hot` is `TooHot`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|it| it.to_ascii_uppercase()).into_iter().chain(letters).collect()
    };
    name.split('-').map(|word| -> String { capital(word) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_made_whole_and_nothing_that_is_there_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let made = create(dir.path(), "too-hot", Kind::Detector).unwrap();
        let text = |file: &str| fs::read_to_string(made.join(file)).unwrap();
        assert!(
            text("src/lib.rs").contains("pub struct TooHot")
                && !text("src/lib.rs").contains("{name}")
        );
        assert!(text("src/lib.rs").contains("THE ONE FUNCTION TO WRITE"));
        assert!(text("plugin.toml").starts_with("name = \"too-hot\""));
        assert!(text("wit/homeostat.wit").contains("package homeostat:plugin"));
        assert!(text("sdk/homeostat-sdk/src/lib.rs").len() > 100);
        let cargo: toml::Table = text("Cargo.toml").parse().unwrap();
        for name in ["serde", "serde_json", "wit-bindgen"] {
            assert!(cargo["workspace"]["dependencies"].get(name).is_some(), "{name}");
        }

        fs::write(made.join("src/lib.rs"), "mine").unwrap();
        let error = create(dir.path(), "too-hot", Kind::Healer).unwrap_err();
        assert!(format!("{error:#}").contains("is there already"), "{error:#}");
        assert_eq!(text("src/lib.rs"), "mine");
    }

    #[test]
    fn a_name_is_one_for_a_crate_and_a_finding() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["", "Too", "2hot", "a_b", "a--b", "a-", "../up", "a b", &"a".repeat(65)] {
            let error = create(dir.path(), name, Kind::Healer).unwrap_err().to_string();
            assert!(error.contains("such as too-hot"), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
