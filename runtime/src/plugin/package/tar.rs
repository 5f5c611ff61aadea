//! The tar of a plugin file, stricter than tar: plain files only, each name
//! once, nothing behind the end.
//!
//! A general tar reader knows links, sparse files, long-name and pax records:
//! each is a way to say one thing to a checker and another to an unpacker.
//! Here the header is read by the `tar` crate and everything else is refused.

use ::tar::{EntryType, Header};

use super::PackageError;

const BLOCK: usize = 512;
/// GNU tar pads its archives to 20 blocks.
pub(super) const END_BYTES_MAX: usize = 20 * BLOCK;

pub(super) struct Entry<'a> {
    pub path: &'a str,
    pub bytes: &'a [u8],
}

/// All files of the archive, in their order.
pub(super) fn entries(bytes: &[u8], entries_max: usize) -> Result<Vec<Entry<'_>>, PackageError> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut at = 0;
    loop {
        let block = take(bytes, at, BLOCK, || "a tar header".into())?;
        if block.iter().all(|byte| *byte == 0) {
            check_end(&bytes[at..])?;
            return Ok(entries);
        }
        if entries.len() == entries_max {
            return Err(malformed(format!("it has more than {entries_max} entries")));
        }
        let (path, size) = read_header(block)?;
        if entries.iter().any(|entry| entry.path == path) {
            return Err(malformed(format!("the entry {path:?} is there twice")));
        }
        at += BLOCK;
        let content = take(bytes, at, size, || path.to_owned())?;
        let padded = size.next_multiple_of(BLOCK);
        let padding = take(bytes, at + size, padded - size, || path.to_owned())?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(malformed(format!("there is data behind the end of {path:?}")));
        }
        at += padded;
        entries.push(Entry { path, bytes: content });
    }
}

fn read_header(block: &[u8]) -> Result<(&str, usize), PackageError> {
    let header = Header::from_byte_slice(block);
    let sum: u32 = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum::<u32>()
        + 8 * u32::from(b' ');
    if header.cksum().ok() != Some(sum) {
        return Err(malformed("the checksum of a tar header does not hold".into()));
    }
    let path = name(block)?;
    if header.entry_type() != EntryType::Regular {
        return Err(malformed(format!(
            "the entry {path:?} is of tar type {:?}, wanted a plain file",
            char::from(header.entry_type().as_byte())
        )));
    }
    if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(malformed(format!("the entry {path:?} leads out of the archive")));
    }
    let size = header.entry_size().ok().and_then(|size| usize::try_from(size).ok());
    let size = size.filter(|size| *size <= super::PACKAGE_BYTES_MAX);
    Ok((path, size.ok_or_else(|| malformed(format!("the size of {path:?} does not read")))?))
}

/// The name field of a ustar header. Its prefix field must be empty: none of
/// our names is so long, and two spellings of one name are one too many.
fn name(block: &[u8]) -> Result<&str, PackageError> {
    let field = &block[..100];
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let clean = field[end..].iter().chain(&block[345..]).all(|byte| *byte == 0);
    let name = std::str::from_utf8(&field[..end]).ok().filter(|name| clean && !name.is_empty());
    name.ok_or_else(|| malformed("an entry's name does not read".into()))
}

fn check_end(end: &[u8]) -> Result<(), PackageError> {
    if end.len() < 2 * BLOCK {
        return Err(PackageError::Truncated {
            what: "the end of the archive".into(),
            wanted: 2 * BLOCK,
            found: end.len(),
        });
    }
    if end.len() > END_BYTES_MAX || end.iter().any(|byte| *byte != 0) {
        return Err(malformed("there is data behind the end of the archive".into()));
    }
    Ok(())
}

fn take(
    bytes: &[u8],
    at: usize,
    len: usize,
    what: impl FnOnce() -> String,
) -> Result<&[u8], PackageError> {
    bytes.get(at..at + len).ok_or_else(|| PackageError::Truncated {
        what: what(),
        wanted: at + len,
        found: bytes.len(),
    })
}

fn malformed(why: String) -> PackageError {
    PackageError::Malformed { why }
}

/// Writes the same bytes for the same entries: no owner, no time.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// `path` fits the 100 bytes of a ustar name; the reader checks.
    pub(super) fn append(&mut self, path: &str, content: &[u8]) {
        let mut header = Header::new_ustar();
        let name = path.as_bytes();
        let fits = name.len().min(100);
        header.as_old_mut().name[..fits].copy_from_slice(&name[..fits]);
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.out.extend_from_slice(header.as_bytes());
        self.out.extend_from_slice(content);
        self.out.resize(self.out.len().next_multiple_of(BLOCK), 0);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.resize(self.out.len() + 2 * BLOCK, 0);
        self.out
    }
}
