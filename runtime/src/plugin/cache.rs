//! Native code that this box sealed: compiled once, loaded at every start.
//!
//! Invariant: loading native code is trust, so no byte of a file comes out
//! unless its MAC holds, under a key that only the daemon reads, over those
//! very bytes, the component they came from and the engine they are for. A
//! file that fails is dropped, and the code is built anew.
//!
//! ```text
//! <state>/seal.key                32 random bytes, 0600
//! <state>/cache/<sha256>.native   "HSTSEAL1", HMAC-SHA256, code
//! MAC over: "HSTSEAL1", len+fingerprint, len+component digest, code
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::compile::NATIVE_BYTES_MAX;

const MAGIC: &[u8; 8] = b"HSTSEAL1";
const MAC_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const SUFFIX: &str = ".native";
/// All files together; the oldest go first.
const CACHE_BYTES_MAX: u64 = 128 << 20;

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("cannot {what} {}: {source}; plugins are compiled at every start until it can", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("no random bytes for the sealing key: {0}")]
    Random(getrandom::Error),
}

/// What became of a look-up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Code(Vec<u8>),
    Nothing,
    /// There was a file, and it was dropped.
    Dropped(String),
}

pub(super) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    fingerprint: String,
}

// The key stays out of every log.
impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the cache under the state folder; makes folder and key if need be.
    pub(super) fn open(state: &Path, fingerprint: String) -> Result<Self, CacheError> {
        let dir = state.join("cache");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(io_error("make", &dir))?;
        Ok(Self { dir, key: seal_key(&state.join("seal.key"))?, fingerprint })
    }

    /// The code sealed for the component of that digest. The file is read once
    /// and the bytes that were checked are the bytes that are returned.
    pub(super) fn get(&self, digest: &str) -> Found {
        let path = self.path(digest);
        let bytes = match read_capped(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return self.drop_entry(digest, &error.to_string()),
        };
        match self.unseal(digest, bytes) {
            Some(code) => Found::Code(code),
            None => self.drop_entry(
                digest,
                "its seal does not hold: altered, or made for another engine, CPU or box",
            ),
        }
    }

    /// Seals and keeps `code`. Whole or not at all.
    pub(super) fn put(&self, digest: &str, code: &[u8]) -> Result<(), CacheError> {
        let path = self.path(digest);
        let sealed = [&MAGIC[..], &self.mac(digest, code).finalize().into_bytes(), code].concat();
        self.make_room(sealed.len() as u64, digest);
        write_whole(&path, &sealed).map_err(io_error("write", &path))
    }

    /// Removes what was there and was no good, such as code that wasmtime refuses.
    pub(super) fn drop_entry(&self, digest: &str, why: &str) -> Found {
        // If it cannot be removed it will fail the same way next time.
        let _ = fs::remove_file(self.path(digest));
        Found::Dropped(why.to_owned())
    }

    /// Removes what no plugin of this box needs any more.
    pub(super) fn retain(&self, digests: &BTreeSet<String>) {
        for entry in self.entries() {
            if !entry.digest.as_ref().is_some_and(|digest| digests.contains(digest)) {
                let _ = fs::remove_file(&entry.path);
            }
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        debug_assert!(digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        self.dir.join(format!("{digest}{SUFFIX}"))
    }

    fn mac(&self, digest: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(MAGIC);
        for part in [self.fingerprint.as_bytes(), digest.as_bytes()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.update(code);
        mac
    }

    fn unseal(&self, digest: &str, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        let (tag, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(MAC_BYTES)?;
        self.mac(digest, code).verify_slice(tag).ok()?;
        bytes.drain(..MAGIC.len() + MAC_BYTES);
        Some(bytes)
    }

    fn make_room(&self, wanted: u64, for_digest: &str) {
        let mut entries = self.entries();
        entries.sort_by_key(|entry| entry.modified);
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        for entry in entries {
            if total + wanted <= CACHE_BYTES_MAX {
                return;
            }
            if entry.digest.as_deref() != Some(for_digest) && fs::remove_file(&entry.path).is_ok() {
                total -= entry.size;
            }
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let Ok(dir) = fs::read_dir(&self.dir) else { return Vec::new() };
        let entries = dir.flatten().filter_map(|entry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            Some(Entry {
                path: entry.path(),
                digest: digest.map(str::to_owned),
                size: meta.len(),
                modified: (meta.mtime(), meta.mtime_nsec()),
            })
        });
        entries.collect()
    }
}

struct Entry {
    path: PathBuf,
    /// None for a file left half-written.
    digest: Option<String>,
    size: u64,
    modified: (i64, i64),
}

/// The box's key, made at first use. One that others could read is worth
/// nothing: it is replaced, and with it every seal.
fn seal_key(path: &Path) -> Result<[u8; KEY_BYTES], CacheError> {
    if let Some(key) = read_key(path).map_err(io_error("read", path))? {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(CacheError::Random)?;
    write_whole(path, &key).map_err(io_error("write", path))?;
    Ok(key)
}

fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
        tracing::warn!(
            path = %path.display(),
            "the sealing key could be read by others; making a new one, plugins are compiled anew"
        );
        return Ok(None);
    }
    let mut key = [0; KEY_BYTES];
    match file.read_exact(&mut key) {
        Ok(()) if meta.len() == KEY_BYTES as u64 => Ok(Some(key)),
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_capped(path: &Path) -> io::Result<Vec<u8>> {
    let max = (MAGIC.len() + MAC_BYTES + NATIVE_BYTES_MAX) as u64;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() || file.metadata()?.len() > max {
        return Err(io::Error::other("it is no file of ours"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata()?.len()).unwrap_or(0));
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Beside it first, then in its place: a crash leaves the old or the new.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

fn io_error<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> CacheError + 'a {
    move |source| CacheError::Io { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
