//! A collection as it was: today's list with the events since then undone, newest first.
//!
//! It reaches back as far as the store's ring of events; beyond that the client is told 410.

use std::collections::BTreeMap;
use std::sync::Arc;

use coracle_api::revision::Revision;

use crate::store::{Entry, Event, Happened, Key, Listing, Prefix, Store, WatchError};

/// The objects under `prefix` as they were at `revision`.
///
/// # Errors
/// [`WatchError::Expired`] when that history is no longer kept.
pub(crate) fn list_at(store: &dyn Store, prefix: &Prefix, revision: Revision) -> Result<Listing, WatchError> {
    let mut watcher = store.watch(prefix, revision)?;
    let listing = store.list(prefix);
    let mut since = Vec::new();
    while let Some(event) = watcher.try_next()? {
        if event.revision() > listing.revision {
            break;
        }
        since.push(event);
    }
    Ok(Listing { revision, entries: undo(listing.entries, since) })
}

fn undo(entries: Vec<Arc<Entry>>, since: Vec<Event>) -> Vec<Arc<Entry>> {
    if since.is_empty() {
        return entries;
    }
    let mut objects: BTreeMap<Key, Arc<Entry>> = entries.into_iter().map(|e| (e.key().clone(), e)).collect();
    for event in since.into_iter().rev() {
        let key = event.entry.key().clone();
        match event.happened {
            Happened::Added => {
                objects.remove(&key);
            }
            Happened::Modified(before) | Happened::Deleted(before) => {
                objects.insert(key, before);
            }
        }
    }
    objects.into_values().collect()
}
