//! The store against a model: a plain map and a log of all that ever happened.

use std::collections::BTreeMap;

use coracle_api::revision::Revision;
use proptest::prelude::*;

use super::{delete, put, value, volatile};
use crate::store::{Change, CommitError, Event, Expect, Happened, Key, Prefix, Store, memory};

/// A change as it is made up: which key, what is expected of it, and what to do.
#[derive(Debug, Clone)]
struct Wish {
    key: usize,
    expects: Expects,
    put: Option<u64>,
    lasts: bool,
}

#[derive(Debug, Clone, Copy)]
enum Expects {
    Truth,
    Absent,
    At(u64),
}

/// One thing that happened: when, where, and the values before and after.
type Past = (u64, Key, Option<u64>, Option<u64>);

#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    objects: BTreeMap<Key, (u64, u64)>,
    log: Vec<Past>,
    revision: u64,
}

fn keys() -> Vec<Key> {
    let of = |resource, namespace, name| Key::new("", resource, namespace, name);
    vec![of("pods", "a", "x"), of("pods", "a", "xy"), of("pods", "b", "x"), of("nodes", "", "n")]
}

fn wish() -> impl Strategy<Value = Wish> {
    let expects = prop_oneof![
        8 => Just(Expects::Truth),
        1 => Just(Expects::Absent),
        1 => (0_u64..40).prop_map(Expects::At),
    ];
    (0..keys().len(), expects, prop::option::weighted(0.7, 0_u64..1000), any::<bool>())
        .prop_map(|(key, expects, put, lasts)| Wish { key, expects, put, lasts })
}

impl Model {
    fn change(&self, wish: &Wish) -> Change {
        let key = &keys()[wish.key];
        let expect = match wish.expects {
            Expects::Truth => self.objects.get(key).map_or(Expect::Absent, |(at, _)| Expect::At(Revision::new(*at))),
            Expects::Absent => Expect::Absent,
            Expects::At(at) => Expect::At(Revision::new(at)),
        };
        let change = match wish.put {
            Some(value) => put(key, expect, value),
            None => Change { expect, ..delete(key, Revision::ZERO) },
        };
        if wish.lasts { change } else { volatile(change) }
    }

    /// What the store must do with a change: the index of the first that is refused, if one is.
    fn commit(&mut self, changes: &[(Change, Option<u64>)]) -> Result<(), usize> {
        let mut next = self.clone();
        for (index, (change, value)) in changes.iter().enumerate() {
            let before = next.objects.get(&change.key).copied();
            let met = match change.expect {
                Expect::Absent => before.is_none() && value.is_some(),
                Expect::At(at) => before.is_some_and(|(revision, _)| revision == at.get()),
            };
            if !met {
                return Err(index);
            }
            next.revision += 1;
            match value {
                Some(value) => next.objects.insert(change.key.clone(), (next.revision, *value)),
                None => next.objects.remove(&change.key),
            };
            next.log.push((next.revision, change.key.clone(), before.map(|(_, value)| value), *value));
        }
        *self = next;
        Ok(())
    }
}

fn past(event: &Event) -> Past {
    let before = event.previous().map(|entry| value(entry));
    let after = match &event.happened {
        Happened::Added | Happened::Modified(_) => Some(value(&event.entry)),
        Happened::Deleted(last) => {
            assert_eq!(value(last), value(&event.entry));
            None
        }
    };
    (event.revision().get(), event.entry.key().clone(), before, after)
}

fn prefixes() -> Vec<Prefix> {
    let mut all = vec![Prefix::resource("", "pods"), Prefix::namespace("", "pods", "a"), Prefix::resource("", "nodes")];
    all.extend(keys().iter().map(Prefix::object));
    all
}

/// Everything the store shows is what the model holds: objects, lists, and history from each revision on.
fn agree(store: &impl Store, model: &Model, start: u64) -> Result<(), TestCaseError> {
    prop_assert_eq!(store.revision().get(), model.revision);
    for key in keys() {
        let stands = store.get(&key).map(|entry| (entry.revision().get(), value(&entry)));
        prop_assert_eq!(stands.as_ref(), model.objects.get(&key));
    }
    for prefix in prefixes() {
        let listing = store.list(&prefix);
        let listed: Vec<_> = listing.entries.iter().map(|entry| (entry.key().clone(), value(entry))).collect();
        let covered = model.objects.iter().filter(|(key, _)| prefix.covers(key));
        prop_assert_eq!(listed, covered.map(|(key, (_, value))| (key.clone(), *value)).collect::<Vec<_>>());
        prop_assert_eq!(listing.revision.get(), model.revision);
        prop_assert!(store.watch(&prefix, Revision::new(start - 1)).is_err());
        for from in start..=model.revision + 1 {
            let mut watcher = store.watch(&prefix, Revision::new(from)).unwrap();
            let mut seen = Vec::new();
            while let Some(event) = watcher.try_next().unwrap() {
                prop_assert!(watcher.revision() >= event.revision());
                seen.push(past(&event));
            }
            let expected = model.log.iter().filter(|(at, key, ..)| *at > from && prefix.covers(key));
            prop_assert_eq!(seen, expected.cloned().collect::<Vec<_>>());
            prop_assert_eq!(watcher.revision().get(), model.revision.max(from));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_store_does_what_a_map_and_a_log_would_do(
        commits in prop::collection::vec(prop::collection::vec(wish(), 1..4), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = memory::open().unwrap();
        let start = store.revision().get();
        let mut model = Model { revision: start, ..Model::default() };
        for wishes in commits {
            let changes: Vec<_> = wishes.iter().map(|wish| (model.change(wish), wish.put)).collect();
            let asked = changes.iter().map(|(change, _)| change.clone()).collect();
            match (runtime.block_on(store.commit(asked)), model.commit(&changes)) {
                (Ok(made), Ok(())) => {
                    let last = model.log.iter().rev().take(made.len()).rev().map(|(at, ..)| *at).collect::<Vec<_>>();
                    prop_assert_eq!(made.iter().map(|entry| entry.revision().get()).collect::<Vec<_>>(), last);
                }
                (Err(CommitError::Mismatch { index, .. }), Err(expected)) => prop_assert_eq!(index, expected),
                (got, expected) => prop_assert!(false, "{got:?}, not {expected:?}"),
            }
        }
        agree(&store, &model, start)?;
    }
}
