//! The log's form: frames, each one commit.
//!
//! ```text
//! frame   = length of the changes u32, checksum u32 of all that follows, number u64, changes
//! change  = what u8 (1 put, 2 delete), length of the key u16, length of the value u32, key, value
//! ```
//! All numbers are little-endian. Invariant: what `read` returns was written whole, and in this order: the
//! checksum covers the frame's number, which is one more than that of the frame before it.

/// The bytes of a frame before its changes.
const HEAD: usize = 16;

/// The bytes of a change before its key.
const CHANGE_HEAD: usize = 7;

/// The most bytes of changes in a frame, so that a damaged length is not taken for a large frame.
pub const CHANGES_MAX: usize = 64 << 20;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// One thing that a commit does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key has this value from now on.
    Put(String, Vec<u8>),
    /// The key has none.
    Delete(String),
}

/// What stands at a place in a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole frame: its changes, and how many bytes it takes.
    Whole(Vec<Change>, usize),
    /// The log ends here.
    End,
    /// A frame that was not written to its end; nothing can follow it.
    Torn,
    /// Bytes that no interrupted write leaves behind.
    Damaged,
}

/// The frame of a commit.
#[must_use]
pub fn write(number: u64, changes: &[Change]) -> Vec<u8> {
    let mut frame = vec![0; 8];
    frame.extend(number.to_le_bytes());
    for change in changes {
        let (what, key, value) = match change {
            Change::Put(key, value) => (PUT, key, value.as_slice()),
            Change::Delete(key) => (DELETE, key, &[][..]),
        };
        frame.push(what);
        frame.extend(u16::try_from(key.len()).unwrap_or(u16::MAX).to_le_bytes());
        frame.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        frame.extend(key.as_bytes());
        frame.extend(value);
    }
    let length = u32::try_from(frame.len().saturating_sub(HEAD)).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(frame.get(8..).unwrap_or_default());
    for (to, from) in frame.iter_mut().zip(length.to_le_bytes().into_iter().chain(sum.to_le_bytes())) {
        *to = from;
    }
    frame
}

/// Reads the frame with this number at the beginning of `log`, which is all there is from there on.
#[must_use]
pub fn read(log: &[u8], number: u64) -> Read {
    if log.is_empty() {
        return Read::End;
    }
    let Some((head, rest)) = log.split_first_chunk::<HEAD>() else { return Read::Torn };
    let [l0, l1, l2, l3, s0, s1, s2, s3, ..] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let sum = u32::from_le_bytes([s0, s1, s2, s3]);
    // The last write may be cut short, or, after a power cut, have holes; either way it reaches the end.
    let unfinished = if rest.len() <= length.min(CHANGES_MAX) { Read::Torn } else { Read::Damaged };
    let Some(changes) = rest.get(..length) else { return unfinished };
    if crc32fast::hash(log.get(8..HEAD + length).unwrap_or_default()) != sum {
        return unfinished;
    }
    let ours = log.get(8..HEAD).is_some_and(|bytes| bytes == number.to_le_bytes());
    match parse(changes) {
        Some(changes) if ours => Read::Whole(changes, HEAD + length),
        _ => Read::Damaged,
    }
}

fn parse(mut bytes: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let ([what, k0, k1, v0, v1, v2, v3], rest) = bytes.split_first_chunk::<CHANGE_HEAD>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes([*k0, *k1]).into())?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes([*v0, *v1, *v2, *v3]) as usize)?;
        let key = String::from_utf8(key.to_vec()).ok()?;
        changes.push(match *what {
            PUT => Change::Put(key, value.to_vec()),
            DELETE => Change::Delete(key),
            _ => return None,
        });
        bytes = rest;
    }
    Some(changes)
}
