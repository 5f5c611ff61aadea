//! A box before it is started: its folder, its configuration, its servers.
//!
//! The defaults are a box in a hurry: the same rules as any other, with
//! patience counted in tenths of a second.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::program::{self, packaged};
use crate::server::Server;
use crate::settings::Settings;
use crate::testbox::TestBox;

pub struct Plan {
    pub folder: TempDir,
    pub settings: Settings,
    pub servers: Vec<Server>,
}

impl Plan {
    /// A folder, and a box that knows its publisher; all else at its default.
    pub fn plain() -> Self {
        let folder = tempfile::Builder::new().prefix("homeostat-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        let publisher = &program::index().publisher;
        let mut settings = Settings::default();
        settings
            .set("box.name", "story")
            .set("box.mode", "enforce")
            .set("paths.state", path(&folder.path().join("state")))
            .set("paths.run", path(&folder.path().join("run")))
            .set("api.socket", path(&folder.path().join("socket")))
            // What this machine's kernel says is no part of the story.
            .set("source.kmsg", "off")
            .push("trust.publishers", json!({ "name": publisher.name, "key": publisher.key }));
        Self { folder, settings, servers: Vec::new() }
    }

    /// A box in a hurry, and nothing on it: no plugin, no workload.
    pub fn bare() -> Self {
        Self::plain().with(|settings| {
            settings
                .set("box.profile", "fast")
                .set("source.period_ms", 100)
                .set("guard.cooldown_ms", 100)
                .set("guard.rate_max", 1000)
                .set("guard.storm_max", 1000)
                .set("guard.boot_grace_ms", 0)
                .set("incident.hold_ms", 1000)
                .set("incident.stuck_retry_ms", 3_600_000);
        })
    }

    /// One server, the detector that sees it die, the healer that restarts it.
    pub fn usual() -> Self {
        Self::bare()
            .server("digits")
            .detector("liveness", json!({}))
            .healer("ladder", Self::ladder(4, 0.3))
    }

    /// A ladder with one rung: restart, so many times, with pauses that double.
    pub fn ladder(attempts: u32, backoff_s: f64) -> Value {
        let restart = json!({
            "action": "workload.restart", "attempts": attempts,
            "backoff_s": backoff_s, "backoff_max_s": backoff_s * 8.0,
        });
        json!({
            "ladder": [{ "kind": "*", "target": "workload:*", "steps": [restart] }],
            "blocked_wait_s": 0.1,
        })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// One more model server, with probes of its health and of its truth.
    pub fn server(self, name: &str) -> Self {
        self.server_with(name, |workload| {
            workload.insert("start_grace_ms".into(), 10_000.into());
            for probe in workload["probe"].as_array_mut().into_iter().flatten() {
                probe["period_ms"] = 200.into();
                probe["timeout_ms"] = 500.into();
            }
        })
    }

    /// As [`Plan::server`], with `change` made to the workload's declaration.
    pub fn server_with(mut self, name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> Self {
        let server = Server::new(name, self.folder.path());
        let mut workload = server.workload();
        change(workload.as_object_mut().expect("a workload is a table"));
        self.settings.push("workload", workload);
        self.servers.push(server);
        self
    }

    /// Each start of `name` begins with a line of shell: a server that takes its
    /// time over it.
    pub fn starts_with(self, name: &str, script: &str) -> Self {
        self.with(|settings| {
            let workload = settings.named("workload", name);
            let command = workload["command"].as_array().cloned().unwrap_or_default();
            let words = command.iter().filter_map(|word| word.as_str());
            let quoted: Vec<_> = words.map(|word| format!("'{word}'")).collect();
            let script = format!("{script}; exec {}", quoted.join(" "));
            workload.insert("command".into(), json!(["/bin/sh", "-c", script]));
        })
    }

    pub fn detector(self, name: &str, config: Value) -> Self {
        self.plugin(name, json!({ "config": config }))
    }

    /// A healer that may do everything, and is asked about everything.
    pub fn healer(mut self, name: &str, config: Value) -> Self {
        let grants = ["workload.restart", "workload.start", "workload.stop", "notify"];
        self.settings.push("incident.route", json!({ "kind": "*", "healers": [name] }));
        self.plugin(name, json!({ "config": config, "grants": grants }))
    }

    /// The packaged plugin of that name, with more keys.
    pub fn plugin(mut self, name: &str, keys: Value) -> Self {
        let found = packaged(name);
        let mut table = json!({
            "name": name, "package": path(&found.package), "digest": format!("sha256:{}", found.digest),
            // A thread that is starved for a moment on a loaded machine is no fault.
            "deadline_ms": 2_000,
        });
        let fields = table.as_object_mut().expect("it was just made as one");
        fields.extend(keys.as_object().cloned().unwrap_or_default());
        self.settings.push("plugin", table);
        self
    }

    /// Changes whatever else a story wants otherwise.
    pub fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The configuration as a file.
    pub fn write(&self) -> PathBuf {
        let file = self.folder.path().join("homeostat.toml");
        fs::write(&file, self.settings.to_toml()).expect("the story's folder can be written");
        file
    }

    /// Starts the daemon and waits for its socket.
    #[track_caller]
    pub fn raise(self) -> TestBox {
        TestBox::raise(self, &[])
    }

    /// As [`Plan::raise`], with more in the daemon's environment.
    #[track_caller]
    pub fn raise_with(self, env: &[(&str, &str)]) -> TestBox {
        TestBox::raise(self, env)
    }
}

pub fn path(path: &Path) -> String {
    path.to_str().expect("a temporary path is UTF-8").to_owned()
}
