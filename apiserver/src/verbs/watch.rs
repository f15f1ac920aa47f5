//! Following a collection: what is there, then what happens, as one JSON line an event.
//!
//! Invariant: a client that reads on misses nothing and sees nothing twice; one that cannot be served so is told 410.
//! What waits for a client that does not read is bounded; the rest stays in the history that all watchers share.

mod lines;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::failure::Failure;
use coracle_api::revision::Revision;
use http::StatusCode;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use self::lines::{Lines, Told};
use super::selection;
use crate::answer::{self, Answer, Encoding, Refused};
use crate::machine::Call;
use crate::options::list::{Bookmarks, From, InitialEvents, ListOptions, Use, parse};
use crate::registry::Scope;
use crate::store::{Entry, Event, Happened, Prefix, Store, WatchError, Watcher};

/// How often a quiet watch tells how far it has come: upstream's interval.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

/// So many events are put together before they are sent, if they are there already.
const EVENTS_AT_ONCE: usize = 64;

/// So many bytes are put together at most, but for the last event: what a client that stopped reading holds.
const BYTES_AT_ONCE: usize = 64 * 1024;

/// What watches come in, as a refusal names it.
const OFFERED: &str = "application/json;stream=watch";

/// Follows what the path names.
pub(crate) async fn watch(call: &Call) -> Answer {
    let mut options = parse(&call.query, &call.row, Use::Watch)?;
    let wanted = call.wanted()?;
    if wanted.encoding == Encoding::Yaml {
        return Err(Failure::NotAcceptable(OFFERED.to_owned()).into());
    }
    if !call.path.name.is_empty() {
        let named = coracle_api::selector::FieldRequirement {
            path: "metadata.name".to_owned(),
            value: call.path.name.clone(),
            relation: coracle_api::selector::FieldRelation::Equal,
        };
        if !options.fields.is_empty() && options.single_name() != Some(call.path.name.as_str()) {
            return Err(Refused::bad_request("fieldSelector metadata.name doesn't match requested name"));
        }
        options.fields.push(named);
    }
    let prefix = prefix(call, &options);
    let mut lines = Lines::new(Arc::clone(&call.row), wanted);
    let begun = match reached(call, &options).await {
        Ok(()) => begin(&*call.store(), &prefix, &options).map_err(Refused::from),
        Err(refused) => Err(refused),
    };
    let source = match begun {
        Ok(source) => source,
        Err(refused) => {
            // The request itself was fine: what follows from it is told as what follows.
            lines.tell_failure(&refused);
            Source { initial: Vec::new().into_iter(), initial_end: None, watcher: None }
        }
    };
    let now = Instant::now();
    let ends = now + options.timeout.unwrap_or_else(|| lasts(call.machine.limits.min_request_timeout));
    let bookmark = now + BOOKMARK_INTERVAL;
    let following = Following {
        counted: call.machine.metrics.watch_events(&call.row),
        lines,
        source,
        ends,
        alarm: Box::pin(tokio::time::sleep_until(ends.min(bookmark))),
        stopping: Box::pin(call.machine.stopping.clone().cancelled_owned()),
        options,
    };
    let lines = futures::stream::unfold(following, |mut following| async move {
        following.next().await.map(|line| (Ok::<Bytes, Infallible>(line), following))
    });
    Ok(answer::json(StatusCode::OK, axum::body::Body::from_stream(lines)))
}

fn prefix(call: &Call, options: &ListOptions) -> Prefix {
    let in_one_place = !call.path.namespace.is_empty() || call.row.scope == Scope::Cluster;
    match options.single_name().filter(|_| in_one_place) {
        Some(name) => Prefix::object(&call.key(name)),
        None => call.prefix(),
    }
}

/// Waits for the revision that what is there must have at least.
async fn reached(call: &Call, options: &ListOptions) -> Result<(), Refused> {
    match (options.initial, options.from) {
        (InitialEvents::Sent, From::NotOlderThan(revision) | From::Exact(revision)) => call.reached(revision).await,
        _ => Ok(()),
    }
}

/// How long a watch lasts whose client does not say: `least` to twice that, which spreads the return of clients.
fn lasts(least: Duration) -> Duration {
    let spread = getrandom::u32().unwrap_or_default();
    least + least.mul_f64(f64::from(spread) / f64::from(u32::MAX))
}

fn begin(store: &dyn Store, prefix: &Prefix, options: &ListOptions) -> Result<Source, WatchError> {
    let from_here = matches!(options.from, From::Newest | From::Any);
    let with_objects = match options.initial {
        InitialEvents::ByRevision => from_here,
        InitialEvents::Sent => true,
        InitialEvents::Left => false,
    };
    let (mut initial, mut initial_end) = (Vec::new(), None);
    let from = match options.from {
        _ if with_objects => {
            let listing = store.list(prefix);
            initial = listing.entries;
            if options.initial == InitialEvents::Sent && options.bookmarks == Bookmarks::Sent {
                initial_end = Some(listing.revision);
            }
            listing.revision
        }
        From::NotOlderThan(revision) | From::Exact(revision) => revision,
        From::Newest | From::Any => store.revision(),
    };
    let watcher = Some(store.watch(prefix, from)?);
    Ok(Source { initial: initial.into_iter(), initial_end, watcher })
}

/// What there is to be told.
struct Source {
    /// What is there, and not told yet.
    initial: std::vec::IntoIter<Arc<Entry>>,
    /// The revision of what is there, if its end is told.
    initial_end: Option<Revision>,
    /// What happens after that; nothing when the watch is over.
    watcher: Option<Watcher>,
}

/// A watch on its way to a client.
struct Following {
    options: ListOptions,
    lines: Lines,
    /// How many events have been told, for metrics.
    counted: Arc<AtomicU64>,
    source: Source,
    ends: Instant,
    /// Rings when it is time for a bookmark, and when the watch ends.
    alarm: Pin<Box<Sleep>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Following {
    /// The next bytes to send; nothing when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.tell_initial();
            if let Some(piece) = self.lines.pop() {
                return Some(piece);
            }
            let watcher = self.source.watcher.as_mut()?;
            tokio::select! {
                biased;
                () = &mut self.stopping => return None,
                // Before the events, of which there may always be more.
                () = &mut self.alarm => self.ring(),
                event = watcher.next() => match event {
                    Ok(event) => self.take(&event),
                    Err(error) => self.fail(error),
                },
            }
        }
    }

    /// Tells some of what is there, and at last that this was all.
    fn tell_initial(&mut self) {
        while self.lines.bytes() < BYTES_AT_ONCE {
            let Some(entry) = self.source.initial.next() else { break };
            if selection::selects(&self.options, &entry) {
                self.counted.fetch_add(1, Ordering::Relaxed);
                self.lines.tell(Told::Added, entry.bytes());
            }
        }
        if self.source.initial.len() == 0
            && let Some(revision) = self.source.initial_end.take()
        {
            self.lines.tell_initial_end(revision);
        }
    }

    /// Takes an event, and those that are there already.
    fn take(&mut self, event: &Event) {
        self.tell_event(event);
        for _ in 1..EVENTS_AT_ONCE {
            let Some(watcher) = self.source.watcher.as_mut().filter(|_| self.lines.bytes() < BYTES_AT_ONCE) else {
                return;
            };
            match watcher.try_next() {
                Ok(Some(event)) => self.tell_event(&event),
                Ok(None) => return,
                Err(error) => return self.fail(error),
            }
        }
    }

    fn tell_event(&mut self, event: &Event) {
        if let Some((told, object)) = told(&self.options, event) {
            self.counted.fetch_add(1, Ordering::Relaxed);
            self.lines.tell(told, &object);
        }
    }

    /// It is time for a bookmark, or for the end.
    fn ring(&mut self) {
        let now = Instant::now();
        if let Some(watcher) = self.source.watcher.as_mut().filter(|_| self.options.bookmarks == Bookmarks::Sent) {
            match watcher.progress() {
                Ok(revision) => self.lines.tell_progress(revision),
                Err(error) => self.fail(error),
            }
        }
        if now >= self.ends {
            self.source.watcher = None;
        }
        self.alarm.as_mut().reset(self.ends.min(now + BOOKMARK_INTERVAL));
    }

    /// Tells the client why the watch ends.
    fn fail(&mut self, error: WatchError) {
        self.source.watcher = None;
        if matches!(error, WatchError::Expired { .. }) {
            self.lines.tell_failure(&error.into());
        }
    }
}

/// What an event means to a watcher that selects: objects come into a selection and go out of it.
fn told(options: &ListOptions, event: &Event) -> Option<(Told, Bytes)> {
    let selects = |entry: &Entry| options.selects_all() || selection::selects_for_many(options, entry);
    let object = || event.entry.bytes().clone();
    match &event.happened {
        Happened::Added => selects(&event.entry).then(|| (Told::Added, object())),
        Happened::Deleted(before) => selects(before).then(|| (Told::Deleted, object())),
        Happened::Modified(before) => match (selects(before), selects(&event.entry)) {
            (true, true) => Some((Told::Modified, object())),
            (false, true) => Some((Told::Added, object())),
            // Its last selected state, with the revision at which it left.
            (true, false) => Some((Told::Deleted, before.restamped(event.revision()).bytes().clone())),
            (false, false) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::admit::Admitted;
    use crate::registry::Registry;
    use crate::store::{Action, Change, Durability, Encoded, Expect, Key, Local, memory};

    /// Gives the object this label and this phase, or takes it away.
    async fn write(store: &Local, (name, label, phase, ends): (u8, u8, u8, bool)) {
        let key = Key::new("", "pods", "default", &format!("p{name}"));
        let current = store.get(&key);
        let expect = current.as_ref().map_or(Expect::Absent, |entry| Expect::At(entry.revision()));
        let object = json!({"metadata": {"name": key.name(), "labels": {"l": label.to_string()}},
            "status": {"phase": phase.to_string()}});
        let action = match current {
            Some(_) if ends => Action::Delete,
            _ => Action::Put(Encoded::new(&Admitted::for_tests(object))),
        };
        store.commit(vec![Change { key, expect, action, durability: Durability::Volatile }]).await.unwrap();
    }

    type State = BTreeMap<String, Value>;

    fn selected(store: &Local, prefix: &Prefix, options: &ListOptions) -> (Revision, State) {
        let listing = store.list(prefix);
        let entries = listing.entries.into_iter().filter(|entry| selection::selects(options, entry));
        (listing.revision, entries.map(|entry| (entry.key().name().to_owned(), entry.value())).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_list_and_what_is_told_after_it_make_the_next_list(
            writes in prop::collection::vec((0_u8..4, 0_u8..2, 0_u8..2, any::<bool>()), 1..30), then in 0_usize..30,
            query in prop::sample::select(vec![
                "", "labelSelector=l%3D1", "labelSelector=l+notin+(1)", "fieldSelector=status.phase%3D1",
                "fieldSelector=metadata.name%3Dp1", "fieldSelector=metadata.name!%3Dp1&labelSelector=l%3D0",
            ]),
        ) {
            let pods = Registry::builtin().get("", "v1", "pods").unwrap();
            let options = parse(query, &pods, Use::Watch).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (store, prefix) = (memory::open().unwrap(), Prefix::resource("", "pods"));
                let (mut from, mut state) = selected(&store, &prefix, &options);
                for (index, what) in writes.iter().enumerate() {
                    if index == then {
                        (from, state) = selected(&store, &prefix, &options);
                    }
                    write(&store, *what).await;
                }
                let mut watcher = store.watch(&prefix, from).unwrap();
                let mut last = from;
                while let Some(event) = watcher.try_next().unwrap() {
                    let Some((what, object)) = told(&options, &event) else { continue };
                    let object: Value = serde_json::from_slice(&object).unwrap();
                    let revision = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
                    assert!(revision > last, "revisions grow");
                    last = revision;
                    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                    let before = match what {
                        Told::Deleted => state.remove(&name),
                        Told::Added | Told::Modified => state.insert(name, object),
                    };
                    assert_eq!(before.is_some(), what != Told::Added, "it is told what the watcher can know");
                }
                assert_eq!(state, selected(&store, &prefix, &options).1);
            });
        }
    }
}
