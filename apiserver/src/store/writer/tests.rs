//! The writer before a disk that a test plays: who is answered when, and what is written with what.

use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use coracle_api::revision::Revision;
use futures::poll;
use serde_json::json;

use super::{BATCH_BYTES_MAX, Disk, OWED_KEYS_MAX, Row, WriteError};
use crate::admit::Admitted;
use crate::store::tests::{pod, put, value, volatile};
use crate::store::{Action, Change, CommitError, Encoded, Expect, Local, Store};

/// Shows what is to be written, and waits to be told how that went.
struct Stage {
    shown: SyncSender<Vec<Row>>,
    told: Receiver<Result<(), WriteError>>,
}

impl Disk for Stage {
    fn write(&mut self, rows: &[Row], _reserved: Revision) -> Result<(), WriteError> {
        // When the test is over, all goes well.
        drop(self.shown.send(rows.to_vec()));
        self.told.recv().unwrap_or(Ok(()))
    }
}

/// What a test sees of the disk, and says to it.
struct Play {
    shown: Receiver<Vec<Row>>,
    tell: SyncSender<Result<(), WriteError>>,
}

impl Play {
    /// Waits for a transaction and says how it went.
    fn write(&self, outcome: Result<(), WriteError>) -> Vec<Row> {
        let rows = self.shown.recv().unwrap();
        self.tell.send(outcome).unwrap();
        rows
    }
}

fn staged() -> (Local, Play) {
    let ((shown, seen), (tell, told)) = (sync_channel(1000), sync_channel(1000));
    let store = Local::start(Vec::new(), Revision::new(1), Stage { shown, told }).unwrap();
    (store, Play { shown: seen, tell })
}

fn broken() -> WriteError {
    WriteError::Unknown(Arc::new(std::io::Error::other("no power")))
}

fn create(name: &str, value: u64) -> Vec<Change> {
    vec![put(&pod(name), Expect::Absent, value)]
}

#[tokio::test]
async fn what_is_not_durable_is_neither_seen_nor_told_to_those_whom_it_defeats() {
    for outcome in [Ok(()), Err(broken())] {
        let (store, play) = staged();
        let mut first = pin!(store.commit(create("first", 0)));
        assert!(poll!(&mut first).is_pending());
        let written = play.shown.recv().unwrap();
        assert_eq!(written.len(), 1);
        // While the disk is busy, two come who want the same, and one who wants what stands there for long.
        let (mut winner, mut loser) = (pin!(store.commit(create("a", 1))), pin!(store.commit(create("a", 2))));
        assert!(poll!(&mut winner).is_pending() && poll!(&mut loser).is_pending());
        let mut late = pin!(store.commit(create("first", 3)));
        assert!(poll!(&mut late).is_pending());
        assert_eq!(store.get(&pod("first")), None);
        play.tell.send(Ok(())).unwrap();
        first.await.unwrap();
        assert!(matches!(late.await, Err(CommitError::Mismatch { current: Some(met), .. }) if value(&met) == 0));
        assert_eq!(play.shown.recv().unwrap().len(), 1);
        assert!(poll!(&mut winner).is_pending() && poll!(&mut loser).is_pending());
        assert_eq!(store.get(&pod("a")), None);
        play.tell.send(outcome.clone()).unwrap();
        match outcome {
            Ok(()) => {
                assert_eq!(value(&winner.await.unwrap()[0]), 1);
                let lost = loser.await;
                assert!(matches!(lost, Err(CommitError::Mismatch { current: Some(met), .. }) if value(&met) == 1));
            }
            Err(_) => {
                assert!(matches!(winner.await, Err(CommitError::Disk(_))));
                assert!(matches!(loser.await, Err(CommitError::Disk(_))), "it was defeated by nothing");
                assert_eq!(store.get(&pod("a")), None);
            }
        }
    }
}

#[tokio::test]
async fn what_is_volatile_does_not_wait_for_the_disk_of_others() {
    let (store, play) = staged();
    let mut first = pin!(store.commit(create("first", 0)));
    assert!(poll!(&mut first).is_pending());
    play.shown.recv().unwrap();
    let (mut durable, mut quick) = (
        pin!(store.commit(create("durable", 1))),
        pin!(store.commit(vec![volatile(put(&pod("quick"), Expect::Absent, 2))])),
    );
    assert!(poll!(&mut durable).is_pending() && poll!(&mut quick).is_pending());
    play.tell.send(Ok(())).unwrap();
    first.await.unwrap();
    quick.await.unwrap();
    let rows = play.write(Ok(()));
    assert_eq!(rows.len(), 2, "and rides along with theirs");
    durable.await.unwrap();
}

#[tokio::test]
async fn so_many_keys_are_owed_and_no_more() {
    let (store, play) = staged();
    play.tell.send(Ok(())).unwrap();
    store.commit(create("first", 0)).await.unwrap();
    assert_eq!(play.shown.recv().unwrap().len(), 1);
    for n in 0..OWED_KEYS_MAX {
        store.commit(vec![volatile(put(&pod(&format!("v{n}")), Expect::Absent, 1))]).await.unwrap();
    }
    assert!(play.shown.try_recv().is_err());
    play.tell.send(Ok(())).unwrap();
    store.commit(vec![volatile(put(&pod("one-more"), Expect::Absent, 1))]).await.unwrap();
    assert_eq!(play.shown.recv().unwrap().len(), OWED_KEYS_MAX + 1);
}

#[tokio::test]
async fn a_disk_that_never_heals_does_not_make_the_store_remember_ever_more() {
    let (store, play) = staged();
    let mut most = 0;
    for n in 0..3 * OWED_KEYS_MAX {
        play.tell.send(Err(broken())).unwrap();
        assert!(store.commit(create(&format!("d{n}"), 1)).await.is_err());
        most = most.max(play.shown.recv().unwrap().len());
    }
    assert!(most <= OWED_KEYS_MAX + 1, "{most}");
    for _ in 0..2 {
        play.tell.send(Ok(())).unwrap();
    }
    store.commit(create("last", 1)).await.unwrap();
    let owed = play.shown.recv().unwrap();
    assert!(owed.len() > OWED_KEYS_MAX && owed.iter().all(|(_, state)| state.is_none()));
    assert_eq!(play.shown.recv().unwrap().len(), 1);
}

#[tokio::test]
async fn a_transaction_is_bounded_in_bytes() {
    const OBJECT_BYTES: usize = 1024 * 1024;
    let (store, play) = staged();
    let mut first = pin!(store.commit(create("first", 0)));
    assert!(poll!(&mut first).is_pending());
    play.shown.recv().unwrap();
    let large = Encoded::new(&Admitted::for_tests(json!({"data": "x".repeat(OBJECT_BYTES)})));
    let mut all = Vec::new();
    for n in 0..BATCH_BYTES_MAX / OBJECT_BYTES + 4 {
        let action = Action::Put(large.clone());
        let change = Change { action, ..put(&pod(&format!("large{n}")), Expect::Absent, 0) };
        let mut commit = Box::pin(store.commit(vec![change]));
        assert!(poll!(&mut commit).is_pending());
        all.push(commit);
    }
    play.tell.send(Ok(())).unwrap();
    first.await.unwrap();
    assert_eq!(play.write(Ok(())).len(), BATCH_BYTES_MAX / OBJECT_BYTES);
    assert_eq!(play.write(Ok(())).len(), 4);
    for commit in all {
        commit.await.unwrap();
    }
}
