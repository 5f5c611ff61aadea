//! `homeostat-compile` itself: the other side of the pipes.

use std::io::{Read, Write};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{EXIT_REFUSED, frame};
use crate::plugin::engine::{CodeKind, compile};
use crate::plugin::package::COMPONENT_BYTES_MAX;

const EXIT_BROKEN: u8 = 2;
/// Ten times what our own plugins need, and still a bound on a 512 MB box.
const ADDRESS_SPACE_BYTES_MAX: u64 = 512 << 20;
const CPU_S_MAX: u64 = 120;

/// Reads a component, writes native code; the exit code says how it went.
pub fn main() -> ExitCode {
    let result = confine().and_then(|()| run());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Refused(why)) => fail(EXIT_REFUSED as u8, &why),
        Err(Failure::Broken(why)) => fail(EXIT_BROKEN, &why),
    }
}

enum Failure {
    /// The component's fault.
    Refused(String),
    /// Ours, or our caller's.
    Broken(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Gives up, before the first byte is read, what a compiler does not need.
fn confine() -> Result<(), Failure> {
    let limits = [
        (Resource::As, ADDRESS_SPACE_BYTES_MAX),
        (Resource::Cpu, CPU_S_MAX),
        (Resource::Fsize, 0),
        // No file ever after, not even in the place of a pipe that was closed;
        // those that are open stay so.
        (Resource::Nofile, 0),
        (Resource::Core, 0),
    ];
    for (resource, max) in limits {
        setrlimit(resource, Rlimit { current: Some(max), maximum: Some(max) })?;
    }
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

fn run() -> Result<(), Failure> {
    let usage = || {
        Failure::Broken("usage: homeostat-compile wide|narrow|metered, component on stdin".into())
    };
    let word = std::env::args().nth(1).ok_or_else(usage)?;
    let kind = CodeKind::from_word(&word).ok_or_else(usage)?;
    let mut component = Vec::new();
    std::io::stdin().take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut component)?;
    if component.len() > COMPONENT_BYTES_MAX {
        return Err(Failure::Refused(format!("it has more than {COMPONENT_BYTES_MAX} bytes")));
    }
    let native = compile(&component, kind).map_err(Failure::Refused)?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&frame(&native))?;
    Ok(stdout.flush()?)
}

fn fail(code: u8, why: &str) -> ExitCode {
    // Nobody may be listening any more; the exit code is the answer then.
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::from(code)
}
