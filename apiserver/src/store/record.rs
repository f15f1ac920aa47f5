//! Records: the bytes in which an entry is kept on disk; [`super::redb`] describes them.
//!
//! Invariant: what is read back is the entry that was written, or an error that says what is wrong. The JSON is
//! checked to be JSON, so that nothing that reads an entry later has to fail.

use std::str;
use std::sync::OnceLock;

use bytes::Bytes;
use coracle_api::revision::Revision;
use serde::de::IgnoredAny;

use super::entry::Labels;
use super::{Entry, Key};

/// The first byte of a record whose JSON is kept as it is.
const RECORD_PLAIN: u8 = 1;

/// The record's form, and three numbers of eight bytes.
const RECORD_HEADER_BYTES: usize = 1 + 3 * 8;

/// A record that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// It ends early.
    #[error("it ends early")]
    Short,
    /// Its first byte is of no form that is known.
    #[error("its form {0} is unknown")]
    Form(u8),
    /// Its labels are no text.
    #[error("its labels are no text")]
    Labels,
    /// Its key names no object.
    #[error("its key names no object")]
    Key,
    /// Its revision was never given away.
    #[error("its revision lies in the future")]
    Revision,
    /// Its JSON does not parse.
    #[error("its content is no JSON")]
    Json,
    /// Its JSON does not hold its revision where it should.
    #[error("its revision is not where it should be")]
    Stamp,
}

impl Entry {
    /// The record that keeps it on disk.
    pub(super) fn record(&self) -> Vec<u8> {
        let labels = self.labels.0.as_bytes();
        let mut record = Vec::with_capacity(RECORD_HEADER_BYTES + labels.len() + self.bytes.len());
        record.push(RECORD_PLAIN);
        record.extend_from_slice(&self.revision.get().to_le_bytes());
        record.extend_from_slice(&(self.stamp as u64).to_le_bytes());
        record.extend_from_slice(&(labels.len() as u64).to_le_bytes());
        record.extend_from_slice(labels);
        record.extend_from_slice(&self.bytes);
        record
    }

    /// The entry that a record keeps.
    pub(super) fn from_record(key: Key, record: &[u8]) -> Result<Self, BadRecord> {
        let (form, rest) = record.split_first().ok_or(BadRecord::Short)?;
        if *form != RECORD_PLAIN {
            return Err(BadRecord::Form(*form));
        }
        let (revision, rest) = number(rest)?;
        let (stamp, rest) = number(rest)?;
        let (labels, rest) = number(rest)?;
        let (revision, stamp) = (Revision::new(revision), usize::try_from(stamp).map_err(|_| BadRecord::Short)?);
        let labels = usize::try_from(labels).map_err(|_| BadRecord::Short)?;
        let (labels, json) = rest.split_at_checked(labels).ok_or(BadRecord::Short)?;
        let labels = Labels(str::from_utf8(labels).map_err(|_| BadRecord::Labels)?.into());
        let stamped = json.get(stamp..).is_some_and(|from| {
            from.strip_prefix(revision.to_string().as_bytes()).is_some_and(|after| after.starts_with(b"\""))
        });
        if !stamped {
            return Err(BadRecord::Stamp);
        }
        serde_json::from_slice::<IgnoredAny>(json).map_err(|_| BadRecord::Json)?;
        Ok(Self { key, revision, stamp, labels, bytes: Bytes::copy_from_slice(json), asked: OnceLock::new() })
    }
}

fn number(bytes: &[u8]) -> Result<(u64, &[u8]), BadRecord> {
    let (number, rest) = bytes.split_first_chunk::<8>().ok_or(BadRecord::Short)?;
    Ok((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::admit::Admitted;
    use crate::store::Encoded;

    fn key() -> Key {
        Key::new("", "pods", "default", "web")
    }

    fn entry(object: Value, revision: u64) -> Entry {
        Encoded::new(&Admitted::for_tests(object)).stamped(key(), Revision::new(revision))
    }

    #[test]
    fn a_broken_record_is_told_from_a_whole_one() {
        let record = entry(json!({"metadata": {"labels": {"a": "b"}}}), 7).record();
        for end in 0..record.len() {
            assert!(Entry::from_record(key(), &record[..end]).is_err(), "{end}");
        }
        let mut other = record.clone();
        other[0] = 9;
        assert_eq!(Entry::from_record(key(), &other), Err(BadRecord::Form(9)));
        other = record;
        other[1] = 8;
        assert_eq!(Entry::from_record(key(), &other), Err(BadRecord::Stamp));
    }

    proptest! {
        #[test]
        fn an_entry_is_read_from_its_record(name in ".*", label in "[a-z]{0,5}", revision in any::<u64>()) {
            let made = entry(json!({"metadata": {"name": name, "labels": {"l": label}}, "data": {}}), revision);
            let read = Entry::from_record(key(), &made.record()).unwrap();
            prop_assert_eq!(read.labels(), made.labels());
            prop_assert_eq!(read, made);
        }

        #[test]
        fn bytes_that_are_no_record_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Entry::from_record(key(), &bytes).is_err());
        }
    }
}
