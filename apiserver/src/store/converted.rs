//! A store seen through another version: objects are kept in one version, and read and written in the one that a
//! client speaks.
//!
//! Invariant: what is committed is in the stored version, and what comes out, by whatever way, is in the client's.

use std::sync::Arc;

use async_trait::async_trait;
use coracle_api::revision::Revision;
use serde_json::Value;

use super::{Action, Change, CommitError, Encoded, Entry, Event, Happened, Key, Prefix, Store, Stretch};
use super::{WatchError, Watcher};
use crate::admit;
use crate::object::map_mut;

/// How objects of one version of a kind become those of the version in which they are kept, and back.
#[derive(Debug, Clone, Copy)]
pub struct Conversion {
    /// The group under which they are kept; empty for the core group.
    pub group: &'static str,
    /// The version in which they are kept.
    pub version: &'static str,
    /// From the client's version to the stored one; `apiVersion` is seen to.
    pub to_stored: fn(Value) -> Value,
    /// From the stored version to the client's; `apiVersion` is seen to.
    pub from_stored: fn(Value) -> Value,
}

impl Conversion {
    /// `apiVersion` of what is kept.
    fn stored_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// A conversion and the `apiVersion` that the client speaks.
#[derive(Debug, Clone)]
pub(super) struct View {
    conversion: Conversion,
    version: Arc<str>,
}

impl View {
    fn entry(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        let object = stamped((self.conversion.from_stored)(entry.value()), &self.version);
        let encoded = Encoded::new(&admit::of_our_own(object));
        Arc::new(encoded.stamped(entry.key().clone(), entry.revision()))
    }

    /// The event as the client sees it.
    pub(super) fn event(&self, event: &Event) -> Event {
        let happened = match &event.happened {
            Happened::Added => Happened::Added,
            Happened::Modified(before) => Happened::Modified(self.entry(before)),
            Happened::Deleted(before) => Happened::Deleted(self.entry(before)),
        };
        Event { happened, entry: self.entry(&event.entry) }
    }

    fn stored(&self, encoded: &Encoded) -> Encoded {
        let object = (self.conversion.to_stored)(encoded.value());
        Encoded::new(&admit::of_our_own(stamped(object, &self.conversion.stored_version())))
    }
}

fn stamped(mut object: Value, version: &str) -> Value {
    map_mut(&mut object).insert("apiVersion".to_owned(), version.into());
    object
}

/// A store seen through a conversion. Keys are those of the stored version.
pub struct Converted {
    store: Arc<dyn Store>,
    view: View,
}

impl Converted {
    /// The objects of `store` as clients see them that speak `version`, an `apiVersion`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, conversion: Conversion, version: &str) -> Self {
        Self { store, view: View { conversion, version: version.into() } }
    }
}

#[async_trait]
impl Store for Converted {
    fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.store.get(key).map(|entry| self.view.entry(&entry))
    }

    fn stretch(&self, prefix: &Prefix, start: &str, most: usize) -> Stretch {
        let mut stretch = self.store.stretch(prefix, start, most);
        stretch.entries.iter_mut().for_each(|entry| *entry = self.view.entry(entry));
        stretch
    }

    fn revision(&self) -> Revision {
        self.store.revision()
    }

    async fn reached(&self, revision: Revision) {
        self.store.reached(revision).await;
    }

    async fn commit(&self, mut changes: Vec<Change>) -> Result<Vec<Arc<Entry>>, CommitError> {
        for change in &mut changes {
            if let Action::Put(encoded) = &change.action {
                change.action = Action::Put(self.view.stored(encoded));
            }
        }
        match self.store.commit(changes).await {
            Ok(entries) => Ok(entries.iter().map(|entry| self.view.entry(entry)).collect()),
            Err(CommitError::Mismatch { index, current }) => {
                let current = current.map(|entry| self.view.entry(&entry));
                Err(CommitError::Mismatch { index, current })
            }
            Err(error) => Err(error),
        }
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> Result<Watcher, WatchError> {
        Ok(self.store.watch(prefix, from)?.seen_through(self.view.clone()))
    }

    async fn stop(&self) {
        self.store.stop().await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admit::Admitted;
    use crate::store::{Durability, Expect, memory};

    fn renamed(mut object: Value, from: &str, to: &str) -> Value {
        let map = map_mut(&mut object);
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
        object
    }

    const CONVERSION: Conversion = Conversion {
        group: "",
        version: "v2",
        to_stored: |object| renamed(object, "old", "new"),
        from_stored: |object| renamed(object, "new", "old"),
    };

    #[tokio::test]
    async fn each_version_sees_its_own_form_of_one_object() {
        let stored: Arc<dyn Store> = Arc::new(memory::open().unwrap());
        let seen = Converted::new(Arc::clone(&stored), CONVERSION, "v1");
        let key = Key::new("", "things", "", "x");
        let mut watcher = seen.watch(&Prefix::resource("", "things"), seen.revision()).unwrap();
        let object = Admitted::for_tests(json!({"apiVersion": "v1", "metadata": {"name": "x"}, "old": 1}));
        let action = Action::Put(Encoded::new(&object));
        let change = Change { key: key.clone(), expect: Expect::Absent, action, durability: Durability::Volatile };
        let made = seen.commit(vec![change]).await.unwrap().pop().unwrap();
        let form = |entry: &Entry| (entry.value()["apiVersion"].clone(), entry.value()["old"].clone());
        assert_eq!(form(&made), (json!("v1"), json!(1)));
        assert_eq!(stored.get(&key).unwrap().value()["new"], json!(1));
        assert_eq!(stored.get(&key).unwrap().value()["apiVersion"], json!("v2"));
        assert_eq!(form(&seen.get(&key).unwrap()), form(&made));
        assert_eq!(form(&seen.list(&Prefix::resource("", "things")).entries[0]), form(&made));
        assert_eq!(form(&watcher.next().await.unwrap().entry), form(&made));
        assert_eq!(made.revision(), stored.revision());
        stored.stop().await;
    }
}
