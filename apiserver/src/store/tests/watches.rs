//! Watches: woken when they should be, expired when they must be, whole under concurrent writes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use coracle_api::revision::Revision;
use tokio::task::JoinSet;

use super::{delete, object, pod, put, value, volatile};
use crate::store::ring::EVENTS_MAX;
use crate::store::{
    Change, CommitError, Encoded, Event, Expect, Happened, Key, Listing, Local, Prefix, Store, WatchError, Watcher,
    memory,
};

fn pods() -> Prefix {
    Prefix::resource("", "pods")
}

async fn make(store: &Local, key: &Key, value: u64) -> Revision {
    let expect = store.get(key).map_or(Expect::Absent, |entry| Expect::At(entry.revision()));
    store.commit(vec![volatile(put(key, expect, value))]).await.unwrap()[0].revision()
}

fn is_waiting(watcher: &mut Watcher) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    pin!(watcher.next()).poll(&mut context).is_pending()
}

#[tokio::test]
async fn a_waiting_watcher_is_woken_by_its_own_prefix_alone() {
    let store = memory::open().unwrap();
    let mut watcher = store.watch(&Prefix::namespace("", "pods", "default"), store.revision()).unwrap();
    let mut next = counted(watcher.next());
    assert!(next.poll().is_pending());
    make(&store, &Key::new("", "nodes", "", "n"), 1).await;
    make(&store, &Key::new("", "pods", "other", "web"), 2).await;
    assert!(!next.was_woken());
    let made = make(&store, &pod("web"), 3).await;
    assert!(next.was_woken());
    let Poll::Ready(Ok(event)) = next.poll() else { panic!("the event is there") };
    assert_eq!((event.revision(), event.happened), (made, Happened::Added));
}

/// A future that counts how often it is woken.
struct Woken<F> {
    future: std::pin::Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

fn counted<F: Future>(future: F) -> Woken<F> {
    Woken { future: Box::pin(future), wakes: Arc::default() }
}

impl<F: Future> Woken<F> {
    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn was_woken(&self) -> bool {
        self.wakes.0.load(std::sync::atomic::Ordering::SeqCst) > 0
    }
}

#[tokio::test]
async fn a_bookmark_goes_on_while_nothing_happens_under_the_prefix() {
    let store = memory::open().unwrap();
    let start = store.revision();
    let mut watcher = store.watch(&pods(), start).unwrap();
    let elsewhere = make(&store, &Key::new("", "nodes", "", "n"), 1).await;
    assert_eq!((watcher.revision(), watcher.progress()), (start, Ok(elsewhere)));
    let here = make(&store, &pod("web"), 2).await;
    let later = make(&store, &Key::new("", "nodes", "", "n"), 3).await;
    assert_eq!(watcher.progress(), Ok(elsewhere), "an event waits to be delivered");
    assert_eq!(watcher.next().await.unwrap().revision(), here);
    assert_eq!(watcher.progress(), Ok(later));
    assert!(is_waiting(&mut watcher));
}

#[tokio::test]
async fn a_watcher_that_falls_out_of_history_is_told_and_harms_nobody() {
    let store = memory::open().unwrap();
    let start = store.revision();
    let mut slow = store.watch(&pods(), start).unwrap();
    let mut of_a_quiet_namespace = store.watch(&Prefix::namespace("", "pods", "quiet"), start).unwrap();
    let mut of_a_quiet_object = store.watch(&Prefix::object(&pod("quiet")), start).unwrap();
    for _ in 0..EVENTS_MAX / 1000 + 1 {
        let (key, mut changes) = (pod("busy"), Vec::new());
        let mut expect = store.get(&key).map_or(Expect::Absent, |entry| Expect::At(entry.revision()));
        for revision in (store.revision().get() + 1..).take(1000) {
            changes.push(volatile(put(&key, expect, revision)));
            expect = Expect::At(Revision::new(revision));
        }
        store.commit(changes).await.unwrap();
    }
    let Err(WatchError::Expired { requested, oldest }) = slow.next().await else { panic!("it has missed events") };
    assert_eq!((requested, oldest > start), (start, true));
    assert_eq!(store.watch(&pods(), start).err(), Some(WatchError::Expired { requested, oldest }));
    assert_eq!(store.watch(&pods(), oldest).unwrap().next().await.unwrap().revision(), oldest.next());
    let quiet = make(&store, &Key::new("", "pods", "quiet", "web"), 1).await;
    assert_eq!(of_a_quiet_namespace.next().await.unwrap().revision(), quiet);
    assert_eq!(of_a_quiet_object.progress(), Ok(quiet));
}

#[tokio::test]
async fn a_watch_ends_with_the_store_after_what_was_published() {
    let store = memory::open().unwrap();
    let mut watcher = store.watch(&pods(), store.revision()).unwrap();
    let mut waiting = store.watch(&Prefix::resource("", "nodes"), store.revision()).unwrap();
    let mut waiting = counted(waiting.next());
    assert!(waiting.poll().is_pending());
    make(&store, &pod("web"), 1).await;
    store.stop().await;
    assert!(waiting.was_woken());
    assert!(watcher.next().await.is_ok());
    assert_eq!(watcher.next().await, Err(WatchError::Stopped));
    assert_eq!(waiting.poll(), Poll::Ready(Err(WatchError::Stopped)));
    drop(store);
    assert_eq!(watcher.next().await, Err(WatchError::Stopped));
}

/// What stands where: revision and value.
type Known = BTreeMap<Key, (Revision, u64)>;

fn known(listing: &Listing) -> Known {
    listing.entries.iter().map(|entry| (entry.key().clone(), (entry.revision(), value(entry)))).collect()
}

/// A client that lists, then follows.
struct Client {
    objects: Known,
    watcher: Watcher,
    last: Revision,
}

impl Client {
    fn new(store: &Local, prefix: &Prefix) -> Self {
        let listing = store.list(prefix);
        let watcher = store.watch(prefix, listing.revision).unwrap();
        Self { objects: known(&listing), watcher, last: listing.revision }
    }

    fn learn(&mut self, event: &Event) {
        assert!(event.revision() > self.last, "no event comes twice or late");
        self.last = event.revision();
        let before = event.previous().map(|entry| (entry.revision(), value(entry)));
        let forgot = match event.happened {
            Happened::Added | Happened::Modified(_) => {
                self.objects.insert(event.entry.key().clone(), (event.revision(), value(&event.entry)))
            }
            Happened::Deleted(_) => self.objects.remove(event.entry.key()),
        };
        assert_eq!(forgot, before, "no event is missing in between");
    }

    async fn follow_to(mut self, end: Key) -> Known {
        while !self.objects.contains_key(&end) {
            let event = self.watcher.next().await.unwrap();
            self.learn(&event);
        }
        self.objects
    }
}

async fn write_at_random(store: Arc<Local>, writer: u64) {
    let mut random = writer;
    for round in 0..300_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let key = Key::new("", "pods", ["a", "b"][(random >> 40) as usize % 2], &format!("p{}", (random >> 33) % 5));
        let change = match store.get(&key) {
            None => put(&key, Expect::Absent, round),
            Some(entry) if (random >> 50).is_multiple_of(4) => delete(&key, entry.revision()),
            Some(entry) => put(&key, Expect::At(entry.revision()), round),
        };
        let change = if (random >> 20).is_multiple_of(2) { volatile(change) } else { change };
        match store.commit(vec![change]).await {
            Ok(_) | Err(CommitError::Mismatch { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_lists_and_then_watches_knows_all_at_any_time() {
    let store = Arc::new(memory::open().unwrap());
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        writers.spawn(write_at_random(Arc::clone(&store), writer));
    }
    let end = |namespace| Key::new("", "pods", namespace, "zz-end");
    let mut clients = JoinSet::new();
    for begun in 0..60 {
        let (prefix, end) = match begun % 3 {
            0 => (pods(), end("b")),
            1 => (Prefix::namespace("", "pods", "a"), end("a")),
            _ => (Prefix::namespace("", "pods", "b"), end("b")),
        };
        let client = Client::new(&store, &prefix);
        clients.spawn(async move { (prefix, client.follow_to(end).await) });
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
    make(&store, &end("a"), 0).await;
    make(&store, &end("b"), 0).await;
    for (prefix, learnt) in clients.join_all().await {
        assert_eq!(learnt, known(&store.list(&prefix)));
    }
}

/// Lists in a tight loop, on a thread of its own, until it has seen the end.
fn list_all_along(store: &Local, end: &Key) -> Vec<(Revision, Known)> {
    let mut seen: Vec<(Revision, Known)> = Vec::new();
    loop {
        let listing = store.list(&pods());
        assert!(listing.revision <= store.revision(), "what is listed is published");
        let ended = store.get(end).is_some();
        if seen.last().is_none_or(|(last, _)| *last != listing.revision) {
            seen.push((listing.revision, known(&listing)));
        }
        if ended {
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_list_is_history_up_to_its_revision_and_no_further() {
    let store = Arc::new(memory::open().unwrap());
    let mut history = store.watch(&pods(), store.revision()).unwrap();
    let end = Key::new("", "pods", "b", "zz-end");
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let (store, end) = (Arc::clone(&store), end.clone());
        readers.spawn_blocking(move || list_all_along(&store, &end));
    }
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        writers.spawn(write_at_random(Arc::clone(&store), writer));
    }
    writers.join_all().await;
    make(&store, &end, 0).await;
    let mut events = Vec::new();
    while let Some(event) = history.try_next().unwrap() {
        events.push(event);
    }
    for lists in readers.join_all().await {
        let (mut objects, mut events) = (Known::new(), events.iter().peekable());
        for (revision, listed) in lists {
            while let Some(event) = events.next_if(|event| event.revision() <= revision) {
                let key = event.entry.key();
                match event.state() {
                    Some(entry) => objects.insert(key.clone(), (entry.revision(), value(entry))),
                    None => objects.remove(key),
                };
            }
            assert_eq!(listed, objects, "at {revision}");
        }
    }
}

#[tokio::test]
async fn an_object_is_encoded_once_for_all_who_see_it() {
    let store = memory::open().unwrap();
    let encoded: Encoded = object(1);
    let change = Change { action: crate::store::Action::Put(encoded), ..put(&pod("web"), Expect::Absent, 1) };
    let (mut one, mut other) =
        (store.watch(&pods(), store.revision()).unwrap(), store.watch(&pods(), store.revision()).unwrap());
    let made = store.commit(vec![change]).await.unwrap();
    let shared = [one.next().await.unwrap().entry, other.next().await.unwrap().entry, store.get(&pod("web")).unwrap()];
    assert!(shared.iter().all(|entry| Arc::ptr_eq(entry, &made[0])));
}
