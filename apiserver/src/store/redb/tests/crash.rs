//! The store cut at every write: whatever is left opens as a moment of history that holds all that was promised.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use coracle_api::revision::Revision;
use tokio::task::JoinSet;

use super::super::disk::QUICK_REPAIR_FROM_BYTES;
use super::tape::{Loss, Tape};
use super::{Objects, expect, formatted, objects, open};
use crate::store::tests::{delete, pod, put, value, volatile};
use crate::store::writer::REVISIONS_RESERVED;
use crate::store::{Change, CommitError, Durability, Local, Prefix, Store};

/// What somebody was told.
struct Promise {
    /// How many operations the disk had seen by then.
    told: usize,
    durable: bool,
    revision: Revision,
}

/// What happened until the machine lost power, had it never done so.
struct History {
    /// The objects after each commit.
    moments: BTreeMap<Revision, Objects>,
    promises: Vec<Promise>,
}

/// Commits of every sort, the same in each run: durable and volatile, on the same keys and on others, several at once.
fn changes(store: &Local, round: u64) -> Vec<Change> {
    let key = |nth: u64| pod(&format!("pod-{}", nth % 5));
    let set = |nth: u64| put(&key(nth), expect(store, &key(nth)), round);
    let remove = |nth: u64| match store.get(&key(nth)) {
        Some(entry) => delete(&key(nth), entry.revision()),
        None => set(nth),
    };
    match round % 8 {
        0 => vec![set(round)],
        1 => vec![volatile(set(0))],
        2 => vec![set(0)],
        3 => vec![volatile(set(1)), volatile(set(2))],
        4 => vec![volatile(remove(1))],
        5 => vec![set(round), remove(round + 1), volatile(set(round + 2))],
        6 => vec![volatile(set(1))],
        _ => vec![remove(round)],
    }
}

async fn write(tape: Tape, store: Arc<Local>, rounds: Range<u64>) -> Vec<Promise> {
    let mut promises = Vec::new();
    for round in rounds {
        let changes = changes(&store, round);
        let durable = changes.iter().any(|change| change.durability == Durability::Durable);
        match store.commit(changes).await {
            Ok(made) => {
                let revision = made.last().unwrap().revision();
                promises.push(Promise { told: tape.len(), durable, revision });
            }
            Err(CommitError::Mismatch { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    promises
}

/// Lets some write at once, each so many rounds, and stops in order.
async fn live(tape: &Tape, store: Local, writers: u64, rounds: u64) -> History {
    let store = Arc::new(store);
    let mut watcher = store.watch(&Prefix::resource("", "pods"), store.revision()).unwrap();
    let mut current = objects(&store);
    let mut moments = BTreeMap::from([(store.revision(), current.clone())]);
    let mut running = JoinSet::new();
    for writer in 0..writers {
        running.spawn(write(tape.clone(), Arc::clone(&store), writer * rounds..(writer + 1) * rounds));
    }
    let promises: Vec<Promise> = running.join_all().await.into_iter().flatten().collect();
    while let Some(event) = watcher.try_next().unwrap() {
        let key = event.entry.key();
        match event.state() {
            Some(entry) => current.insert(key.clone(), (entry.revision().get(), value(entry))),
            None => current.remove(key),
        };
        if promises.iter().any(|promise| promise.revision == event.revision()) {
            moments.insert(event.revision(), current.clone());
        }
    }
    store.stop().await;
    History { moments, promises }
}

/// Opens what is left and holds it against history.
async fn survives(left: &Tape, len: u64, history: &History, cut: usize, what: &str) {
    let told = || history.promises.iter().filter(|promise| promise.told <= cut);
    let promised = told().filter(|promise| promise.durable).map(|promise| promise.revision).max().unwrap_or_default();
    let seen = told().map(|promise| promise.revision).max().unwrap_or_default();
    let store = open(left, len);
    let found = objects(&store);
    let possible = history.moments.range(promised..).any(|(_, objects)| *objects == found);
    assert!(possible, "{what}: {found:?} is no moment from {promised} on");
    assert!(store.revision() >= seen, "{what}: revision {seen} would be given away again");
    let made = store.commit(vec![put(&pod("new"), expect(&store, &pod("new")), 7)]).await.unwrap();
    assert!(made[0].revision() > seen, "{what}");
    let before = (objects(&store), store.revision());
    store.stop().await;
    let store = open(left, len);
    assert_eq!((objects(&store), store.revision()), before, "{what}");
}

async fn cut_everywhere(len: u64, writers: u64, rounds: u64) {
    let tape = formatted();
    let mut cutter = tape.begin();
    let history = live(&tape, open(&tape, len), writers, rounds).await;
    let end = tape.len();
    assert!(end > rounds as usize && history.moments.len() > rounds as usize);
    for cut in 0..=end {
        for loss in [Loss::Nothing, Loss::Unsynced(cut as u64), Loss::Unsynced(!(cut as u64))] {
            let left = cutter.cut(cut, loss);
            survives(&left, len, &history, cut, &format!("cut after {cut} of {end}, lost {loss:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_cut_at_any_write_leaves_a_prefix_of_history() {
    cut_everywhere(0, 1, 24).await;
}

#[tokio::test]
async fn a_cut_at_any_write_of_a_large_store_leaves_a_prefix_of_history() {
    // As large as it says it is, it is compacted when it is opened, and its commits save what makes repairs quick.
    cut_everywhere(QUICK_REPAIR_FROM_BYTES, 1, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cut_under_many_writers_leaves_a_prefix_of_history() {
    cut_everywhere(0, 8, 12).await;
}

async fn beat(store: &Local, times: u64) {
    let key = pod("lease");
    for _ in 0..times {
        store.commit(vec![volatile(put(&key, expect(store, &key), 7))]).await.unwrap();
    }
}

#[tokio::test]
async fn heartbeats_write_nothing_until_their_revisions_run_out() {
    let tape = formatted();
    let store = open(&tape, 0);
    store.commit(vec![put(&pod("web"), expect(&store, &pod("web")), 0)]).await.unwrap();
    let written = tape.len();
    beat(&store, REVISIONS_RESERVED).await;
    assert_eq!(tape.len(), written, "they are not worth a write");
    assert!(!objects(&open(&tape.copy(), 0)).contains_key(&pod("lease")));
    beat(&store, 1).await;
    assert!(tape.len() > written);
    assert_eq!(objects(&open(&tape.copy(), 0)), objects(&store), "the write took along what there was");
}

#[tokio::test]
async fn no_revision_is_given_away_twice_though_every_run_ends_in_a_crash() {
    let mut tape = formatted();
    let mut seen = Revision::ZERO;
    for run in 0..8 {
        let store = open(&tape, 0);
        assert!(store.revision() >= seen, "run {run}");
        beat(&store, 40 * run).await;
        seen = store.revision();
        tape = tape.copy();
    }
}

#[tokio::test]
async fn what_is_volatile_rides_along_and_survives_an_orderly_end() {
    let tape = formatted();
    let store = open(&tape, 0);
    let (lease, other) = (pod("lease"), pod("other"));
    for beat in 1..3 {
        store.commit(vec![volatile(put(&lease, expect(&store, &lease), beat))]).await.unwrap();
    }
    store.commit(vec![put(&other, expect(&store, &other), 3)]).await.unwrap();
    assert_eq!(objects(&open(&tape.copy(), 0)), objects(&store), "it rode along");
    store.commit(vec![volatile(put(&lease, expect(&store, &lease), 4))]).await.unwrap();
    let before = (objects(&store), store.revision());
    drop(store);
    let store = open(&tape, 0);
    assert_eq!((objects(&store), store.revision()), before, "an orderly end skips no revision");
}
