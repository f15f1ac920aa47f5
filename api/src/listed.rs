//! The objects of a watch, through breaks: what a new list does not have is gone.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Objects of a watch: after a break, those that the new list does not have are gone.
pub struct Listed<K, V> {
    all: HashMap<K, V>,
    /// Those of the list that is being read.
    fresh: Option<HashSet<K>>,
    is_whole: bool,
}

impl<K, V> Default for Listed<K, V> {
    fn default() -> Self {
        Self { all: HashMap::new(), fresh: None, is_whole: false }
    }
}

impl<K: Hash + Eq + Clone, V> Listed<K, V> {
    /// A new list begins.
    pub fn begin(&mut self) {
        self.fresh = Some(HashSet::new());
    }

    /// Notes an object, and returns what it was before.
    pub fn put(&mut self, key: K, value: V) -> Option<V> {
        if let Some(fresh) = &mut self.fresh {
            fresh.insert(key.clone());
        }
        self.all.insert(key, value)
    }

    /// Forgets an object, and returns what it was.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.all.remove(key)
    }

    /// The list is whole; returns what it did not have.
    pub fn end(&mut self) -> Vec<(K, V)> {
        self.is_whole = true;
        let Some(fresh) = self.fresh.take() else { return Vec::new() };
        let gone: Vec<K> = self.all.keys().filter(|key| !fresh.contains(*key)).cloned().collect();
        gone.into_iter().filter_map(|key| self.all.remove_entry(&key)).collect()
    }

    /// What an object is.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.all.get(key)
    }

    /// Whether a list has come to its end so far.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_does_not_have_is_gone() {
        let mut listed = Listed::default();
        listed.begin();
        assert_eq!((listed.put("a", 1), listed.put("b", 2)), (None, None));
        assert!(!listed.is_whole());
        assert_eq!(listed.end(), []);
        assert!(listed.is_whole());
        assert_eq!(listed.put("c", 3), None);
        listed.begin();
        assert_eq!(listed.put("b", 4), Some(2));
        let mut gone = listed.end();
        gone.sort_unstable();
        assert_eq!(gone, [("a", 1), ("c", 3)]);
        assert_eq!((listed.get(&"a"), listed.get(&"b")), (None, Some(&4)));
        assert_eq!(listed.remove(&"b"), Some(4));
    }
}
