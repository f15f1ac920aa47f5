//! The store cut at every write: whatever is left opens as a moment of history that holds all that was promised.

use coracle_api::revision::Revision;

use super::super::disk::QUICK_REPAIR_FROM_BYTES;
use super::tape::{Loss, Tape};
use super::{Objects, expect, formatted, objects, open};
use crate::store::tests::{delete, pod, put, volatile};
use crate::store::writer::REVISIONS_RESERVED;
use crate::store::{Change, Durability, Local, Store};

/// A moment of history.
struct Moment {
    /// How many operations the disk had seen when it was acknowledged.
    acknowledged: usize,
    durable: bool,
    revision: Revision,
    objects: Objects,
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

async fn live(tape: &Tape, store: &Local, rounds: u64) -> Vec<Moment> {
    let moment =
        |durable| Moment { acknowledged: tape.len(), durable, revision: store.revision(), objects: objects(store) };
    let mut history = vec![moment(true)];
    for round in 0..rounds {
        let changes = changes(store, round);
        let durable = changes.iter().any(|change| change.durability == Durability::Durable);
        store.commit(changes).await.unwrap();
        history.push(moment(durable));
    }
    history
}

/// Opens what is left and holds it against history.
async fn survives(left: &Tape, len: u64, history: &[Moment], cut: usize, what: &str) {
    let promised = history.iter().rposition(|m| m.durable && m.acknowledged <= cut).unwrap_or(0);
    let seen = history.iter().filter(|m| m.acknowledged <= cut).map(|m| m.revision).max().unwrap_or_default();
    let store = open(left, len);
    let found = objects(&store);
    let moment = history.iter().rposition(|m| m.objects == found);
    assert!(moment.is_some_and(|moment| moment >= promised), "{what}: {found:?} is no moment from {promised} on");
    assert!(store.revision() >= seen, "{what}: revision {seen} would be given away again");
    let made = store.commit(vec![put(&pod("new"), expect(&store, &pod("new")), 7)]).await.unwrap();
    assert!(made[0].revision() > seen, "{what}");
    let before = (objects(&store), store.revision());
    store.stop().await;
    drop(store);
    let store = open(left, len);
    assert_eq!((objects(&store), store.revision()), before, "{what}");
}

async fn cut_everywhere(len: u64, rounds: u64) {
    let tape = formatted();
    let mut cutter = tape.begin();
    let store = open(&tape, len);
    let history = live(&tape, &store, rounds).await;
    store.stop().await;
    drop(store);
    let end = tape.len();
    assert!(end > rounds as usize);
    for cut in 0..=end {
        for loss in [Loss::Nothing, Loss::Unsynced(cut as u64), Loss::Unsynced(!(cut as u64))] {
            let left = cutter.cut(cut, loss);
            survives(&left, len, &history, cut, &format!("cut after {cut} of {end}, lost {loss:?}")).await;
        }
    }
}

#[tokio::test]
async fn a_cut_at_any_write_leaves_a_prefix_of_history() {
    cut_everywhere(0, 24).await;
}

#[tokio::test]
async fn a_cut_at_any_write_of_a_large_store_leaves_a_prefix_of_history() {
    // As large as it says it is, it is compacted when it is opened, and its commits save what makes repairs quick.
    cut_everywhere(QUICK_REPAIR_FROM_BYTES, 10).await;
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
