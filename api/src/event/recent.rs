//! A map that holds the entries used last, and forgets the others.
//!
//! Invariant: never more than [`REMEMBERED_EVENTS_MAX`] entries.

use std::collections::BTreeMap;

use super::REMEMBERED_EVENTS_MAX;

/// Values by key, with the turn of their last use.
#[derive(Debug)]
pub(super) struct Recent<V> {
    values: BTreeMap<String, (u64, V)>,
    /// The keys in the order of their last use.
    turns: BTreeMap<u64, String>,
    turn: u64,
}

impl<V> Recent<V> {
    pub(super) const fn new() -> Self {
        Self { values: BTreeMap::new(), turns: BTreeMap::new(), turn: 0 }
    }

    /// The value of `key`, made if there is none; it is now the one used last.
    pub(super) fn of(&mut self, key: String, make: impl FnOnce() -> V) -> &mut V {
        self.turn += 1;
        match self.values.get(&key) {
            Some((last, _)) => drop(self.turns.remove(last)),
            None if self.values.len() >= REMEMBERED_EVENTS_MAX => self.forget_oldest(),
            None => {}
        }
        self.turns.insert(self.turn, key.clone());
        let (turn, value) = self.values.entry(key).or_insert_with(|| (0, make()));
        *turn = self.turn;
        value
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.turns.pop_first() {
            self.values.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_is_forgotten() {
        let mut recent = Recent::new();
        for number in 0..REMEMBERED_EVENTS_MAX {
            recent.of(format!("{number}"), || number);
        }
        recent.of("0".to_owned(), || usize::MAX);
        recent.of("new".to_owned(), || 7);
        assert_eq!(recent.values.len(), REMEMBERED_EVENTS_MAX);
        assert_eq!(recent.turns.len(), REMEMBERED_EVENTS_MAX);
        assert_eq!(*recent.of("0".to_owned(), || usize::MAX), 0, "used again, so kept");
        assert_eq!(*recent.of("1".to_owned(), || usize::MAX), usize::MAX, "used longest ago, so forgotten");
    }
}
