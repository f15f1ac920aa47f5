//! A draft: what a batch of commits would make of the current objects. No I/O and no lock of its own.
//!
//! Invariant: each commit is judged against the state that the commits before it in the batch leave behind, and one
//! that is refused leaves no trace.

use std::collections::HashMap;
use std::sync::Arc;

use coracle_api::revision::Revision;

use super::entry::State;
use super::objects::Objects;
use super::{Action, Change, CommitError, Entry, Event, Expect, Happened, Key};

/// A batch in the making.
pub(super) struct Draft<'a> {
    objects: &'a Objects,
    revision: Revision,
    events: Vec<Event>,
    /// Where the last event of a key stands in `events`.
    last: HashMap<Key, usize>,
}

/// A commit that met another state than it expected.
pub(super) struct Refused {
    pub(super) index: usize,
    pub(super) current: State,
    /// Whether the state it met is that of this very batch, which may not come true.
    pub(super) drafted: bool,
}

impl From<Refused> for CommitError {
    fn from(refused: Refused) -> Self {
        Self::Mismatch { index: refused.index, current: refused.current }
    }
}

impl<'a> Draft<'a> {
    /// An empty batch over the current objects; its first change has the revision after `revision`.
    pub(super) fn new(objects: &'a Objects, revision: Revision) -> Self {
        Self { objects, revision, events: Vec::new(), last: HashMap::new() }
    }

    /// Takes a commit as a whole, or not at all.
    pub(super) fn take(&mut self, changes: Vec<Change>) -> Result<Vec<Arc<Entry>>, Refused> {
        let mut revision = self.revision;
        let mut made: Vec<Event> = Vec::with_capacity(changes.len());
        for (index, change) in changes.into_iter().enumerate() {
            let (current, drafted) = self.current(&made, &change.key);
            revision = revision.next();
            match happens(change, current, revision) {
                Ok(event) => made.push(event),
                Err(current) => return Err(Refused { index, current, drafted }),
            }
        }
        self.revision = revision;
        let entries = made.iter().map(|event| Arc::clone(&event.entry)).collect();
        for event in made {
            self.last.insert(event.entry.key().clone(), self.events.len());
            self.events.push(event);
        }
        Ok(entries)
    }

    /// The revision of its last change.
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    /// Each key that it changes, and what stands there after it.
    pub(super) fn states(&self) -> impl Iterator<Item = (&Key, Option<&Arc<Entry>>)> {
        self.last.iter().map(|(key, at)| (key, self.events.get(*at).and_then(Event::state)))
    }

    /// Whether it changes this key.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.last.contains_key(key)
    }

    /// What happens in it, in order.
    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }

    /// What stands at the key after all that was taken and made, and whether that is of this batch.
    fn current(&self, made: &[Event], key: &Key) -> (State, bool) {
        let of_this_commit = made.iter().rev().find(|event| event.entry.key() == key);
        let of_this_batch = || self.last.get(key).and_then(|at| self.events.get(*at));
        match of_this_commit.or_else(of_this_batch) {
            Some(event) => (event.state().cloned(), true),
            None => (self.objects.get(key), false),
        }
    }
}

/// What a change does to the state it meets; the state, if it expected another.
fn happens(change: Change, current: State, revision: Revision) -> Result<Event, State> {
    let Change { key, expect, action, durability: _ } = change;
    match (expect, current, action) {
        (Expect::Absent, None, Action::Put(object)) => {
            Ok(Event { happened: Happened::Added, entry: Arc::new(object.stamped(key, revision)) })
        }
        (Expect::At(at), Some(before), Action::Put(object)) if before.revision() == at => {
            Ok(Event { happened: Happened::Modified(before), entry: Arc::new(object.stamped(key, revision)) })
        }
        (Expect::At(at), Some(before), Action::Delete) if before.revision() == at => {
            let entry = Arc::new(before.restamped(revision));
            Ok(Event { happened: Happened::Deleted(before), entry })
        }
        (Expect::Absent | Expect::At(_), current, Action::Put(_) | Action::Delete) => Err(current),
    }
}
