//! Current objects: a sorted table for each resource, read by cloning what is asked for under a short lock.
//!
//! Invariant: only the writer changes them, and it changes a table once for all of a batch, so that no reader sees
//! a part of a commit in one table. Nothing here touches a disk.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use coracle_api::revision::Revision;

use super::entry::State;
use super::{Entry, Event, Key, Listing, Prefix};

/// All objects as they are now.
#[derive(Default)]
pub(super) struct Objects {
    tables: RwLock<HashMap<Box<str>, Arc<RwLock<Table>>>>,
}

/// The objects of one resource.
#[derive(Default)]
struct Table {
    entries: BTreeMap<Key, Arc<Entry>>,
    /// The last change of this table.
    changed: Revision,
}

impl Objects {
    /// The objects that were kept on disk.
    pub(super) fn loaded(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut tables: HashMap<Box<str>, Table> = HashMap::new();
        for entry in entries {
            let table = tables.entry(entry.key().table().into()).or_default();
            table.changed = table.changed.max(entry.revision());
            table.entries.insert(entry.key().clone(), Arc::new(entry));
        }
        let tables = tables.into_iter().map(|(name, table)| (name, Arc::new(RwLock::new(table))));
        Self { tables: RwLock::new(tables.collect()) }
    }

    /// The object at `key`.
    pub(super) fn get(&self, key: &Key) -> State {
        let table = self.table(key.table())?;
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        table.entries.get(key).cloned()
    }

    /// The objects under `prefix`. All changes up to `seen` must have been applied before.
    pub(super) fn list(&self, prefix: &Prefix, seen: Revision) -> Listing {
        let Some(table) = self.table(prefix.table()) else {
            return Listing { revision: seen, entries: Vec::new() };
        };
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let covered = table.entries.range::<str, _>(from).take_while(|(key, _)| prefix.covers(key));
        Listing { revision: seen.max(table.changed), entries: covered.map(|(_, entry)| Arc::clone(entry)).collect() }
    }

    /// Makes these events true, all of a table at once.
    pub(super) fn apply(&self, events: &[Event]) {
        let mut sorted: Vec<&Event> = events.iter().collect();
        sorted.sort_by(|a, b| a.entry.key().table().cmp(b.entry.key().table()));
        for of_one_table in sorted.chunk_by(|a, b| a.entry.key().table() == b.entry.key().table()) {
            let Some(first) = of_one_table.first() else { continue };
            let table = self.table_or_new(first.entry.key().table());
            let mut table = table.write().unwrap_or_else(PoisonError::into_inner);
            for event in of_one_table {
                table.changed = event.revision();
                let key = event.entry.key();
                match event.state() {
                    Some(entry) => table.entries.insert(key.clone(), Arc::clone(entry)),
                    None => table.entries.remove(key),
                };
            }
        }
    }

    fn table(&self, name: &str) -> Option<Arc<RwLock<Table>>> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn table_or_new(&self, name: &str) -> Arc<RwLock<Table>> {
        if let Some(table) = self.table(name) {
            return table;
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tables.entry(name.into()).or_default())
    }
}
