//! What a write other than an apply makes of the entries: the writer takes over what it changed, and nobody owns what it
//! took away.

use serde_json::Value;

use super::compare::{Difference, compare};
use super::entries::{self, Entry, Operation};
use super::{Typed, Writer};
use crate::object;

/// Writes down who owns what of a new state of an object. `sent` are the entries that the client sent with it.
///
/// An object whose entries were forgotten stays without any until it is applied.
pub(crate) fn track(typed: &Typed<'_>, old: Option<&Value>, new: &mut Value, sent: Option<Value>, writer: &Writer) {
    let base = match Base::choose(old, sent, writer) {
        Base::Forgotten => {
            entries::take(new);
            return;
        }
        base => base,
    };
    let difference = compare(typed, old, new);
    if difference.set.is_empty() && difference.removed.is_empty() {
        match (base, old) {
            (Base::Stored, Some(old)) => {
                if let Some(stored) = entries::stored(old) {
                    entries::put_value(new, stored.clone());
                }
            }
            (base, old) => entries::put(new, base.entries(old)),
        }
        return;
    }
    let mut all = base.entries(old);
    settle(typed, &mut all, &difference, writer);
    entries::cap(&mut all);
    entries::put(new, all);
}

/// Gives a writer what it set, and takes from all what is gone.
pub(super) fn settle(typed: &Typed<'_>, all: &mut Vec<Entry>, difference: &Difference, writer: &Writer) {
    let mut own = Entry::of(writer, Operation::Update);
    all.retain(|entry| typed.keeps(&entry.api_version, writer));
    for entry in all.iter_mut() {
        entry.fields.subtract(&difference.removed);
        if !entry.is_same(&own) {
            entry.fields.subtract(&difference.set);
        }
    }
    if difference.set.is_empty() {
        return;
    }
    own.time = Some(object::time(writer.now));
    match all.iter_mut().find(|entry| entry.is_same(&own)) {
        Some(earlier) => {
            earlier.time = own.time;
            earlier.fields.add(difference.set.clone());
        }
        None => {
            own.fields = difference.set.clone();
            all.push(own);
        }
    }
}

/// Where the entries come from that a write begins with.
enum Base {
    /// The stored object.
    Stored,
    /// The client.
    Sent(Vec<Entry>),
    /// Nobody keeps any.
    Forgotten,
}

impl Base {
    fn choose(old: Option<&Value>, sent: Option<Value>, writer: &Writer) -> Self {
        let kept = old.and_then(entries::stored);
        // By way of a subresource nobody sets entries.
        let sent = sent.filter(|sent| writer.subresource.is_empty() && Some(sent) != kept);
        if sent.as_ref().is_some_and(entries::is_reset) {
            return if old.is_some() { Self::Forgotten } else { Self::Stored };
        }
        if let Some(sent) = sent.and_then(|sent| entries::read_foreign(sent).ok()).filter(|sent| !sent.is_empty()) {
            return Self::Sent(sent);
        }
        match (old, kept) {
            (Some(_), None) => Self::Forgotten,
            _ => Self::Stored,
        }
    }

    fn entries(self, old: Option<&Value>) -> Vec<Entry> {
        match self {
            Self::Stored => old.map(entries::read_stored).unwrap_or_default(),
            Self::Sent(sent) => sent,
            Self::Forgotten => Vec::new(),
        }
    }
}
