//! The watch hub: gives every watcher the same history, in order, without gaps.
//!
//! Invariant: an event is published only after its change is as durable as it asked to be. A watcher reads the ring
//! of its resource at its own pace, so a slow one costs nobody anything: when what it has not read is forgotten, it
//! is told to list again. It is woken only for events under its own prefix.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use coracle_api::revision::Revision;
use tokio::sync::Notify;

use super::converted::View;
use super::ring::Ring;
use super::{Event, Key, Prefix, WatchError};

/// How many events a watcher takes from the ring at once, so that it locks it once for many.
const TAKEN_AT_ONCE: usize = 64;

/// The history of all resources.
pub(super) struct Hub {
    channels: RwLock<HashMap<Box<str>, Arc<Channel>>>,
    /// Nothing before it is known: the revision at which the store was opened.
    start: Revision,
    /// All events up to here are in the rings.
    published: AtomicU64,
    /// For those who wait until so much is published, whatever it is.
    progress: Notify,
    stopped: AtomicBool,
}

/// The history of one resource, and who follows it.
type Channel = RwLock<Followed>;

struct Followed {
    ring: Ring,
    topics: HashMap<Prefix, Watched>,
}

/// A prefix that somebody watches.
#[derive(Default)]
struct Watched {
    topic: Arc<Topic>,
    watchers: usize,
}

/// What the watchers of one prefix share.
#[derive(Default)]
struct Topic {
    changed: Notify,
    /// The newest event under the prefix that the ring has forgotten since the topic exists. A watcher of a quiet
    /// namespace in a busy resource need not follow the ring: it has lost something only if this says so.
    forgotten: AtomicU64,
}

/// Those who wait for what was published.
#[must_use = "they sleep until they are woken"]
pub(super) struct Waiting(Vec<Arc<Topic>>);

impl Waiting {
    /// Wakes them. It is for a moment when no lock is held that they will want.
    pub(super) fn wake(self) {
        self.0.iter().for_each(|topic| topic.changed.notify_waiters());
    }
}

impl Followed {
    fn topics_of(&self, key: &Key) -> impl Iterator<Item = &Arc<Topic>> {
        key.prefixes().into_iter().filter_map(|prefix| Some(&self.topics.get(prefix)?.topic))
    }

    fn forget(&mut self, now: Instant) {
        while let Some(event) = self.ring.forget(now) {
            for topic in self.topics_of(event.entry.key()) {
                topic.forgotten.store(event.revision().get(), Ordering::Relaxed);
            }
        }
    }
}

impl Hub {
    /// A hub without history, at the revision at which the store was opened.
    pub(super) fn new(start: Revision) -> Self {
        Self {
            channels: RwLock::default(),
            start,
            published: AtomicU64::new(start.get()),
            progress: Notify::new(),
            stopped: AtomicBool::new(false),
        }
    }

    /// The revision up to which all events are published.
    pub(super) fn published(&self) -> Revision {
        Revision::new(self.published.load(Ordering::Acquire))
    }

    /// Publishes the newest events, in the order of their revisions. Who waits for them is still to be woken.
    pub(super) fn publish(&self, events: Vec<Event>, now: Instant) -> Waiting {
        let mut topics = Vec::new();
        let Some(last) = events.last().map(Event::revision) else { return Waiting(topics) };
        for event in events {
            let channel = self.channel(event.entry.key().table());
            let mut followed = channel.write().unwrap_or_else(PoisonError::into_inner);
            topics.extend(followed.topics_of(event.entry.key()).cloned());
            followed.ring.push(event, now);
            followed.forget(now);
        }
        self.published.store(last.get(), Ordering::Release);
        self.progress.notify_waiters();
        Waiting(topics)
    }

    /// Returns when all events up to this revision are published.
    pub(super) async fn reached(&self, revision: Revision) {
        loop {
            // Made before looking: from here on it is told of every change, though it is not awaited yet.
            let progress = self.progress.notified();
            if self.published() >= revision {
                return;
            }
            progress.await;
        }
    }

    /// Lets go of the events that have aged, in all resources.
    pub(super) fn forget(&self, now: Instant) {
        for channel in self.all() {
            channel.write().unwrap_or_else(PoisonError::into_inner).forget(now);
        }
    }

    /// Follows a prefix.
    pub(super) fn watch(self: &Arc<Self>, prefix: &Prefix, from: Revision) -> Result<Watcher, WatchError> {
        let channel = self.channel(prefix.table());
        let mut followed = channel.write().unwrap_or_else(PoisonError::into_inner);
        let oldest = followed.ring.oldest();
        if from < oldest {
            return Err(WatchError::Expired { requested: from, oldest });
        }
        let watched = followed.topics.entry(prefix.clone()).or_default();
        watched.watchers += 1;
        let topic = Arc::clone(&watched.topic);
        drop(followed);
        Ok(Watcher {
            hub: Arc::clone(self),
            channel,
            topic,
            prefix: prefix.clone(),
            taken: VecDeque::new(),
            cursor: from,
            delivered: from,
            view: None,
        })
    }

    /// Ends all watches, when they have delivered what was published.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for channel in self.all() {
            let followed = channel.read().unwrap_or_else(PoisonError::into_inner);
            followed.topics.values().for_each(|watched| watched.topic.changed.notify_waiters());
        }
    }

    fn all(&self) -> Vec<Arc<Channel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn channel(&self, table: &str) -> Arc<Channel> {
        let channels = self.channels.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(table) {
            return Arc::clone(channel);
        }
        drop(channels);
        let mut channels = self.channels.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(RwLock::new(Followed { ring: Ring::new(self.start), topics: HashMap::new() }));
        Arc::clone(channels.entry(table.into()).or_insert_with(new))
    }
}

/// A watcher: every event under its prefix after its revision, in order, without gaps.
pub struct Watcher {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    topic: Arc<Topic>,
    prefix: Prefix,
    /// Events taken from the ring, not yet delivered; at most [`TAKEN_AT_ONCE`].
    taken: VecDeque<Event>,
    /// Everything up to here was taken.
    cursor: Revision,
    /// Everything up to here was delivered.
    delivered: Revision,
    /// The version in which events are told, if it is not the stored one.
    view: Option<View>,
}

impl Watcher {
    /// The next event, when there is one. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`WatchError`]; then no event follows.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        let topic = Arc::clone(&self.topic);
        loop {
            // Made before looking: from here on it is told of every change, though it is not awaited yet.
            let changed = topic.changed.notified();
            let stopped = self.hub.stopped.load(Ordering::Acquire);
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if stopped {
                return Err(WatchError::Stopped);
            }
            changed.await;
        }
    }

    /// The next event, if it has happened already.
    ///
    /// # Errors
    /// [`WatchError::Expired`]; then no event follows.
    pub fn try_next(&mut self) -> Result<Option<Event>, WatchError> {
        if self.taken.is_empty() {
            self.take()?;
        }
        let event = self.taken.pop_front();
        self.delivered = match (&event, self.taken.is_empty()) {
            (_, true) => self.cursor,
            (Some(event), false) => event.revision(),
            (None, false) => self.delivered,
        };
        Ok(match &self.view {
            Some(view) => event.map(|event| view.event(&event)),
            None => event,
        })
    }

    /// The same watch, its events told in another version.
    pub(super) fn seen_through(mut self, view: View) -> Self {
        self.view = Some(view);
        self
    }

    /// The revision up to which everything under the prefix was delivered.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.delivered
    }

    /// The same, brought up to date: what a bookmark says.
    ///
    /// # Errors
    /// [`WatchError::Expired`]; then no event follows.
    pub fn progress(&mut self) -> Result<Revision, WatchError> {
        if self.taken.is_empty() {
            self.take()?;
            if self.taken.is_empty() {
                self.delivered = self.cursor;
            }
        }
        Ok(self.delivered)
    }

    /// Takes the next events from the ring.
    fn take(&mut self) -> Result<(), WatchError> {
        // Before the ring is read: what is published by now is seen in it.
        let published = self.hub.published();
        let followed = self.channel.read().unwrap_or_else(PoisonError::into_inner);
        if self.topic.forgotten.load(Ordering::Relaxed) > self.cursor.get() {
            return Err(WatchError::Expired { requested: self.cursor, oldest: followed.ring.oldest() });
        }
        for event in followed.ring.after(self.cursor) {
            if self.prefix.covers(event.entry.key()) {
                self.taken.push_back(event.clone());
            }
            self.cursor = event.revision();
            if self.taken.len() == TAKEN_AT_ONCE {
                return Ok(());
            }
        }
        self.cursor = self.cursor.max(published);
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut followed = self.channel.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = followed.topics.get_mut(&self.prefix) {
            watched.watchers -= 1;
            if watched.watchers == 0 {
                followed.topics.remove(&self.prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_forgotten_when_nobody_watches_it_any_more() {
        let hub = Arc::new(Hub::new(Revision::new(1)));
        let prefix = Prefix::namespace("", "pods", "default");
        let topics = || hub.channel(prefix.table()).read().unwrap().topics.len();
        let one = hub.watch(&prefix, Revision::new(1));
        let other = hub.watch(&prefix, Revision::new(1));
        assert_eq!(topics(), 1);
        drop(one);
        assert_eq!(topics(), 1);
        drop(other);
        assert_eq!(topics(), 0);
    }
}
