//! The ring: the recent events of one resource, bounded by number, bytes and age.
//!
//! Invariant: every event after `oldest` is in it, in the order of revisions. It decides what is forgotten, and
//! hands it over so that others may know.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use coracle_api::revision::Revision;

use super::Event;

/// The most events of a resource that are kept: one rollout of 10,000 pods may be missed by a watcher that is busy
/// with the one before.
pub(super) const EVENTS_MAX: usize = 16_384;

/// The most bytes that the events of a resource keep alive, with the states before and after each.
pub(super) const BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long an event is kept that nobody forces out: as long as etcd keeps history for Kubernetes by default.
pub(super) const AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// So many events are kept at any age: a client of a quiet resource comes back after an hour and misses nothing.
pub(super) const EVENTS_AT_ANY_AGE: usize = 128;

/// So many of the newest events are looked through before the others are searched.
const NEWEST_LIKELY: usize = 8;

/// The recent events of one resource.
pub(super) struct Ring {
    events: VecDeque<Kept>,
    bytes: usize,
    oldest: Revision,
}

struct Kept {
    event: Event,
    /// The event's, at hand without following it.
    revision: Revision,
    since: Instant,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.event.entry.bytes().len() + self.event.previous().map_or(0, |before| before.bytes().len())
    }
}

impl Ring {
    /// An empty ring: nothing happened after `oldest`.
    pub(super) fn new(oldest: Revision) -> Self {
        Self { events: VecDeque::new(), bytes: 0, oldest }
    }

    /// The oldest revision from which history is whole.
    pub(super) fn oldest(&self) -> Revision {
        self.oldest
    }

    /// Adds the newest event.
    pub(super) fn push(&mut self, event: Event, now: Instant) {
        let kept = Kept { revision: event.revision(), event, since: now };
        self.bytes += kept.bytes();
        self.events.push_back(kept);
    }

    /// Forgets one event if there is one to forget; call it until there is none.
    pub(super) fn forget(&mut self, now: Instant) -> Option<Event> {
        let first = self.events.front()?;
        let full = self.events.len() > EVENTS_MAX || self.bytes > BYTES_MAX;
        let aged = self.events.len() > EVENTS_AT_ANY_AGE && now.duration_since(first.since) > AGE_MAX;
        if !full && !aged {
            return None;
        }
        let kept = self.events.pop_front()?;
        self.bytes -= kept.bytes();
        self.oldest = kept.revision;
        if aged && self.events.capacity() > 4 * self.events.len() {
            self.events.shrink_to(2 * self.events.len());
        }
        Some(kept.event)
    }

    /// The events after `revision`, of those that are kept.
    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = &Event> {
        // Most watchers are up to date: what they have not seen stands at the end.
        let newest = self.events.len().saturating_sub(NEWEST_LIKELY);
        let start = match self.events.get(newest) {
            Some(kept) if kept.revision <= revision => {
                newest + self.events.range(newest..).take_while(|kept| kept.revision <= revision).count()
            }
            _ => self.events.partition_point(|kept| kept.revision <= revision),
        };
        self.events.range(start..).map(|kept| &kept.event)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::admit::Admitted;
    use crate::store::{Encoded, Happened, Key};

    fn event(revision: u64, padding: usize) -> Event {
        let object = Encoded::new(&Admitted::for_tests(json!({"p": "x".repeat(padding)})));
        let entry = object.stamped(Key::new("", "pods", "default", "web"), Revision::new(revision));
        Event { happened: Happened::Added, entry: Arc::new(entry) }
    }

    fn revisions(ring: &Ring, after: u64) -> Vec<u64> {
        ring.after(Revision::new(after)).map(|e| e.revision().get()).collect()
    }

    fn drain(ring: &mut Ring, now: Instant) -> usize {
        std::iter::from_fn(|| ring.forget(now)).count()
    }

    #[test]
    fn history_is_found_from_any_revision() {
        let (mut ring, now) = (Ring::new(Revision::new(3)), Instant::now());
        for revision in [5, 6, 9] {
            ring.push(event(revision, 1), now);
        }
        assert_eq!(drain(&mut ring, now), 0);
        assert_eq!(ring.oldest(), Revision::new(3));
        assert_eq!(revisions(&ring, 3), [5, 6, 9]);
        assert_eq!(revisions(&ring, 5), [6, 9]);
        assert_eq!(revisions(&ring, 7), [9]);
        assert_eq!(revisions(&ring, 9), Vec::<u64>::new());
        for revision in 10..=30 {
            ring.push(event(revision, 1), now);
        }
        for from in 3..=30 {
            let expected: Vec<u64> = [5, 6, 9].into_iter().chain(10..=30).filter(|r| *r > from).collect();
            assert_eq!(revisions(&ring, from), expected, "{from}");
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let (mut ring, now) = (Ring::new(Revision::ZERO), Instant::now());
        for revision in 1..=EVENTS_MAX as u64 + 2 {
            ring.push(event(revision, 1), now);
        }
        assert_eq!(drain(&mut ring, now), 2);
        assert_eq!(ring.oldest(), Revision::new(2));
    }

    #[test]
    fn the_oldest_go_when_they_take_too_many_bytes() {
        let (mut ring, now) = (Ring::new(Revision::ZERO), Instant::now());
        for revision in 1..=40 {
            ring.push(event(revision, 1024 * 1024), now);
        }
        assert!(drain(&mut ring, now) >= 8);
        assert!(ring.bytes <= BYTES_MAX);
        assert_eq!(revisions(&ring, ring.oldest().get()).len(), ring.events.len());
    }

    #[test]
    fn the_aged_go_but_for_the_last_few() {
        let (mut ring, then) = (Ring::new(Revision::ZERO), Instant::now());
        for revision in 1..=1000 {
            ring.push(event(revision, 1), then);
        }
        assert_eq!(drain(&mut ring, then + AGE_MAX), 0);
        assert_eq!(drain(&mut ring, then + AGE_MAX * 2), 1000 - EVENTS_AT_ANY_AGE);
        assert_eq!(drain(&mut ring, then + AGE_MAX * 99), 0);
    }
}
