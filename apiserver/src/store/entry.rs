//! Stored objects: JSON encoded once, labels extracted once, and the revision written into a gap.
//!
//! Invariant: the text between the quotes of an entry's `metadata.resourceVersion` is its revision, so giving an
//! object another revision is a splice and never a parse.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use coracle_api::revision::Revision;
use serde_json::{Map, Value};

use super::key::Key;
use crate::admit::Admitted;

/// An object ready to be stored: its JSON, with a gap where the store writes the revision it gives it.
#[derive(Clone, Default)]
pub struct Encoded {
    depth: usize,
    before: Vec<u8>,
    after: Vec<u8>,
    labels: Labels,
}

/// A stored object. Immutable: a change makes another entry.
pub struct Entry {
    pub(super) key: Key,
    pub(super) revision: Revision,
    /// Where in the bytes the revision's digits begin.
    pub(super) stamp: usize,
    pub(super) labels: Labels,
    pub(super) bytes: Bytes,
    /// The field that watchers asked for first.
    pub(super) asked: OnceLock<Box<Asked>>,
}

/// A field of an object and its text.
pub(super) struct Asked {
    path: Box<str>,
    text: Box<str>,
}

/// The labels of an object, in one allocation: name, NUL, value, NUL, and so on.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Labels(pub(super) Box<str>);

impl Encoded {
    /// Encodes the object, whatever `metadata.resourceVersion` it came with.
    #[must_use]
    pub fn new(object: &Admitted) -> Self {
        let depth = depth(object.value());
        if depth > DEPTH_MAX {
            // It cannot be committed, so its bytes are of no use, and to encode it may take all of the stack.
            return Self { depth, ..Self::default() };
        }
        let nothing = Map::new();
        let root = object.value().as_object().unwrap_or(&nothing);
        let metadata = root.get("metadata").and_then(Value::as_object).unwrap_or(&nothing);
        let mut before = Vec::with_capacity(ENCODED_BYTES_LIKELY);
        before.push(b'{');
        for (name, value) in root.iter().filter(|(name, _)| name.as_str() < "metadata") {
            member(&mut before, name, value);
            before.push(b',');
        }
        before.extend_from_slice(br#""metadata":{"resourceVersion":""#);
        let mut after = Vec::with_capacity(ENCODED_BYTES_LIKELY);
        after.push(b'"');
        for (name, value) in metadata.iter().filter(|(name, _)| *name != "resourceVersion") {
            after.push(b',');
            member(&mut after, name, value);
        }
        after.push(b'}');
        for (name, value) in root.iter().filter(|(name, _)| name.as_str() > "metadata") {
            after.push(b',');
            member(&mut after, name, value);
        }
        after.push(b'}');
        Self { depth, before, after, labels: Labels::of(metadata) }
    }

    /// Whether it nests deeper than [`DEPTH_MAX`]. No store takes it.
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.depth > DEPTH_MAX
    }

    /// The bytes it takes, but for the revision's digits.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always a metadata")]
    pub fn len(&self) -> usize {
        self.before.len() + self.after.len()
    }

    /// The object, with no revision of its own.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&splice(&self.before, Revision::new(0), &self.after)).unwrap_or_default()
    }

    /// The entry that this object becomes.
    pub(super) fn stamped(self, key: Key, revision: Revision) -> Entry {
        let bytes = splice(&self.before, revision, &self.after);
        Entry { key, revision, stamp: self.before.len(), labels: self.labels, bytes, asked: OnceLock::new() }
    }
}

/// Room for most objects, so that encoding one rarely grows its buffer: a pod of a Deployment takes 2 to 3 KB.
const ENCODED_BYTES_LIKELY: usize = 3 * 1024;

/// The deepest nesting of an object. JSON is read to 128 levels: what is stored can be read back, by us and by clients
/// that read it inside of a list, an event or a patch.
pub const DEPTH_MAX: usize = 100;

/// An object that would not be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object nests deeper than {DEPTH_MAX} levels; flatten it")]
pub(super) struct TooDeep;

/// How deep a value nests, found without recursion.
fn depth(value: &Value) -> usize {
    let (mut deepest, mut left) = (0, vec![(value, 1)]);
    while let Some((value, level)) = left.pop() {
        deepest = deepest.max(level);
        let inside = |value: &Value| value.is_object() || value.is_array();
        match value {
            Value::Object(members) => left.extend(members.values().filter(|v| inside(v)).map(|v| (v, level + 1))),
            Value::Array(items) => left.extend(items.iter().filter(|v| inside(v)).map(|v| (v, level + 1))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    deepest
}

#[expect(clippy::expect_used, reason = "a Value has no key that is no string, and a Vec takes all writes")]
fn member(into: &mut Vec<u8>, name: &str, value: &Value) {
    serde_json::to_writer(&mut *into, name).expect("a string encodes");
    into.push(b':');
    serde_json::to_writer(&mut *into, value).expect("a Value encodes");
}

fn digits(revision: Revision) -> usize {
    revision.get().checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[expect(clippy::expect_used, reason = "a Vec takes all writes")]
fn splice(before: &[u8], revision: Revision, after: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(before.len() + digits(revision) + after.len());
    text.extend_from_slice(before);
    write!(text, "{revision}").expect("a Vec takes all writes");
    text.extend_from_slice(after);
    Bytes::from(text)
}

impl Entry {
    /// Where it stands.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The revision of the change that made it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Its complete JSON, with `metadata.resourceVersion`.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The text that `find` finds for a field. For the field that is asked for first it is found once: the watchers of
    /// a kind mostly ask for the same, each of them about each change.
    pub fn field<'a>(&'a self, path: &str, find: impl Fn(&'a [u8]) -> Cow<'a, str>) -> Cow<'a, str> {
        let ask = || Box::new(Asked { path: path.into(), text: find(&self.bytes).into() });
        let asked = self.asked.get_or_init(ask);
        if *asked.path == *path { Cow::Borrowed(&asked.text) } else { find(&self.bytes) }
    }

    /// Parses it. Costs about 4 ns a byte: keep the result where it is needed twice.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the bytes were made by Encoded::new, or checked when they were loaded")]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).expect("an entry holds JSON")
    }

    /// The same object with another revision.
    #[must_use]
    pub fn restamped(&self, revision: Revision) -> Self {
        let before = self.bytes.slice(..self.stamp);
        let after = self.bytes.slice(self.stamp + digits(self.revision)..);
        Self {
            key: self.key.clone(),
            revision,
            stamp: self.stamp,
            labels: self.labels.clone(),
            bytes: splice(&before, revision, &after),
            asked: OnceLock::new(),
        }
    }
}

impl Labels {
    fn of(metadata: &Map<String, Value>) -> Self {
        let mut text = String::new();
        for (name, value) in metadata.get("labels").and_then(Value::as_object).into_iter().flatten() {
            if let Some(value) = value.as_str() {
                text.extend([name, "\0", value, "\0"]);
            }
        }
        Self(text.into())
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(label, value)| (label == name).then_some(value))
    }

    /// All labels, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.split_terminator('\0');
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Names the object and its size, not its content, which may be a secret.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key, self.revision, self.bytes.len())
    }
}

/// Tells the size, not the content, which may be a secret.
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoded({} bytes)", self.len())
    }
}

/// Two entries are equal when they are the same change of the same store.
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.key == other.key && self.bytes == other.bytes
    }
}

impl Eq for Entry {}

/// An entry, or that nothing stands there.
pub(super) type State = Option<Arc<Entry>>;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn key() -> Key {
        Key::new("", "pods", "default", "web")
    }

    fn entry(object: Value, revision: u64) -> Entry {
        Encoded::new(&Admitted::for_tests(object)).stamped(key(), Revision::new(revision))
    }

    #[test]
    fn the_revision_is_spliced_into_the_metadata() {
        let object =
            json!({"kind": "Pod", "metadata": {"name": "web", "resourceVersion": "3"}, "spec": {"a": "é\"\\"}});
        let made = entry(object.clone(), 120);
        let mut expected = object;
        expected["metadata"]["resourceVersion"] = json!("120");
        assert_eq!(made.value(), expected);
        assert_eq!(made.bytes().len(), made.bytes().to_vec().capacity());
    }

    #[test]
    fn an_object_without_metadata_gets_it() {
        assert_eq!(entry(json!({}), 1).value(), json!({"metadata": {"resourceVersion": "1"}}));
    }

    #[test]
    fn labels_are_found_by_name() {
        let made = entry(json!({"metadata": {"labels": {"app": "web", "tier": "", "odd": 3}}}), 1);
        assert_eq!(made.labels().get("app"), Some("web"));
        assert_eq!(made.labels().get("tier"), Some(""));
        assert_eq!(made.labels().get("web"), None);
        assert_eq!(made.labels().iter().count(), 2);
        assert_eq!(entry(json!({"metadata": {}}), 1).labels().iter().count(), 0);
    }

    #[test]
    fn the_field_that_is_asked_for_first_is_found_once() {
        let made = entry(json!({"a": "x", "b": "y"}), 1);
        let found = std::cell::Cell::new(0);
        let ask = |path: &str| {
            let find = |_: &[u8]| {
                found.set(found.get() + 1);
                Cow::Owned(path.to_uppercase())
            };
            made.field(path, find).into_owned()
        };
        assert_eq!([ask("a"), ask("a"), ask("b"), ask("b"), ask("a")], ["A", "A", "B", "B", "A"]);
        assert_eq!(found.get(), 3);
    }

    proptest! {
        #[test]
        fn an_entry_is_the_same_after_any_restamping(
            name in ".*", label in "[a-z]{0,5}", text in ".*", first in any::<u64>(), then in any::<u64>(),
        ) {
            let object = json!({"metadata": {"name": name, "labels": {"l": label}}, "data": {text.clone(): text}});
            let made = entry(object.clone(), first);
            let again = made.restamped(Revision::new(then));
            prop_assert_eq!(&again, &entry(object, then));
            prop_assert_eq!(again.labels(), made.labels());
        }
    }
}
