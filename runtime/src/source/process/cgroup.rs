//! The processes of a cgroup and of the cgroups below it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{MEMBERS_MAX, Page, lines, malformed, number};

/// A workload that nests deeper than this is read down to here.
const DEPTH_MAX: u32 = 8;

pub(super) fn members(dir: &Path, page: &mut Page, into: &mut Vec<u32>) -> io::Result<()> {
    collect(dir, DEPTH_MAX, page, into)
}

fn collect(dir: &Path, depth: u32, page: &mut Page, into: &mut Vec<u32>) -> io::Result<()> {
    for line in lines(page.read(&dir.join("cgroup.procs"))?) {
        // 0 stands for a process of a pid namespace that is not ours.
        into.push(number(line).filter(|pid| *pid > 0).ok_or_else(malformed)?);
    }
    // A folder's link count tells whether it has folders in it, where it tells
    // anything; cgroup2 does.
    let childless = fs::metadata(dir)?.nlink() == 2;
    if childless || depth == 0 || into.len() > MEMBERS_MAX {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match collect(&entry.path(), depth - 1, page, into) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // A child that is gone by now holds no process.
                _ => {}
            }
        }
    }
    Ok(())
}
