//! What a cache must show before the next decision: the objects just created or changed and those just deleted.
//!
//! Invariant: a key whose writes the cache does not show yet is not caught up, so a slow watch never makes
//! its controller do a thing twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use coracle_api::names::NamespacedName;

use crate::informers::{Cached, Informer, Mark};

/// The writes of all keys of a controller to objects of one kind.
#[derive(Debug, Default)]
pub(crate) struct Expectations {
    all: Mutex<HashMap<NamespacedName, Expected>>,
}

/// The writes of one key that the cache may not show yet.
#[derive(Debug, Default)]
struct Expected {
    written: Vec<Mark>,
    deleted: HashMap<String, String>,
}

impl Expectations {
    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, Expected>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object was created or changed at this place in history.
    pub(crate) fn written(&self, key: &NamespacedName, at: Mark) {
        self.lock().entry(key.clone()).or_default().written.push(at);
    }

    /// The object of this name and UID is being deleted.
    pub(crate) fn deletion(&self, key: &NamespacedName, name: String, uid: String) {
        self.lock().entry(key.clone()).or_default().deleted.insert(name, uid);
    }

    /// It was not deleted after all.
    pub(crate) fn deletion_failed(&self, key: &NamespacedName, name: &str) {
        if let Some(expected) = self.lock().get_mut(key) {
            expected.deleted.remove(name);
        }
    }

    /// Whether the cache shows all writes of a key.
    pub(crate) fn are_met<K: Cached>(&self, key: &NamespacedName, cache: &Informer<K>) -> bool {
        let mut all = self.lock();
        let Some(expected) = all.get_mut(key) else { return true };
        let met = expected.is_met(&key.namespace, cache);
        if met {
            all.remove(key);
        }
        met
    }

    /// The key is gone: nothing is expected for it any more.
    pub(crate) fn forget(&self, key: &NamespacedName) {
        self.lock().remove(key);
    }
}

impl Expected {
    fn is_met<K: Cached>(&mut self, namespace: &str, cache: &Informer<K>) -> bool {
        self.written.retain(|mark| !cache.has_passed(*mark));
        self.deleted.retain(|name, uid| {
            let object = cache.get(&NamespacedName::new(namespace, name.as_str()));
            object.is_some_and(|o| o.meta().uid.as_ref() == Some(uid) && o.meta().deletion_timestamp.is_none())
        });
        self.written.is_empty() && self.deleted.is_empty()
    }
}
