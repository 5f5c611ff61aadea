//! The key of a box's own root, for a box that has nobody else's.
//!
//! Invariant: a file that only its owner reads, made once; it never leaves the box.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};

#[derive(Debug, thiserror::Error)]
pub enum LocalKeyError {
    #[error("the key of this box's own root, {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error(
        "the key of this box's own root, {}, has mode {mode:03o}, so others may have read it; \
         remove it, and the box makes another, which can revoke nothing more under the old root",
        path.display()
    )]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the key of this box's own root, {}, has {found} bytes instead of 32", path.display())]
    Malformed { path: PathBuf, found: usize },
    #[error("the kernel gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// `root.key` of the state directory, made where there is none.
pub fn local_key(state: &Path) -> Result<SigningKey, LocalKeyError> {
    let path = state.join("root.key");
    let failed = |why| LocalKeyError::Io { path: path.clone(), why };
    match File::open(&path) {
        Ok(file) => read(&path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = [0; SECRET_KEY_LENGTH];
            getrandom::fill(&mut seed).map_err(LocalKeyError::Random)?;
            make(&path, &seed).map_err(failed)?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(why) => Err(failed(why)),
    }
}

fn read(path: &Path, file: File) -> Result<SigningKey, LocalKeyError> {
    let failed = |why| LocalKeyError::Io { path: path.to_owned(), why };
    // Of the open file: nobody can swap it in between.
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(LocalKeyError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(SECRET_KEY_LENGTH as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let found = bytes.len();
    let seed = bytes.try_into();
    let seed = seed.map_err(|_| LocalKeyError::Malformed { path: path.to_owned(), found })?;
    Ok(SigningKey::from_bytes(&seed))
}

/// Whole, or not at all.
fn make(path: &Path, seed: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("unfinished");
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(seed)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_only_its_owner_reads_it() {
        let state = tempfile::tempdir().unwrap();
        let made = local_key(state.path()).unwrap();
        let path = state.path().join("root.key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(local_key(state.path()).unwrap().to_bytes(), made.to_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = local_key(state.path()).unwrap_err();
        assert!(matches!(error, LocalKeyError::Exposed { mode: 0o644, .. }), "{error}");
    }

    #[test]
    fn one_that_was_cut_short_is_refused_and_not_written_over() {
        let state = tempfile::tempdir().unwrap();
        make(&state.path().join("root.key"), b"short").unwrap();
        let error = local_key(state.path()).unwrap_err();
        assert!(matches!(error, LocalKeyError::Malformed { found: 5, .. }), "{error}");
    }
}
