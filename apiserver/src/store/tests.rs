//! Tests of the store's face: compare-and-swap, batches, and watches that miss nothing.

mod model;
mod watches;

use std::sync::Arc;

use coracle_api::revision::Revision;
use serde_json::json;

use super::{Action, Change, CommitError, DEPTH_MAX, Durability, Encoded, Entry, Expect, Key, Prefix, Store, memory};
use crate::admit::Admitted;

pub(super) fn pod(name: &str) -> Key {
    Key::new("", "pods", "default", name)
}

pub(super) fn object(value: u64) -> Encoded {
    Encoded::new(&Admitted::for_tests(json!({"metadata": {"labels": {"value": value.to_string()}}, "value": value})))
}

pub(super) fn put(key: &Key, expect: Expect, value: u64) -> Change {
    Change { key: key.clone(), expect, action: Action::Put(object(value)), durability: Durability::Durable }
}

pub(super) fn delete(key: &Key, at: Revision) -> Change {
    Change { key: key.clone(), expect: Expect::At(at), action: Action::Delete, durability: Durability::Durable }
}

pub(super) fn volatile(change: Change) -> Change {
    Change { durability: Durability::Volatile, ..change }
}

pub(super) fn value(entry: &Entry) -> u64 {
    assert_eq!(entry.value()["metadata"]["resourceVersion"], json!(entry.revision().to_string()));
    entry.labels().get("value").unwrap().parse().unwrap()
}

fn mismatch(result: Result<Vec<Arc<Entry>>, CommitError>) -> (usize, Option<u64>) {
    match result {
        Err(CommitError::Mismatch { index, current }) => (index, current.map(|entry| value(&entry))),
        other => panic!("expected a mismatch, not {other:?}"),
    }
}

#[tokio::test]
async fn an_object_is_created_changed_and_deleted() {
    let store = memory::open().unwrap();
    let key = pod("web");
    let made = store.commit(vec![put(&key, Expect::Absent, 1)]).await.unwrap();
    assert_eq!(store.get(&key), Some(Arc::clone(&made[0])));
    let changed = store.commit(vec![put(&key, Expect::At(made[0].revision()), 2)]).await.unwrap();
    assert_eq!((value(&changed[0]), changed[0].revision()), (2, made[0].revision().next()));
    let gone = store.commit(vec![delete(&key, changed[0].revision())]).await.unwrap();
    assert_eq!((value(&gone[0]), gone[0].revision()), (2, changed[0].revision().next()));
    assert_eq!(store.get(&key), None);
    assert_eq!(store.revision(), gone[0].revision());
}

#[tokio::test]
async fn a_change_that_expects_another_state_is_told_what_stands_there() {
    let store = memory::open().unwrap();
    let key = pod("web");
    assert_eq!(mismatch(store.commit(vec![delete(&key, Revision::new(1))]).await), (0, None));
    assert_eq!(mismatch(store.commit(vec![put(&key, Expect::At(Revision::new(1)), 1)]).await), (0, None));
    let made = store.commit(vec![put(&key, Expect::Absent, 1)]).await.unwrap();
    assert_eq!(mismatch(store.commit(vec![put(&key, Expect::Absent, 2)]).await), (0, Some(1)));
    let later = made[0].revision().next();
    assert_eq!(mismatch(store.commit(vec![put(&key, Expect::At(later), 2)]).await), (0, Some(1)));
    assert_eq!(mismatch(store.commit(vec![delete(&key, later)]).await), (0, Some(1)));
    let nothing = Change { expect: Expect::Absent, ..delete(&pod("db"), later) };
    assert_eq!(mismatch(store.commit(vec![nothing]).await), (0, None));
    assert_eq!(store.revision(), made[0].revision());
}

#[tokio::test]
async fn a_commit_happens_as_a_whole_or_not_at_all() {
    let store = memory::open().unwrap();
    let (a, b) = (pod("a"), pod("b"));
    store.commit(vec![put(&b, Expect::Absent, 1)]).await.unwrap();
    let before = store.revision();
    let refused = store.commit(vec![put(&a, Expect::Absent, 2), put(&b, Expect::Absent, 3)]).await;
    assert_eq!(mismatch(refused), (1, Some(1)));
    assert_eq!((store.get(&a), store.revision()), (None, before));
    let twice = vec![put(&a, Expect::Absent, 4), put(&a, Expect::At(before.next()), 5)];
    let made = store.commit(twice).await.unwrap();
    assert_eq!(made.iter().map(|entry| value(entry)).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(store.get(&a).map(|entry| value(&entry)), Some(5));
}

#[tokio::test]
async fn a_list_holds_its_prefix_in_the_order_of_keys() {
    let store = memory::open().unwrap();
    let keys = [pod("web-10"), pod("web"), Key::new("", "pods", "kube-system", "dns"), Key::new("", "nodes", "", "n")];
    for key in &keys {
        store.commit(vec![put(key, Expect::Absent, 1)]).await.unwrap();
    }
    let names = |prefix: Prefix| {
        let listing = store.list(&prefix);
        assert_eq!(listing.revision, store.revision());
        listing.entries.iter().map(|entry| entry.key().name().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Prefix::resource("", "pods")), "web web-10 dns");
    assert_eq!(names(Prefix::namespace("", "pods", "default")), "web web-10");
    assert_eq!(names(Prefix::object(&keys[1])), "web");
    assert_eq!(names(Prefix::resource("", "nodes")), "n");
    assert_eq!(names(Prefix::resource("apps", "pods")), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_who_race_for_a_revision_one_wins() {
    const WRITERS: u64 = 16;
    const ROUNDS: u64 = 50;
    let store = Arc::new(memory::open().unwrap());
    let key = pod("counter");
    store.commit(vec![put(&key, Expect::Absent, 0)]).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, key) = (Arc::clone(&store), key.clone());
        tasks.spawn(async move {
            let mut current = store.get(&key).unwrap();
            for _ in 0..ROUNDS {
                loop {
                    let next = put(&key, Expect::At(current.revision()), value(&current) + 1);
                    // Some race through the quick road and some through the disk's.
                    let next = if writer % 2 == 0 { volatile(next) } else { next };
                    match store.commit(vec![next]).await {
                        Ok(made) => break current = Arc::clone(&made[0]),
                        Err(CommitError::Mismatch { current: Some(met), .. }) => current = met,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(value(&store.get(&key).unwrap()), WRITERS * ROUNDS);
}

fn nested(levels: usize) -> Change {
    let mut object = json!({});
    for _ in 1..levels {
        object = json!({"in": object});
    }
    let action = Action::Put(Encoded::new(&Admitted::for_tests(object)));
    Change { action, ..put(&pod("deep"), Expect::Absent, 0) }
}

#[tokio::test]
async fn an_object_that_would_not_be_read_back_is_not_taken() {
    let store = memory::open().unwrap();
    assert!(matches!(store.commit(vec![nested(DEPTH_MAX + 1)]).await, Err(CommitError::Disk(_))));
    let made = store.commit(vec![nested(DEPTH_MAX)]).await.unwrap();
    assert!(made[0].value().is_object());
}

#[tokio::test]
async fn a_stopped_store_serves_reads_and_refuses_commits() {
    let store = memory::open().unwrap();
    let key = pod("web");
    store.commit(vec![put(&key, Expect::Absent, 1)]).await.unwrap();
    store.stop().await;
    assert!(matches!(store.commit(vec![put(&pod("db"), Expect::Absent, 1)]).await, Err(CommitError::Stopped)));
    assert!(store.get(&key).is_some());
    store.stop().await;
}
