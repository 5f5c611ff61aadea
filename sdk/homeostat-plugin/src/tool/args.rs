//! What can be typed.
//!
//! Invariant: a verb's help is its documentation, and shows an example.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use homeostat_plugin::scaffold::Kind;

#[derive(Parser)]
#[command(
    name = "homeostat-plugin",
    version,
    about = "Build, check, replay and sign a Homeostat plugin"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make a crate to begin with: a plugin, its test and a recording
    #[command(after_help = "Example:\n  homeostat plugin new too-hot --kind detector")]
    New {
        /// Lower-case letters, digits and dashes
        name: String,
        #[arg(long, value_enum, default_value = "detector")]
        kind: Kind,
        /// Folder that the crate's own is made in
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// Build the component
    Build {
        #[command(flatten)]
        at: At,
        /// Where to write it; NAME.component.wasm here by default
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Build, and check imports, exports and size
    Check(At),
    /// Replay recordings against the component in the real engine
    ///
    /// A golden recording must be answered as it says. One that a box made
    /// (`homeostat record`) is played to the component as the daemon would, and
    /// what it says is shown: the same each time, to the last bit.
    #[command(after_help = "Examples:\n  homeostat plugin replay\n  \
        homeostat plugin replay i42.rec --plugin-config config.toml\n  \
        homeostat plugin replay i42.rec --plugin-config config.toml --bless golden/i42.jsonl\n  \
        homeostat plugin replay i42.rec --plugin-config config.toml --expect golden/i42.jsonl")]
    Replay {
        #[command(flatten)]
        of: Of,
        /// Recordings; all of golden/ by default
        recordings: Vec<PathBuf>,
        #[command(flatten)]
        captured: Captured,
    },
    /// What a call costs on a recording, beside a baseline
    ///
    /// In the real engine, a fresh instance each round, turn and turn about with the
    /// baseline. Times are this machine's; compare what was measured in one run.
    #[command(after_help = "Examples:\n  homeostat plugin bench golden/first.jsonl\n  \
        homeostat plugin bench today.rec --plugin-config config.toml --baseline too-hot-0.1.0.plugin")]
    Bench {
        #[command(flatten)]
        of: Of,
        recording: PathBuf,
        /// A plugin file to measure beside it
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
        /// The plugin's configuration, a .json or .toml file, for a recording of a box
        #[arg(long, value_name = "FILE")]
        plugin_config: Option<PathBuf>,
        #[arg(long)]
        json: bool,
    },
    /// Play recordings twisted in every way that a bad day has
    ///
    /// No readings, rows in reverse, years between frames, endless lines, marks and
    /// outcomes of a later time, restarts after each frame: nothing of it may trap.
    #[command(after_help = "Examples:\n  homeostat plugin fuzz\n  \
        homeostat plugin fuzz golden/first.jsonl --plugin too-hot-0.1.0.plugin")]
    Fuzz {
        #[command(flatten)]
        of: Of,
        /// Recordings of the plugin; all of golden/ by default
        recordings: Vec<PathBuf>,
    },
    /// Build, check, replay and sign: writes NAME-VERSION.plugin
    #[command(alias = "sign", alias = "pack")]
    Package {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// File of the signing key, as `homeostat key new` wrote it
        #[arg(long)]
        key: PathBuf,
        /// Folder for the plugin file
        #[arg(long, default_value = ".")]
        out: PathBuf,
        #[arg(long)]
        json: bool,
    },
    /// Build, sign and install with every change, and show what the plugin says
    ///
    /// On the box that `homeostat` here talks to: in shadow, so that nothing follows,
    /// or live with --live. What it learnt is carried over. A build that fails changes
    /// nothing. Ends with Ctrl-C; `homeostat plugin remove NAME` takes it away.
    #[command(
        after_help = "Example:\n  homeostat plugin dev --key acme.key --plugin-config too-hot.toml"
    )]
    Dev {
        #[command(flatten)]
        at: At,
        #[command(flatten)]
        engine: Engine,
        /// File of the signing key, of a publisher that the box trusts
        #[arg(long)]
        key: PathBuf,
        /// The plugin's configuration, a .json or .toml file
        #[arg(long, value_name = "FILE")]
        plugin_config: Option<PathBuf>,
        /// Targets that it judges, with an optional `*` at the end
        #[arg(long = "target", value_name = "SELECTOR")]
        targets: Vec<String>,
        /// In its place, and not in shadow
        #[arg(long)]
        live: bool,
    },
    /// Signing keys
    #[command(subcommand)]
    Key(KeyVerb),
    /// Show what a plugin file says of itself
    Inspect {
        file: PathBuf,
        /// The publisher's public key, in base64: without it the signature is not checked
        #[arg(long)]
        public: Option<String>,
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub struct At {
    /// The plugin's folder
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// A component that was built before, instead of building one
    #[arg(long)]
    pub component: Option<PathBuf>,
}

/// For one recording that a box made.
#[derive(Args)]
pub struct Captured {
    /// The plugin's configuration, a .json or .toml file
    #[arg(long, value_name = "FILE")]
    pub plugin_config: Option<PathBuf>,
    /// Targets that the plugin judges, with an optional `*` at the end
    #[arg(long = "target", value_name = "SELECTOR", default_value = "*")]
    pub targets: Vec<String>,
    /// Answers written down before, which are to come again
    #[arg(long, value_name = "FILE", conflicts_with = "bless")]
    pub expect: Option<PathBuf>,
    /// Write down what it sees and answers: a golden recording
    #[arg(long, value_name = "FILE")]
    pub bless: Option<PathBuf>,
}

/// What recordings are played to, and in what.
#[derive(Args)]
pub struct Of {
    #[command(flatten)]
    pub at: At,
    #[command(flatten)]
    pub engine: Engine,
    /// A plugin file, instead of the folder's own component
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "component"])]
    pub plugin: Option<PathBuf>,
}

#[derive(Args)]
pub struct Engine {
    /// Folder of homeostat-compile; this program's own by default
    #[arg(long, env = "HOMEOSTAT_PROGRAMS")]
    pub programs: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum KeyVerb {
    /// Make a signing key, and print its public half
    #[command(after_help = "Example:\n  homeostat key new --name acme --out acme.key")]
    New {
        /// Your name as a publisher
        #[arg(long)]
        name: String,
        /// New file for the key; nobody but you can read it
        #[arg(long)]
        out: PathBuf,
        #[arg(long)]
        json: bool,
    },
}
