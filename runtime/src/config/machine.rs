//! What the meaning of a file depends on outside the file: host name, users,
//! groups, where our programs lie; and reading files that must be trusted.
//!
//! Invariant: the only part of the room that touches the machine, so a test
//! can pretend one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A configuration is some hundred lines.
const FILE_LEN_MAX: u64 = 1 << 20;

#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub hostname: String,
    /// The folder of the running program.
    pub programs: PathBuf,
    /// uid by user name.
    pub users: BTreeMap<String, u32>,
    /// gid by group name.
    pub groups: BTreeMap<String, u32>,
}

/// Why a file cannot be taken at its word, as what was found and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub found: String,
    pub hint: String,
}

impl Machine {
    /// This machine. What cannot be read is left empty: only a file that
    /// depends on it then has a mistake.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let exe = std::env::current_exe().unwrap_or_default();
        Self {
            hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
            programs: exe.parent().unwrap_or(Path::new("/usr/bin")).to_owned(),
            users: ids(&read("/etc/passwd")),
            groups: ids(&read("/etc/group")),
        }
    }
}

/// Name and third field of each line of a passwd or group file.
fn ids(text: &str) -> BTreeMap<String, u32> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
        })
        .collect()
}

/// Reads a file that only root or its owner can have written. What is checked
/// is what is read: the same open file.
pub(super) fn read_trusted(path: &Path) -> Result<String, Unreadable> {
    let unreadable = |error: std::io::Error| Unreadable {
        found: format!("{error}"),
        hint: match error.kind() {
            std::io::ErrorKind::NotFound => "check the path".into(),
            std::io::ErrorKind::PermissionDenied => "run it as root, or as the file's owner".into(),
            _ => "the file must be plain UTF-8 text".into(),
        },
    };
    let file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Unreadable {
            found: "something that is not a plain file".into(),
            hint: "give the path of the file itself".into(),
        });
    }
    check_writers(meta.mode(), meta.uid(), meta.gid(), path)?;
    if meta.len() > FILE_LEN_MAX {
        return Err(Unreadable {
            found: format!("{} bytes", meta.len()),
            hint: format!("it may have {FILE_LEN_MAX} bytes at most"),
        });
    }
    let mut text = String::new();
    file.take(FILE_LEN_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Reads a file that nobody but root or its owner can read.
pub(super) fn read_secret(path: &Path) -> Result<String, Unreadable> {
    let text = read_trusted(path)?;
    let meta = std::fs::metadata(path).map_err(|error| Unreadable {
        found: error.to_string(),
        hint: "leave the file in its place while it is read".into(),
    })?;
    match meta.mode() & 0o077 {
        0 => Ok(text),
        _ => Err(Unreadable {
            found: format!("mode {:03o}: others can read it", meta.mode() & 0o777),
            hint: format!("it is no secret then: chmod 600 {}", path.display()),
        }),
    }
}

/// Who can write this file decides what the daemon runs as root. A group that
/// is the owner's own (its gid is the uid, as user-private groups have it) or
/// root's adds nobody.
fn check_writers(mode: u32, uid: u32, gid: u32, path: &Path) -> Result<(), Unreadable> {
    let who = match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => "everybody".to_owned(),
        (_, true) if gid != 0 && gid != uid => format!("group {gid}"),
        _ => return Ok(()),
    };
    Err(Unreadable {
        found: format!("mode {:03o}: {who} can write it", mode & 0o777),
        hint: format!("whoever writes it commands this box: chmod go-w {}", path.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_write_is_not_trusted() {
        for (mode, uid, gid, trusted) in [
            (0o100644, 0, 0, true),
            (0o100600, 1000, 1000, true),
            (0o100664, 0, 0, true),
            (0o100664, 1000, 1000, true),
            (0o100664, 0, 50, false),
            (0o100664, 1000, 50, false),
            (0o100646, 0, 0, false),
        ] {
            let checked = check_writers(mode, uid, gid, Path::new("f"));
            assert_eq!(checked.is_ok(), trusted, "{mode:o} {uid} {gid}: {checked:?}");
        }
    }

    #[test]
    fn users_and_groups_are_read_from_their_files() {
        let ids = ids("root:x:0:0:root:/root:/bin/sh\nbroken\nanna:x:1000:1000::/home/anna:\n");
        assert_eq!(ids, BTreeMap::from([("root".into(), 0), ("anna".into(), 1000)]));
    }
}
