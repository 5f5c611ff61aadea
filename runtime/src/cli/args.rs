//! What can be typed.
//!
//! Invariant: a verb's help is its documentation; every verb but `run` has a [`Face`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::record::Record;
use super::words;
use crate::model::{IncidentId, Seq};

/// Keeps inference workloads alive and right.
#[derive(Debug, Parser)]
#[command(name = "homeostat", version, after_help = super::exit::help())]
pub(super) struct Cli {
    /// Socket of the daemon; by default the one of the configuration.
    #[arg(long, global = true, env = "HOMEOSTAT_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Configuration file; /etc/homeostat/homeostat.toml by default.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run the daemon.
    Run,
    /// What is wrong, then everything else.
    Status(Face),
    /// Open incidents.
    Incidents {
        /// The latest closed ones, too.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        face: Face,
    },
    /// The story of one incident: seen, decided, refused, done, proven.
    Explain {
        /// Such as i42.
        #[arg(value_parser = words::incident)]
        incident: IncidentId,
        #[command(flatten)]
        face: Face,
    },
    /// Say whether a workload is to run; it stays said.
    #[command(subcommand)]
    Workload(WorkloadVerb),
    /// Heal nothing until resumed.
    Pause {
        /// Such as 90s, 10min, 2h or 1d; until `resume` when left out.
        #[arg(long = "for", value_name = "DURATION", value_parser = words::duration_ms)]
        for_ms: Option<u64>,
        #[command(flatten)]
        face: Face,
    },
    /// Heal again.
    Resume(Face),
    /// Say yes to the action that an incident waits with.
    Approve {
        /// Such as i42.
        #[arg(value_parser = words::incident)]
        incident: IncidentId,
        #[command(flatten)]
        face: Face,
    },
    /// Say no to it; the healer goes on with what else there is.
    Deny {
        /// Such as i42.
        #[arg(value_parser = words::incident)]
        incident: IncidentId,
        #[command(flatten)]
        face: Face,
    },
    /// Have an incident looked at again, or close it.
    #[command(subcommand)]
    Incident(IncidentVerb),
    /// Stage a fault for a drill, where [drill] allows it: see what the box does.
    Inject {
        #[arg(value_enum)]
        fault: FaultWord,
        /// A workload, such as digits or workload:digits.
        target: String,
        /// How long a hang lasts, such as 30s.
        #[arg(long = "for", value_name = "DURATION", value_parser = words::duration_ms, default_value = "30s")]
        for_ms: u64,
        #[command(flatten)]
        face: Face,
    },
    /// Write down what the box reads, to play it to a plugin.
    ///
    /// The file is for `homeostat plugin replay FILE`, on this box or another.
    /// The daemon holds the last minutes ([recording] of the configuration), and
    /// keeps what led to an incident.
    #[command(after_help = "Examples:\n  homeostat record --last 5min --out today.rec\n  \
        homeostat record --series 'probe.*@workload:digits' --for 1h --out probes.rec\n  \
        homeostat record --incident i42 --out i42.rec")]
    Record(Record),
    /// Detectors and healers.
    Plugins(Face),
    /// Plugins of this box: install, remove, list. And the author's tool:
    /// new, build, check, replay, package.
    ///
    /// What is not named below is homeostat-plugin's, a program beside this one
    /// or on the PATH: `homeostat plugin new --help` is answered by it. No box
    /// needs it.
    #[command(subcommand)]
    Plugin(PluginVerb),
    /// Signing keys, by the author's tool: `homeostat key new --help`.
    #[command(disable_help_flag = true, disable_version_flag = true)]
    Key {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// The journal, a record per line; by default its newest 100.
    Events {
        /// Go on as it grows.
        #[arg(long)]
        follow: bool,
        /// From this record on.
        #[arg(long, value_name = "SEQ")]
        from: Option<Seq>,
        #[command(flatten)]
        face: Face,
    },
    /// Whom this box believes: its key root, publishers, what is revoked.
    #[command(subcommand)]
    Trust(TrustVerb),
    /// The configuration file.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// What this box can and cannot watch or do, and why; needs no daemon.
    ///
    /// Run it as the daemon's user: what it may do is part of the answer. Each
    /// line is `ok`, `lacks` (the daemon does without) or `cannot` (something
    /// that was configured, or every daemon needs, is impossible), with what
    /// that costs and what to do. Exit code 4 when a line says `cannot`.
    Doctor(Face),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FaultWord {
    /// Every process of it is killed.
    Crash,
    /// Every process of it stands still, and goes on after a while.
    Hang,
}

#[derive(Debug, Subcommand)]
pub(super) enum PluginVerb {
    /// Run a plugin file, without stopping the daemon.
    ///
    /// It is verified, compiled and instantiated before anything changes. What
    /// ran under its name goes, with its checkpoint carried over, and comes back
    /// by itself when the new one is quarantined within its trial. A plugin that
    /// the box's file names keeps its settings from there.
    #[command(after_help = "Examples:\n  homeostat plugin install too-hot-0.1.0.plugin \
        --plugin-config too-hot.toml --shadow 24h\n  homeostat plugin install liveness-0.2.0.plugin")]
    Install(Install),
    /// Take away what was installed; what the box's file names comes back.
    #[command(after_help = "Example:\n  homeostat plugin remove too-hot")]
    Remove {
        name: String,
        #[command(flatten)]
        face: Face,
    },
    /// Plugins that run, in shadow and on trial too, and what shadows say.
    List(Face),
    #[command(external_subcommand)]
    Author(Vec<OsString>),
}

#[derive(Debug, Args)]
pub(super) struct Install {
    /// Such as too-hot-0.1.0.plugin.
    pub file: PathBuf,
    /// Its configuration, a .toml or .json file; for a plugin that the box's file
    /// does not name.
    #[arg(long, value_name = "FILE")]
    pub plugin_config: Option<PathBuf>,
    /// Targets that it judges, with an optional `*` at the end; all by default.
    /// Likewise.
    #[arg(long = "target", value_name = "SELECTOR")]
    pub targets: Vec<String>,
    /// How often it gets numbers, such as 500ms. Likewise.
    #[arg(long, value_name = "DURATION", value_parser = words::duration_ms)]
    pub period: Option<u64>,
    /// First let it run beside what is there, with nothing following from what it
    /// says, for so long, such as 24h; then it takes the place.
    #[arg(long, value_name = "DURATION", value_parser = words::duration_ms)]
    pub shadow: Option<u64>,
    /// How long a quarantine takes it back by itself.
    #[arg(long, value_name = "DURATION", value_parser = words::duration_ms, default_value = "1h")]
    pub trial: u64,
    #[command(flatten)]
    pub face: Face,
}

#[derive(Debug, Subcommand)]
pub(super) enum WorkloadVerb {
    /// Run it, and keep it running.
    Start {
        name: String,
        #[command(flatten)]
        face: Face,
    },
    /// Stop it, and leave it stopped.
    Stop {
        name: String,
        #[command(flatten)]
        face: Face,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum IncidentVerb {
    /// Look at it again now.
    Retry {
        /// Such as i42.
        #[arg(value_parser = words::incident)]
        incident: IncidentId,
        #[command(flatten)]
        face: Face,
    },
    /// Close it, ill or not; what stands opens no other until it clears or gets worse.
    Close {
        /// Such as i42.
        #[arg(value_parser = words::incident)]
        incident: IncidentId,
        #[command(flatten)]
        face: Face,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TrustVerb {
    /// The key root and what it revokes.
    Show(Face),
    /// Let nobody run a component, or believe a key no more: what runs by it stops.
    ///
    /// It stays revoked, across restarts and reinstallation. For a box whose key
    /// root is its own; else its holders sign the next root, for `update`.
    #[command(after_help = "Examples:\n  homeostat trust revoke --digest 3f9a…  (64 hex digits, \
        as `homeostat plugin list --json` has them)\n  homeostat trust revoke --key 9b3c5f7d1e2a4b6c")]
    Revoke {
        /// SHA-256 of a component, in hex.
        #[arg(long = "digest", value_name = "SHA256", value_parser = words::digest)]
        digests: Vec<String>,
        /// Id of a key, 16 hex digits.
        #[arg(long = "key", value_name = "ID", value_parser = words::key_id)]
        keys: Vec<String>,
        #[command(flatten)]
        face: Face,
    },
    /// Take the next version of the key root, signed by enough keys of the present
    /// one and of itself.
    Update {
        file: PathBuf,
        #[command(flatten)]
        face: Face,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// What is in force: the file's values and the defaults of what it leaves out.
    Show {
        /// Where each value comes from: a line of the file, or a default.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        face: Face,
    },
    /// Name every mistake, each with its line and a hint.
    Check {
        /// The file; that of --config by default.
        file: Option<PathBuf>,
        #[command(flatten)]
        face: Face,
    },
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Face {
    /// JSON instead of text.
    #[arg(long)]
    pub json: bool,
}
