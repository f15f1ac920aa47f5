//! A collection as it was: today's list with the events since then undone.
//!
//! It reaches back as far as the store's ring of events; beyond that the client is told 410. Only what is asked for is
//! read, and what has changed since.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Vacant;
use std::sync::Arc;

use coracle_api::revision::Revision;

use crate::store::{Entry, Event, Happened, Key, Prefix, Store, Stretch, WatchError, Watcher};

/// The stretch of a list as it was at `revision`; see [`Store::stretch`].
///
/// # Errors
/// [`WatchError::Expired`] when that history is no longer kept.
pub(crate) fn stretch_at(
    store: &dyn Store,
    prefix: &Prefix,
    start: &str,
    most: usize,
    revision: Revision,
) -> Result<Stretch, WatchError> {
    let mut since = Since { watcher: store.watch(prefix, revision)?, ahead: None, changed: BTreeMap::new() };
    loop {
        let known = since.changed.len();
        // Each changed object may stand for none of then.
        let now = store.stretch(prefix, start, most.saturating_add(known));
        since.read(now.revision)?;
        if since.changed.len() == known {
            since.changed.retain(|key, _| prefix.rest(key) >= start);
            return Ok(undo(now, &since.changed, most, revision));
        }
    }
}

/// What has changed since a revision.
struct Since {
    watcher: Watcher,
    /// An event that was read too early.
    ahead: Option<Event>,
    changed: BTreeMap<Key, Changed>,
}

/// An object that has changed.
struct Changed {
    /// As it was, if it was there.
    then: Option<Arc<Entry>>,
    /// Whether it is there now.
    now: Now,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Now {
    There,
    Gone,
}

impl Since {
    /// Takes the events up to this revision.
    fn read(&mut self, revision: Revision) -> Result<(), WatchError> {
        loop {
            let Some(event) = self.ahead.take().map_or_else(|| self.watcher.try_next(), |event| Ok(Some(event)))?
            else {
                return Ok(());
            };
            if event.revision() > revision {
                self.ahead = Some(event);
                return Ok(());
            }
            let now = if matches!(event.happened, Happened::Deleted(_)) { Now::Gone } else { Now::There };
            let slot = self.changed.entry(event.entry.key().clone());
            if let Vacant(slot) = slot {
                slot.insert(Changed { then: event.previous().cloned(), now });
            } else {
                slot.and_modify(|changed| changed.now = now);
            }
        }
    }
}

fn undo(now: Stretch, changed: &BTreeMap<Key, Changed>, most: usize, revision: Revision) -> Stretch {
    if changed.is_empty() && now.entries.len() <= most {
        return Stretch { revision, ..now };
    }
    let count = |holds: fn(&Changed) -> bool| changed.values().filter(|changed| holds(changed)).count();
    let there_now = count(|changed| changed.now == Now::There);
    let there_then = count(|changed| changed.then.is_some());
    let all = now.entries.len() + now.left - there_now + there_then;
    let mut entries = now.entries;
    entries.retain(|entry| !changed.contains_key(entry.key()));
    entries.extend(changed.values().filter_map(|changed| changed.then.clone()));
    entries.sort_by(|a, b| a.key().cmp(b.key()));
    entries.truncate(most);
    let left = all - entries.len();
    Stretch { revision, entries, left }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::admit::Admitted;
    use crate::store::{Action, Change, Durability, Encoded, Expect, Local, memory};

    fn key(name: u8) -> Key {
        Key::new("", "pods", "default", &format!("p{name}"))
    }

    /// Makes the object if it is not there, and changes or deletes it otherwise.
    async fn touch(store: &Local, name: u8, ends: bool) {
        let current = store.get(&key(name));
        let expect = current.as_ref().map_or(Expect::Absent, |entry| Expect::At(entry.revision()));
        let action = match current {
            Some(_) if ends => Action::Delete,
            _ => Action::Put(Encoded::new(&Admitted::for_tests(json!({"metadata": {"name": name}})))),
        };
        let change = Change { key: key(name), expect, action, durability: Durability::Volatile };
        store.commit(vec![change]).await.unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_stretch_of_any_past_list_is_as_it_was(
            touched in prop::collection::vec((0_u8..6, any::<bool>()), 1..20),
            then in 0_usize..20, start in 0_u8..7, most in 0_usize..7,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let store = memory::open().unwrap();
                let prefix = Prefix::namespace("", "pods", "default");
                let mut past = store.list(&prefix);
                for (index, (name, ends)) in touched.iter().enumerate() {
                    if index == then {
                        past = store.list(&prefix);
                    }
                    touch(&store, *name, *ends).await;
                }
                let start = if start == 0 { String::new() } else { format!("p{}\0", start - 1) };
                let tail: Vec<_> = past.entries.into_iter().filter(|e| prefix.rest(e.key()) >= start.as_str()).collect();
                let found = stretch_at(&store, &prefix, &start, most, past.revision).unwrap();
                assert_eq!(found.revision, past.revision);
                assert_eq!(found.entries, tail.iter().take(most).cloned().collect::<Vec<_>>());
                assert_eq!(found.left, tail.len().saturating_sub(most));
            });
        }
    }
}
