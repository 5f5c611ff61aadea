//! The whole demonstration by a user who may do nothing on this machine, in a
//! folder of his own: what Homeostat promises needs no root.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use homeostat_tests::plan::path;
use homeostat_tests::process::is_root;
use homeostat_tests::wait::{Seen, wait_until};
use homeostat_tests::{program, skip, testbox, user};
use tempfile::TempDir;

use crate::doctor;

/// What the demonstration gives itself, and a little for its end.
const PATIENCE: Duration = Duration::from_secs(200);

fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("homeostat-").tempdir();
    let folder = folder.expect("a temporary folder can be made");
    user::give(folder.path());
    folder
}

/// The demonstration, its records kept in `folder`.
fn demo(folder: &Path) -> Result<Command, &'static str> {
    let mut command = user::command(&program::program("homeostat-demo"))?;
    command.arg(folder.join("records")).env("TMPDIR", folder).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}

/// Killed with all that it started, if the story ends before it does.
struct Shown<'f>(Child, &'f Path);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        testbox::sweep(self.1);
    }
}

#[test]
fn an_ordinary_user_sees_the_whole_demonstration_and_is_told_what_he_lacks() {
    let folder = folder();
    let mut command = match demo(folder.path()) {
        Ok(command) => command,
        Err(why) => return skip::note(why),
    };
    let mut shown = Shown(command.spawn().expect("it can be started"), folder.path());
    let status = wait_until(PATIENCE, "the demonstration to end", || {
        Seen::some(shown.0.try_wait().expect("it is our child"), || "it goes on".into())
    });
    let mut said = String::new();
    let stdout = shown.0.stdout.as_mut().expect("it was piped");
    stdout.read_to_string(&mut said).expect("it speaks UTF-8");
    println!("{said}");
    assert!(status.success(), "{status}:\n{said}");
    assert!(said.contains("Healed, both"), "{said}");

    let records = folder.path().join("records");
    for name in ["journal.jsonl", "client.jsonl", "injector.jsonl", "homeostat.toml"] {
        assert!(records.join(name).exists(), "{name} is kept");
    }
    doctored(&records.join("homeostat.toml"));
}

/// The doctor says that all of it can be done, and what by halves.
#[track_caller]
fn doctored(config: &Path) {
    let mut command = user::command(&program::program("homeostat")).expect("it just could");
    let run = command.args(["doctor", "--json", "--config", &path(config)]).output();
    let run = run.expect("the doctor can be started");
    let told = doctor::told(&run);
    for (name, (verdict, words)) in told.iter().filter(|(_, (verdict, _))| verdict != "ok") {
        println!("{verdict} {name}: {words}");
    }
    for name in ["configuration", "state", "run", "pidfd", "homeostat-shim", "plugin ladder"] {
        doctor::expect(&told, name, "ok");
    }
    doctor::expect(&told, "user", "lacks");
    if is_root() {
        doctor::expect(&told, "cgroup", "lacks");
    }
    assert_eq!(run.status.code(), Some(0), "what it lacks it does without: {told:#?}");
}
