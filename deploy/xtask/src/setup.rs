//! What a fresh machine needs before the first build.
//!
//! `RUSTUP_AUTO_INSTALL=0` is common on build machines; then a toolchain file
//! installs nothing and says nothing. So the targets are asked for here, and a
//! refusal is loud.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::work::{Work, ask, say};

/// Plugins are built for this; without it there is nothing to host.
pub const WASM: &str = "wasm32-unknown-unknown";
/// Edge boxes; only the cross check needs it.
pub const ARM: &str = "aarch64-unknown-linux-gnu";

pub fn run(work: &mut Work) -> Result<()> {
    prepare(work)?;
    build::programs(work)?;
    build::key(work)?;
    Ok(())
}

/// All but the key, which one of our own programs makes.
pub fn prepare(work: &mut Work) -> Result<()> {
    linker(work)?;
    if !target(work, WASM)? {
        bail!(
            "plugins are built for {WASM}, which this toolchain does not have. \
             Run `rustup target add {WASM}`; a Rust that did not come from rustup has it as a \
             package of its own, such as Debian's libstd-rust-dev-wasm32"
        );
    }
    if !target(work, ARM)? {
        work.lack(format!(
            "Rust's {ARM} (wanted by the cross check alone): rustup target add {ARM}"
        ));
    }
    Ok(())
}

/// Whether the toolchain can compile for `name`, after asking rustup for it.
fn target(work: &mut Work, name: &str) -> Result<bool> {
    if has_target(name)? {
        return Ok(true);
    }
    if ask("rustup", &["--version"]).is_none() {
        return Ok(false);
    }
    work.try_stage(
        &format!("fetching Rust's {name}"),
        Command::new("rustup").args(["target", "add", name]),
    )?;
    has_target(name)
}

fn has_target(name: &str) -> Result<bool> {
    let sysroot = ask("rustc", &["--print", "sysroot"]).context("rustc did not run")?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib").join(name).join("lib").is_dir())
}

/// Rust links with the system's C compiler. No dependency wants more of the
/// system than that: no pkg-config, no library.
fn linker(work: &mut Work) -> Result<()> {
    if ask("cc", &["--version"]).is_some() {
        return Ok(());
    }
    if rustix::process::geteuid().is_root() && ask("apt-get", &["--version"]).is_some() {
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive");
        install.args(["install", "--yes", "--no-install-recommends", "gcc", "libc6-dev"]);
        work.try_stage(
            "asking apt what there is",
            Command::new("apt-get").args(["update", "--quiet"]),
        )?;
        return work.stage("installing a C compiler to link with", &mut install);
    }
    say("no `cc` found: Rust needs a C compiler to link with");
    bail!("install one (Debian: `apt-get install gcc libc6-dev`) and run this again")
}

/// The supervisors that the benchmark measures itself against; without them
/// their rows say so.
pub fn peers(work: &mut Work) -> Result<()> {
    let missing: Vec<&str> = [("monit", "monit"), ("supervisord", "supervisor")]
        .into_iter()
        .filter(|(program, _)| ask(program, &["--version"]).is_none())
        .map(|(_, package)| package)
        .collect();
    debian(work, "the benchmark's peers", &missing)
}

/// What others wrote and the stories run unchanged; without it those stories say
/// so.
pub fn others(work: &mut Work) -> Result<()> {
    let missing: Vec<_> = [
        ("/usr/lib/nagios/plugins/check_tcp", "monitoring-plugins-basic"),
        ("/usr/sbin/mosquitto", "mosquitto"),
    ]
    .into_iter()
    .filter(|(file, _)| !Path::new(file).exists())
    .map(|(_, package)| package)
    .collect();
    debian(work, "checks for Nagios and an MQTT broker", &missing)
}

/// Where root may ask apt for them.
fn debian(work: &mut Work, what: &str, missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    if rustix::process::geteuid().is_root() && ask("apt-get", &["--version"]).is_some() {
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive");
        install.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(missing);
        work.try_stage(
            "asking apt what there is",
            Command::new("apt-get").args(["update", "--quiet"]),
        )?;
        if work.try_stage(&format!("installing {what}"), &mut install)? {
            return Ok(());
        }
    }
    work.lack(format!("{what}: {}", missing.join(", ")));
    Ok(())
}
