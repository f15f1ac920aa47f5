//! Disks that fail: nothing is acknowledged that is not there, reads go on, and so do writes when there is space.

use super::tape::Tape;
use super::{Objects, expect, formatted, objects, open};
use crate::store::tests::{delete, pod, put, volatile};
use crate::store::{CommitError, Local, Prefix, Store, WatchError};

async fn try_put(store: &Local, name: &str, value: u64) -> Result<(), CommitError> {
    store.commit(vec![put(&pod(name), expect(store, &pod(name)), value)]).await.map(drop)
}

async fn prepared() -> (Tape, Local) {
    let tape = formatted();
    let store = open(&tape, 0);
    for (name, value) in [("a", 1), ("b", 2), ("c", 3)] {
        try_put(&store, name, value).await.unwrap();
    }
    store.commit(vec![volatile(put(&pod("lease"), expect(&store, &pod("lease")), 4))]).await.unwrap();
    (tape, store)
}

/// What a crash right now would leave.
fn left(tape: &Tape) -> Objects {
    objects(&open(&tape.copy(), 0))
}

/// Whether the disk failed; else there is nothing more to see.
async fn fails_and_goes_on(operations: usize) -> bool {
    let (tape, store) = prepared().await;
    let before = (objects(&store), store.revision());
    let mut watcher = store.watch(&Prefix::resource("", "pods"), store.revision()).unwrap();
    tape.fail_after(operations);
    let outcome = try_put(&store, "a", 9).await;
    if outcome.is_ok() {
        return false;
    }
    assert!(matches!(outcome, Err(CommitError::Disk(_))), "{outcome:?}");
    assert_eq!((objects(&store), store.revision()), before);
    assert_eq!(watcher.try_next(), Ok(None), "nobody sees what did not happen");
    assert!(matches!(try_put(&store, "d", 9).await, Err(CommitError::Disk(_))), "it is still full");
    // What needs no disk goes on.
    store.commit(vec![volatile(put(&pod("lease"), expect(&store, &pod("lease")), 5))]).await.unwrap();
    tape.heal();
    // The change of which nobody knows may be on the disk. It must be gone with the next commit, of another object.
    try_put(&store, "b", 10).await.unwrap();
    assert_eq!(left(&tape), objects(&store));
    try_put(&store, "a", 11).await.unwrap();
    let last = store.get(&pod("c")).unwrap().revision();
    store.commit(vec![delete(&pod("c"), last)]).await.unwrap();
    assert_eq!(left(&tape), objects(&store));
    let mut events = Vec::new();
    while let Some(event) = watcher.try_next().unwrap() {
        events.push(event.entry.key().name().to_owned());
    }
    assert_eq!(events, ["lease", "b", "a", "c"]);
    let before = (objects(&store), store.revision());
    drop(store);
    let store = open(&tape, 0);
    assert_eq!((objects(&store), store.revision()), before);
    true
}

#[tokio::test]
async fn a_disk_that_fails_at_any_operation_takes_nothing_back() {
    let mut operations = 0;
    while fails_and_goes_on(operations).await {
        operations += 1;
    }
    assert!(operations > 1, "a commit writes and flushes");
}

#[tokio::test]
async fn a_crash_of_a_failing_store_leaves_what_was_acknowledged() {
    for operations in 0..12 {
        let (tape, store) = prepared().await;
        tape.fail_after(operations);
        let acknowledged = try_put(&store, "a", 9).await.is_ok();
        tape.heal();
        let found = left(&tape);
        assert!(found[&pod("b")].1 == 2 && found[&pod("c")].1 == 3);
        // Whoever was told that the disk did not take it cannot know whether it did.
        assert!(found[&pod("a")].1 == 9 || !acknowledged && found[&pod("a")].1 == 1);
        assert!(open(&tape.copy(), 0).revision() >= store.revision());
    }
}

#[tokio::test]
async fn a_store_whose_disk_is_full_still_stops() {
    let (tape, store) = prepared().await;
    let mut watcher = store.watch(&Prefix::resource("", "pods"), store.revision()).unwrap();
    tape.fail_after(0);
    store.stop().await;
    assert_eq!(watcher.next().await, Err(WatchError::Stopped));
}
