//! What sled 0.34.7 will believe of its own file, worked out without sled.
//!
//! Opening a damaged database changes it: sled zeroes whatever lies behind the
//! first message it cannot read, and some damage makes it panic, at worst in a
//! thread of its own that others then wait for. So the file is walked first,
//! as sled's recovery walks it (`pagecache/iterator.rs`, `logger.rs`), and only
//! a file that reads is given to sled. Invariant: nothing here writes.
//!
//! A file is a row of segments. A segment begins with a header (crc, lsn,
//! stable lsn) and holds messages (crc, kind, length, segment number, page,
//! body) up to a cap or the first that does not read.

use std::ops::Range;

/// sled's default, and it refuses to open a file with another one.
pub const SEGMENT_LEN: usize = 512 * 1024;
/// Shortest distance to the segment's end at which a message may begin.
const MESSAGE_HEADER_MAX: usize = 32;
const SEGMENT_HEADER_LEN: usize = 20;

const KIND_CORRUPTED: u8 = 0;
const KIND_CANCELED: u8 = 1;
const KIND_CAP: u8 = 2;
const KIND_BATCH_MANIFEST: u8 = 3;
const KIND_MAX: u8 = 11;

/// A segment that begins with a header that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its place in the log.
    pub lsn: u64,
    /// Its place in the file.
    pub at: u64,
    /// The log was stable up to here when it was begun; negative for nowhere.
    stable: i64,
}

/// What was read of one segment.
#[derive(Debug, Default)]
pub struct Walk {
    /// Bodies of the messages that read, within the segment.
    pub bodies: Vec<Range<usize>>,
    /// Log position just behind the last of them.
    pub end_lsn: u64,
    /// It was read up to its cap, or to where no message fits any more.
    pub complete: bool,
    /// Batches begun: the log position they need, and how many bodies came before.
    batches: Vec<(u64, usize)>,
}

/// The header in these bytes, which lie at `at` in the file.
pub fn segment(bytes: &[u8], at: u64) -> Option<Segment> {
    let header = bytes.get(..SEGMENT_HEADER_LEN)?;
    let stored = u32_at(header, 0) ^ u32::MAX;
    if crc32fast::hash(&header[4..]) != stored {
        return None;
    }
    // The sign bit is left alone: positions are signed.
    let lsn = u64_at(header, 4) ^ (u64::MAX >> 1);
    let stable = (u64_at(header, 12) ^ (u64::MAX >> 1)).cast_signed();
    (lsn >> 63 == 0 && lsn.is_multiple_of(SEGMENT_LEN as u64)).then_some(Segment {
        lsn,
        at,
        stable,
    })
}

/// Where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// What lies before was stable when a later segment was begun: no crash
    /// can have torn it.
    pub stable: u64,
    /// What lies behind is not part of the log.
    pub end: u64,
}

/// Where sled will say that the log ends. Behind the newest place known to be
/// stable, segments must follow one another and each message must read; at the
/// first that does not, sled cuts. `segments` are in log order.
pub fn tail(segments: &[Segment], mut read: impl FnMut(u64) -> Vec<u8>) -> Tail {
    let stable = segments.iter().map(|segment| segment.stable).max().unwrap_or(0);
    let stable = u64::try_from(stable).unwrap_or(0);
    let first = stable / SEGMENT_LEN as u64 * SEGMENT_LEN as u64;
    let (mut expected, mut end) = (first, first);
    for segment in segments.iter().filter(|segment| segment.lsn >= first) {
        if segment.lsn != expected {
            break;
        }
        let walk = walk(&read(segment.at), segment.lsn);
        end = walk.end_lsn;
        if !walk.complete {
            break;
        }
        expected += SEGMENT_LEN as u64;
    }
    Tail { stable: first, end }
}

/// Reads messages until one does not read.
pub fn walk(segment: &[u8], lsn: u64) -> Walk {
    let number = lsn / SEGMENT_LEN as u64;
    let mut walk = Walk { end_lsn: lsn + SEGMENT_HEADER_LEN as u64, ..Walk::default() };
    let mut at = SEGMENT_HEADER_LEN;
    while at + MESSAGE_HEADER_MAX <= SEGMENT_LEN {
        let Some(message) = message(segment, at, number) else { return walk };
        if message.kind == KIND_CAP {
            break;
        }
        at = message.body.end;
        walk.end_lsn = lsn + at as u64;
        if message.kind == KIND_BATCH_MANIFEST && message.body.len() == 8 {
            walk.batches.push((u64_at(segment, message.body.start), walk.bodies.len()));
        }
        if message.kind != KIND_CANCELED {
            walk.bodies.push(message.body);
        }
    }
    walk.complete = true;
    walk
}

impl Walk {
    /// Forgets a batch that reaches behind `end`, where the log stops: sled
    /// drops such a batch whole, and with it what follows.
    pub fn cut(&mut self, end: u64) {
        if let Some((_, bodies)) = self.batches.iter().find(|(to, _)| *to >= end) {
            self.bodies.truncate(*bodies);
        }
    }
}

struct Message {
    kind: u8,
    body: Range<usize>,
}

fn message(segment: &[u8], at: usize, number: u64) -> Option<Message> {
    let bytes = segment.get(at..)?;
    if bytes.len() < 8 {
        return None;
    }
    let kind = bytes[4];
    if kind == KIND_CORRUPTED || kind > KIND_MAX {
        return None;
    }
    let mut cursor = 5;
    let len = varint(bytes, &mut cursor)?;
    let found_number = varint(bytes, &mut cursor)?;
    varint(bytes, &mut cursor)?;
    let end = cursor.checked_add(usize::try_from(len).ok()?)?;
    let body = bytes.get(cursor..end)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(&bytes[4..cursor]);
    if hasher.finalize() ^ u32::MAX != u32_at(bytes, 0) || found_number != number {
        return None;
    }
    Some(Message { kind, body: at + cursor..at + end })
}

/// sled's variable-length integer (`serialization.rs`, after SQLite 4).
fn varint(bytes: &[u8], cursor: &mut usize) -> Option<u64> {
    let byte = |at: usize| bytes.get(*cursor + at).map(|b| u64::from(*b));
    let first = byte(0)?;
    let (value, len) = match first {
        0..=240 => (first, 1),
        241..=248 => (240 + 256 * (first - 241) + byte(1)?, 2),
        249 => (2288 + 256 * byte(1)? + byte(2)?, 3),
        _ => {
            let len = usize::try_from(first - 247).ok()?;
            let value = (1..=len).rev().try_fold(0, |sum, at| Some((sum << 8) | byte(at)?))?;
            (value, len + 1)
        }
    };
    *cursor += len;
    Some(value)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("the slice is four bytes long"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("the slice is eight bytes long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_every_length_read_as_sled_writes_them() {
        for (bytes, value) in [
            (vec![240], 240),
            (vec![241, 1], 241),
            (vec![248, 255], 2287),
            (vec![249, 0, 0], 2288),
            (vec![250, 1, 2, 3], 0x03_02_01),
            (vec![255, 1, 0, 0, 0, 0, 0, 0, 0x80], 0x8000_0000_0000_0001),
        ] {
            let mut cursor = 0;
            assert_eq!(varint(&bytes, &mut cursor), Some(value), "{bytes:?}");
            assert_eq!(cursor, bytes.len());
            assert_eq!(varint(&bytes[..bytes.len() - 1], &mut 0), None);
        }
    }
}
