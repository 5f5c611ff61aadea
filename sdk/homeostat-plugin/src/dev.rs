//! Build, install and watch, again and again: what an author has beside the editor.
//!
//! Invariant: a build that fails changes nothing on the box; what ran goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Between looks at the files.
const LOOK: Duration = Duration::from_millis(300);

/// When each source of the plugin was last changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<PathBuf, SystemTime>);

impl Sources {
    /// What decides what is built: the crate's own files, `target` and hidden ones
    /// left out.
    pub fn of(dir: &Path) -> Self {
        let mut found = BTreeMap::new();
        collect(dir, &mut found);
        Self(found)
    }

    /// Returns when one of them changed, was added or went.
    pub fn wait_for_change(&self, dir: &Path) -> Self {
        loop {
            thread::sleep(LOOK);
            let now = Self::of(dir);
            if now != *self {
                return now;
            }
        }
    }
}

fn collect(dir: &Path, found: &mut BTreeMap<PathBuf, SystemTime>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            collect(&path, found);
        } else if name.ends_with(".rs") || name.ends_with(".toml") || name.ends_with(".jsonl") {
            let changed = entry.metadata().and_then(|it| it.modified());
            found.insert(path, changed.unwrap_or(SystemTime::UNIX_EPOCH));
        }
    }
}

/// `homeostat`, beside this program or on the PATH; it knows its box by its own
/// environment and configuration.
pub struct Box {
    program: PathBuf,
}

impl Box {
    pub fn find() -> Self {
        let beside = std::env::current_exe().ok().map(|own| own.with_file_name("homeostat"));
        let program = beside.filter(|it| it.is_file()).unwrap_or_else(|| "homeostat".into());
        Self { program }
    }

    /// Gives what it said.
    pub fn install(&self, file: &Path, more: &[String]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(["plugin", "install"])
            .arg(file)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            bail!("{}", said(&output.stderr));
        }
        Ok(said(&output.stdout))
    }

    /// Prints what the plugin says on the box, until that is dropped.
    pub fn follow(&self, plugin: &str) -> Result<Following> {
        let mut child = Command::new(&self.program)
            .args(["events", "--follow", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let events = child.stdout.take().context("its output is piped")?;
        let plugin = plugin.to_owned();
        thread::spawn(move || {
            let lines = BufReader::new(events).lines().map_while(Result::ok);
            lines.filter_map(|line| told(&line, &plugin)).for_each(|line| println!("{line}"));
        });
        Ok(Following(child))
    }
}

pub struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One record of the journal in a line, if it is about the plugin.
fn told(line: &str, plugin: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).ok()?;
    let event = &record["event"];
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let speaker = [text("plugin"), text("detector")].into_iter().find(|it| !it.is_empty())?;
    let own = speaker == plugin || speaker.strip_suffix(".shadow") == Some(plugin);
    if !own {
        return None;
    }
    let finding = &event["finding"];
    let part = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    Some(match text("type").as_str() {
        "shadow-raised" | "finding-raised" => {
            format!("  raised   {} of {}: {}", part("kind"), part("target"), part("message"))
        }
        "shadow-cleared" | "finding-cleared" => {
            format!("  cleared  {} of {}", text("kind"), text("target"))
        }
        "plugin-faulted" => format!("  FAULT    {}", text("why")),
        "plugin-refused" | "plugin-withdrawn" => format!("  GONE     {}", text("why")),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_from_is_watched_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["src/lib.rs", "golden/a.jsonl", "target/x.rs", ".git/x.rs", "notes.txt"] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let sources = Sources::of(dir.path());
        let names: Vec<_> =
            sources.0.keys().map(|it| it.strip_prefix(dir.path()).unwrap().to_owned()).collect();
        assert_eq!(names, [PathBuf::from("golden/a.jsonl"), PathBuf::from("src/lib.rs")]);
        fs::write(dir.path().join("src/more.rs"), "").unwrap();
        assert_ne!(sources.wait_for_change(dir.path()), sources);
    }

    #[test]
    fn only_what_the_plugin_says_is_told() {
        let raised = r#"{"seq":1,"at":{},"event":{"type":"shadow-raised","plugin":"hot","finding":{"kind":"k","target":"box","message":"m"}}}"#;
        assert_eq!(told(raised, "hot").unwrap(), "  raised   k of box: m");
        assert_eq!(told(raised, "cold"), None);
        let fault = r#"{"event":{"type":"plugin-faulted","plugin":"hot.shadow","why":"trap"}}"#;
        assert_eq!(told(fault, "hot").unwrap(), "  FAULT    trap");
        assert_eq!(told("{}", "hot"), None);
        assert_eq!(told("no json", "hot"), None);
    }
}
