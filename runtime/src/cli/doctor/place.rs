//! What the configuration names: directories and plugin packages.
//!
//! Invariant: nothing is made, and a package is verified as the daemon does it.

use std::io;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::{Check, Named};
use crate::cli::words::count;
use crate::config::{self, Config, Machine};
use crate::plugin::package::{Admission, Package, PackageError};
use crate::trust::Keyring;

/// What a box without a file would be.
const NOTHING: &str = "[box]\nname = \"box\"\nmode = \"observe\"\n";
/// Sockets, locks and records of attempts are small.
const RUN_BYTES_MIN: u64 = 1 << 20;
const MIB: u64 = 1 << 20;

/// The file, or the defaults where it cannot be used.
pub(super) fn configuration(file: &Path, named: Named) -> (Config, Check) {
    const NAME: &str = "configuration";
    let path = file.display();
    let defaults =
        || config::parse(file, NOTHING, &Machine::here()).expect("the least file has no mistakes");
    match config::load(file) {
        Ok(config) => {
            let found = format!(
                "{path}: mode {}, {}, {}",
                config.mode,
                count(config.plugins.len(), "plugin"),
                count(config.workloads.len(), "workload")
            );
            (config, Check::ok(NAME, found))
        }
        Err(_) if named == Named::No && !file.exists() => {
            let check = Check::lacks(
                NAME,
                format!("no {path}; the defaults are looked at"),
                "the daemon does not start without one",
                "write one, or name it with --config",
            );
            (defaults(), check)
        }
        Err(mistakes) => {
            let number = count(mistakes.mistakes.len(), "mistake");
            let check = Check::cannot(
                NAME,
                format!("{path}: {number}; the defaults are looked at"),
                "the daemon does not start",
                "`homeostat config check` names each, with its line",
            );
            (defaults(), check)
        }
    }
}

pub(super) fn directories(config: &Config) -> [Check; 2] {
    [
        directory("state", &config.paths.state, config.store.max_bytes),
        directory("run", &config.paths.run, RUN_BYTES_MIN),
    ]
}

/// Whether the daemon could write there, and how much.
fn directory(name: &str, path: &Path, bytes_wanted: u64) -> Check {
    let shown = path.display();
    let there = path.ancestors().find(|it| it.exists()).unwrap_or(Path::new("/"));
    if there == path && !path.is_dir() {
        let remedy = "move it away, or set [paths]";
        let costs = "the daemon does not start";
        return Check::cannot(name, format!("{shown} is no directory"), costs, remedy);
    }
    let free = access(there, Access::WRITE_OK | Access::EXEC_OK).and_then(|()| statvfs(there));
    let free = match free {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(err) => {
            return Check::cannot(
                name,
                format!("{}: {}", there.display(), io::Error::from(err)),
                "the daemon does not start",
                "create it and give it to the daemon's user, or set [paths]",
            );
        }
    };
    let made = if there == path { "" } else { ", not there yet" };
    let found = format!("{shown}{made}, {} MiB free", free / MIB);
    if free >= bytes_wanted {
        return Check::ok(name, found);
    }
    Check::lacks(
        name,
        format!("{found} of the {} MiB that it may grow to", bytes_wanted / MIB),
        "the journal drops its oldest records, and stands still when the disk is full",
        "free some room, or lower store.max",
    )
}

/// Whether this user can read what is declared as secret, and nobody else.
pub(super) fn secrets(config: &Config) -> Vec<Check> {
    let check = |secret: &config::SecretConfig| {
        let name = format!("secret {}", secret.name);
        match secret.read() {
            Ok(_) => Check::ok(&name, format!("{}, of {}", secret.file.display(), secret.owner)),
            Err(why) => {
                let remedy = "write it there, owned by the daemon's user, mode 600";
                Check::cannot(&name, why, "the daemon does not start", remedy)
            }
        }
    };
    config.secrets.iter().map(check).collect()
}

pub(super) fn plugins(config: &Config) -> Vec<Check> {
    if config.plugins.is_empty() {
        let costs = "nothing is watched";
        let remedy = "name plugins in the configuration: [[plugin]]";
        return vec![Check::lacks("plugins", "none", costs, remedy)];
    }
    let ring = Keyring::new(&config.trust);
    let verify = |plugin: &config::PluginConfig| {
        let ring = ring.as_ref().map_err(|error| PackageError::from(error.clone()))?;
        // How far its sequence number may not fall back, only the daemon knows.
        Package::verify(&Package::read(&plugin.package)?, ring, &Admission::of(plugin, 0))
    };
    let check = |plugin: &config::PluginConfig| {
        let name = format!("plugin {}", plugin.name);
        match verify(plugin) {
            Ok(package) => {
                let manifest = package.manifest();
                let by = &manifest.publisher;
                Check::ok(&name, format!("{} {}, signed by {by}", manifest.name, manifest.version))
            }
            Err(error) => Check::cannot(
                &name,
                error.to_string(),
                "it is refused; what it alone watches or heals is left alone",
                "install the package that publisher and digest of the configuration agree on",
            ),
        }
    };
    config.plugins.iter().map(check).collect()
}
