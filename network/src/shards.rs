//! A map for many readers: read without a lock, changed by copying a small part of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Into how many parts a map is split: a change copies one part, so that ten thousand entries
/// cost some forty each instead of ten thousand.
const SHARDS: usize = 256;

/// A map that is read without a lock and changed by copying a small part of it.
pub(crate) struct Shards<K, V>(Box<[ArcSwap<HashMap<K, V>>]>);

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let empty = Arc::new(HashMap::new());
        Self((0..SHARDS).map(|_| ArcSwap::new(Arc::clone(&empty))).collect())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.shard(key)?.load().get(key).cloned()
    }

    /// Sets the value of a key.
    pub(crate) fn insert(&self, key: K, value: V) {
        if let Some(shard) = self.shard(&key) {
            shard.rcu(|map| {
                let mut map = HashMap::clone(map);
                map.insert(key.clone(), value.clone());
                map
            });
        }
    }

    /// Takes a key away.
    pub(crate) fn remove(&self, key: &K) {
        let Some(shard) = self.shard(key).filter(|shard| shard.load().contains_key(key)) else { return };
        shard.rcu(|map| {
            let mut map = HashMap::clone(map);
            map.remove(key);
            map
        });
    }

    fn shard(&self, key: &K) -> Option<&ArcSwap<HashMap<K, V>>> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        self.0.get(usize::try_from(hash % SHARDS as u64).unwrap_or(0))
    }
}
