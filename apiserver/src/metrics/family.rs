//! Values told apart by labels: looked up and counted without a lock.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// So many values of one name are kept; what would be more is not counted. Labels come from closed sets, so that
/// clients cannot grow them; this bounds what the sets multiply to.
const VALUES_MAX: usize = 4096;

/// The values of one name.
#[derive(Debug)]
pub(super) struct Family<K, V>(ArcSwap<HashMap<K, Arc<V>>>);

impl<K, V> Default for Family<K, V> {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(HashMap::new()))
    }
}

impl<K: Copy + Eq + Hash + Ord, V: Default> Family<K, V> {
    /// The value under these labels.
    pub(super) fn of(&self, labels: &K) -> Arc<V> {
        if let Some(value) = self.0.load().get(labels) {
            return Arc::clone(value);
        }
        self.0.rcu(|values| {
            let mut values = HashMap::clone(values);
            if values.len() < VALUES_MAX {
                values.entry(*labels).or_default();
            }
            values
        });
        self.0.load().get(labels).cloned().unwrap_or_default()
    }

    /// All values in the order of their labels.
    pub(super) fn all(&self) -> Vec<(K, Arc<V>)> {
        let mut all: Vec<_> = self.0.load().iter().map(|(labels, value)| (*labels, Arc::clone(value))).collect();
        all.sort_by_key(|(labels, _)| *labels);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn values_are_bounded() {
        let family = Family::<usize, AtomicU64>::default();
        for labels in 0..VALUES_MAX + 10 {
            family.of(&labels).fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(family.all().len(), VALUES_MAX);
    }
}
