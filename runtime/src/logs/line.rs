//! One record of a CRI log: a time, a stream, whether the line is whole, and the text.

use jiff::Timestamp;

/// Which output a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Whether a record ends its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Full,
    Partial,
}

/// Appends a record to `out`.
pub(super) fn append(out: &mut Vec<u8>, at: Timestamp, stream: Stream, tag: Tag, text: &[u8]) {
    let tag = match tag {
        Tag::Full => "F",
        Tag::Partial => "P",
    };
    out.extend_from_slice(format!("{at:.9} {} {tag} ", stream.as_str()).as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// A record as it is read; its text borrows from the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) time: &'a str,
    pub(super) tag: Tag,
    pub(super) text: &'a [u8],
}

/// Parses a line of the file, without its end. Nothing if a crash cut it.
pub(super) fn parse(line: &[u8]) -> Option<Record<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let _stream = parts.next()?;
    let tag = match parts.next()? {
        b"F" => Tag::Full,
        b"P" => Tag::Partial,
        _ => return None,
    };
    Some(Record { time, tag, text: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut out = Vec::new();
        append(&mut out, Timestamp::UNIX_EPOCH, Stream::Stderr, Tag::Partial, b"a b ");
        assert_eq!(out, b"1970-01-01T00:00:00.000000000Z stderr P a b \n");
        let record = parse(out.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((record.tag, record.text), (Tag::Partial, b"a b ".as_slice()));
        assert_eq!(parse(b"1970-01-01T00:00:00Z stdo"), None);
    }
}
