//! One value as it lies in the database, and how to know it again.
//!
//! Every value is a cell: it names what it is and carries its own length and
//! CRC, so that it can be found in the raw bytes of a file that sled no longer
//! reads. Invariant: a cell is at most [`CELL_MAX`] bytes, because sled writes
//! large pages to side files that it never syncs; what is longer is cut in parts.
//!
//! ```text
//! magic 4 | crc32 of the rest 4 | len 2 | space 1 | class 1 | flags 1 | 0 | part 2 | parts 2
//!         | stamp 8 | seq 8 | prev 8 | incident 8 | payload (len)          little endian
//! ```

use crate::model::event::Class;
use crate::model::{IncidentId, Seq};

const MAGIC: [u8; 4] = [0xC5, b'h', b'm', 0x01];
const HEAD_LEN: usize = 50;
/// Payload bytes of one part. sled splits a leaf above 16 values and moves a
/// page above 128 KiB to a side file: sixteen parts stay well below.
pub const PART_MAX: usize = 4096;
pub const CELL_MAX: usize = HEAD_LEN + PART_MAX;

const CLOSES: u8 = 1;

/// What a cell belongs to; the byte is also the first of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    Journal,
    Checkpoint,
    /// A gap that was found and is not yet told in the journal.
    Gap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub space: Space,
    pub class: Class,
    /// The record closes its incident.
    pub closes: bool,
    pub part: u16,
    pub parts: u16,
    /// Grows with every write, across restarts: of two cells with one name the
    /// higher is the one that counts.
    pub stamp: u64,
    pub seq: Seq,
    /// The record before this one; a record whose predecessor is absent shows a hole.
    pub prev: Seq,
    /// Zero for none.
    pub incident: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell<'a> {
    pub head: Head,
    pub payload: &'a [u8],
}

impl Space {
    pub fn byte(self) -> u8 {
        match self {
            Self::Journal => b'j',
            Self::Checkpoint => b'c',
            Self::Gap => b'g',
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Journal, Self::Checkpoint, Self::Gap].into_iter().find(|s| s.byte() == byte)
    }
}

impl Head {
    /// For a cell that is no record.
    pub fn plain(space: Space, stamp: u64) -> Self {
        Self {
            space,
            class: Class::Audit,
            closes: false,
            part: 0,
            parts: 1,
            stamp,
            seq: 0,
            prev: 0,
            incident: 0,
        }
    }
}

/// Cuts `payload` into cells; an empty payload still makes one.
pub fn encode(head: Head, payload: &[u8]) -> impl Iterator<Item = (u16, Vec<u8>)> {
    let parts = u16::try_from(payload.len().div_ceil(PART_MAX).max(1))
        .expect("a record is bounded far below 65535 parts");
    (0..parts).map(move |part| {
        let from = usize::from(part) * PART_MAX;
        let to = payload.len().min(from + PART_MAX);
        (part, encode_one(Head { part, parts, ..head }, &payload[from..to]))
    })
}

pub fn encode_one(head: Head, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a part is at most PART_MAX bytes");
    let (class, incident) = match head.class {
        Class::Telemetry => (0, head.incident),
        Class::Incident(id) => (1, id.0),
        Class::Audit => (2, head.incident),
    };
    let mut out = Vec::with_capacity(HEAD_LEN + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[head.space.byte(), class, if head.closes { CLOSES } else { 0 }, 0]);
    out.extend_from_slice(&head.part.to_le_bytes());
    out.extend_from_slice(&head.parts.to_le_bytes());
    for word in [head.stamp, head.seq, head.prev, incident] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The cell that begins with these bytes; none if it is cut or altered.
pub fn decode(bytes: &[u8]) -> Option<Cell<'_>> {
    if bytes.len() < HEAD_LEN || bytes[..4] != MAGIC {
        return None;
    }
    let len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let whole = bytes.get(..HEAD_LEN + len)?;
    if crc32fast::hash(&whole[8..]).to_le_bytes() != whole[4..8] {
        return None;
    }
    let short = |at: usize| u16::from_le_bytes([whole[at], whole[at + 1]]);
    let word = |at: usize| {
        u64::from_le_bytes(whole[at..at + 8].try_into().expect("the slice is eight bytes long"))
    };
    let incident = word(42);
    let class = match whole[11] {
        0 => Class::Telemetry,
        1 => Class::Incident(IncidentId(incident)),
        2 => Class::Audit,
        _ => return None,
    };
    let head = Head {
        space: Space::from_byte(whole[10])?,
        class,
        closes: whole[12] & CLOSES != 0,
        part: short(14),
        parts: short(16),
        stamp: word(18),
        seq: word(26),
        prev: word(34),
        incident,
    };
    Some(Cell { head, payload: &whole[HEAD_LEN..] })
}

/// Every intact cell in `bytes`, with the place where it begins.
pub fn scan(bytes: &[u8]) -> impl Iterator<Item = (usize, Cell<'_>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = &bytes[at..];
            let begin = at + rest.windows(MAGIC.len()).position(|window| window == MAGIC)?;
            match decode(&bytes[begin..]) {
                Some(cell) => {
                    at = begin + HEAD_LEN + cell.payload.len();
                    return Some((begin, cell));
                }
                None => at = begin + 1,
            }
        }
    })
}

/// `j` SEQ PART: records in order.
pub fn journal_key(seq: Seq, part: u16) -> [u8; 11] {
    let mut key = [0; 11];
    key[0] = Space::Journal.byte();
    key[1..9].copy_from_slice(&seq.to_be_bytes());
    key[9..].copy_from_slice(&part.to_be_bytes());
    key
}

/// `i` INCIDENT SEQ, with no value: which records belong to an incident.
pub fn incident_key(incident: u64, seq: Seq) -> [u8; 17] {
    let mut key = [0; 17];
    key[0] = b'i';
    key[1..9].copy_from_slice(&incident.to_be_bytes());
    key[9..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// `c` NAME 0 PART.
pub fn checkpoint_key(plugin: &str, part: u16) -> Vec<u8> {
    let mut key = vec![Space::Checkpoint.byte()];
    key.extend_from_slice(plugin.as_bytes());
    key.push(0);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            space: Space::Journal,
            class: Class::Incident(IncidentId(40)),
            closes: true,
            part: 0,
            parts: 1,
            stamp: 7,
            seq: 42,
            prev: 41,
            incident: 40,
        }
    }

    #[test]
    fn a_cell_comes_back_as_it_was() {
        let bytes = encode_one(head(), b"hello");
        assert_eq!(decode(&bytes), Some(Cell { head: head(), payload: b"hello" }));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let bytes = encode_one(head(), b"hello");
        for at in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[at / 8] ^= 1 << (at % 8);
            assert_eq!(decode(&altered), None, "bit {at}");
        }
    }

    #[test]
    fn cells_are_found_among_garbage_and_beside_broken_ones() {
        let mut bytes = vec![0xC5, b'h', 0, 9];
        bytes.extend(encode_one(head(), b"first"));
        let broken = bytes.len() + 20;
        bytes.extend(encode_one(head(), b"second"));
        bytes[broken] ^= 1;
        bytes.extend(encode_one(head(), b"third"));
        bytes.extend(&encode_one(head(), b"cut")[..30]);
        let found: Vec<_> = scan(&bytes).map(|(_, cell)| cell.payload).collect();
        assert_eq!(found, [b"first".as_slice(), b"third"]);
    }

    #[test]
    fn what_is_long_is_cut_in_parts_and_what_is_empty_is_one() {
        let long = vec![1; 2 * PART_MAX + 1];
        let cut: Vec<_> = encode(head(), &long).collect();
        assert_eq!(cut.len(), 3);
        assert!(cut.iter().all(|(_, bytes)| bytes.len() <= CELL_MAX));
        assert_eq!(decode(&cut[2].1).map(|cell| (cell.head.part, cell.head.parts)), Some((2, 3)));
        assert_eq!(encode(head(), b"").count(), 1);
    }
}
