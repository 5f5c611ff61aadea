//! The small programs beside the daemon: there, executable, and of this machine.
//!
//! Invariant: started without what they work on, both say so and end with 2;
//! anything else is not the program that is wanted.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Check;

/// Both end at once; a machine that swaps may need a moment.
const RUN_DEADLINE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const NOTHING_TO_DO: i32 = 2;

pub(super) fn checks(programs: &Path) -> [Check; 2] {
    [
        check("homeostat-shim", programs, "no workload can be started"),
        check("homeostat-compile", programs, "no plugin that was not compiled before can run"),
    ]
}

fn check(name: &str, programs: &Path, costs: &str) -> Check {
    let path = programs.join(name);
    let shown = path.display();
    let found = match run(&path) {
        Ok(status) if status.code() == Some(NOTHING_TO_DO) => {
            return Check::ok(name, shown.to_string());
        }
        Ok(status) => format!("{shown} ends with {status}, not with {NOTHING_TO_DO}"),
        Err(error) => format!("{shown}: {error}"),
    };
    let remedy = "install it beside homeostat, of the same version, or set paths.programs";
    Check::cannot(name, found, costs, remedy)
}

fn run(path: &Path) -> std::io::Result<ExitStatus> {
    let mut child = Command::new(path)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let ended = wait(&mut child);
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}

fn wait(child: &mut Child) -> std::io::Result<ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > RUN_DEADLINE {
            return Err(std::io::Error::other(format!("it does not end within {RUN_DEADLINE:?}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
