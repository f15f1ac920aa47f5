//! Current objects: a sorted table for each resource, read by cloning what is asked for under a short lock.
//!
//! Invariant: only the writer changes them. A batch comes true at one moment, in the objects and in the history that
//! watchers read: a list at a revision holds all changes up to it and none after, and each of them is published.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use coracle_api::revision::Revision;

use super::entry::State;
use super::{Entry, Event, Key, Prefix, Stretch};

/// All objects as they are now.
pub(super) struct Objects(RwLock<Current>);

struct Current {
    /// By `group/resource/`; a table without objects is none.
    tables: HashMap<Box<str>, BTreeMap<Key, Arc<Entry>>>,
    revision: Revision,
}

impl Objects {
    /// The objects that were kept on disk, as of this revision.
    pub(super) fn loaded(entries: impl IntoIterator<Item = Entry>, revision: Revision) -> Self {
        let mut current = Current { tables: HashMap::new(), revision };
        for entry in entries {
            current.put(Arc::new(entry));
        }
        Self(RwLock::new(current))
    }

    /// The object at `key`.
    pub(super) fn get(&self, key: &Key) -> State {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.tables.get(key.table())?.get(key).cloned()
    }

    /// See [`Store::stretch`](super::Store::stretch). Touches what it gives, and counts the rest.
    pub(super) fn stretch(&self, prefix: &Prefix, start: &str, most: usize) -> Stretch {
        let (first, end) = (format!("{}{start}", prefix.as_str()), prefix.end());
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let bounds = (Bound::Included(first.as_str()), Bound::Excluded(end.as_str()));
        let table = current.tables.get(prefix.table()).filter(|_| first < end);
        let mut rows = table.into_iter().flat_map(|table| table.range::<str, _>(bounds));
        let entries = rows.by_ref().take(most).map(|(_, entry)| Arc::clone(entry)).collect();
        Stretch { revision: current.revision, entries, left: rows.count() }
    }

    /// Makes these events true, and publishes them before anybody can read the objects again.
    pub(super) fn apply<T>(&self, events: Vec<Event>, publish: impl FnOnce(Vec<Event>) -> T) -> T {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for event in &events {
            current.revision = event.revision();
            match event.state() {
                Some(entry) => current.put(Arc::clone(entry)),
                None => current.remove(event.entry.key()),
            }
        }
        publish(events)
    }
}

impl Current {
    fn put(&mut self, entry: Arc<Entry>) {
        let table = match self.tables.get_mut(entry.key().table()) {
            Some(table) => table,
            None => self.tables.entry(entry.key().table().into()).or_default(),
        };
        // The key of the entry before goes with it.
        table.remove(entry.key());
        table.insert(entry.key().clone(), entry);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(table) = self.tables.get_mut(key.table()) {
            table.remove(key);
            if table.is_empty() {
                self.tables.remove(key.table());
            }
        }
    }
}
