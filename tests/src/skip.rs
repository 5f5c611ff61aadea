//! A test that this machine cannot run says so, where `cargo xtask test` will
//! repeat it: a skipped test must not pass for a passed one.

use std::fs;

use crate::program;

/// Notes why the test that calls this was not run.
pub fn note(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").replace('/', "-");
    let folder = program::target().join("test-skips");
    let _ = fs::create_dir_all(&folder);
    let _ = fs::write(folder.join(&test), why);
    eprintln!("SKIPPED {test}: {why}");
}
