//! An ordinary user: who may do nothing on this machine but what is everybody's.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use crate::process::is_root;

/// `nobody` on most machines, and in any case not us.
const NOBODY: u32 = 65_534;

/// Ready to run `program` as an ordinary user, which is ourselves where we are
/// no root; or why that cannot be.
pub fn command(program: &Path) -> Result<Command, &'static str> {
    if !is_root() {
        return Ok(Command::new(program));
    }
    // test(1) says whether he may, without starting anything.
    match becoming("test").arg("-x").arg(program).status() {
        Ok(may) if may.success() => {
            let mut command = becoming("env");
            command.arg(program);
            Ok(command)
        }
        Ok(_) => Err("the programs lie where an ordinary user may not go"),
        Err(_) => Err("no setpriv to become an ordinary user with"),
    }
}

fn becoming(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}"));
    command.args(["--clear-groups", program]);
    command
}

/// Makes `path` the ordinary user's own.
pub fn give(path: &Path) {
    if is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give away what is its own");
    }
}
