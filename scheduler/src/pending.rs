//! The pods that wait for a node: some to be tried now, some after a back-off, some until anything changes, some
//! until their claims do.
//!
//! A pure core: time is passed in. A pod is in it at most once. The most important pod is tried first, then
//! the one that has waited longest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

/// The delay after the first failure (kube-scheduler's `podInitialBackoffSeconds`).
const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// The longest delay (kube-scheduler's `podMaxBackoffSeconds`).
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A pod to be tried.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) pod: Arc<Pod>,
    /// How often it was tried before.
    pub(crate) failures: u32,
}

/// The waiting pods.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    waiting: HashMap<NamespacedName, Waiting>,
    ready: BTreeMap<ReadySlot, NamespacedName>,
    backing_off: BTreeMap<DelaySlot, NamespacedName>,
    serial: u64,
}

type ReadySlot = (Reverse<i32>, u64);
type DelaySlot = (Instant, u64);

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Ready(ReadySlot),
    BackingOff(DelaySlot),
    /// It fits nowhere; a change may help, but not before this time.
    Parked(Instant),
    /// It waits for its claims; a change of them is taken up at once.
    Held,
}

impl Pending {
    /// Takes in a pod as it is now. One that waits already stays where it is, unless what it asks for changed.
    pub(crate) fn put(&mut self, key: NamespacedName, pod: Arc<Pod>) {
        let mut failures = 0;
        if let Some(known) = self.waiting.get_mut(&key) {
            let same = known.attempt.pod.spec == pod.spec
                && known.attempt.pod.metadata.labels == pod.metadata.labels
                && known.attempt.pod.metadata.uid == pod.metadata.uid;
            if same {
                known.attempt.pod = pod;
                return;
            }
            if known.attempt.pod.metadata.uid == pod.metadata.uid {
                failures = known.attempt.failures;
            }
        }
        self.make_ready(key, Attempt { pod, failures });
    }

    /// Forgets a pod.
    pub(crate) fn remove(&mut self, key: &NamespacedName) {
        if let Some(waiting) = self.waiting.remove(key) {
            self.leave(waiting.place);
        }
    }

    /// The next pod to try; it is forgotten here.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(NamespacedName, Attempt)> {
        while let Some(entry) = self.backing_off.first_entry()
            && entry.key().0 <= now
        {
            let key = entry.remove();
            if let Some(waiting) = self.waiting.remove(&key) {
                self.make_ready(key, waiting.attempt);
            }
        }
        let (_, key) = self.ready.pop_first()?;
        self.waiting.remove(&key).map(|waiting| (key, waiting.attempt))
    }

    /// Takes back a pod that fits nowhere: it waits until [`Pending::wake`].
    pub(crate) fn park(&mut self, key: NamespacedName, attempt: Attempt, now: Instant) {
        let attempt = Attempt { failures: attempt.failures.saturating_add(1), ..attempt };
        let place = Place::Parked(now + backoff(attempt.failures));
        self.remove(&key);
        self.waiting.insert(key, Waiting { attempt, place });
    }

    /// Takes back a pod that something went wrong with: it waits for its back-off only.
    pub(crate) fn back_off(&mut self, key: NamespacedName, attempt: Attempt, now: Instant) {
        let attempt = Attempt { failures: attempt.failures.saturating_add(1), ..attempt };
        let until = now + backoff(attempt.failures);
        self.remove(&key);
        self.delay(key, attempt, until);
    }

    /// Takes back a pod that waits for its claims: it waits until [`Pending::wake_held`].
    pub(crate) fn hold(&mut self, key: NamespacedName, attempt: Attempt) {
        self.remove(&key);
        self.waiting.insert(key, Waiting { attempt, place: Place::Held });
    }

    /// Something changed that may help those pods that wait for their claims and that `concerns` picks.
    pub(crate) fn wake_held(&mut self, concerns: impl Fn(&Pod) -> bool) {
        let held = self.waiting.iter().filter(|(_, w)| matches!(w.place, Place::Held) && concerns(&w.attempt.pod));
        let held: Vec<_> = held.map(|(key, _)| key.clone()).collect();
        for key in held {
            if let Some(waiting) = self.waiting.remove(&key) {
                self.make_ready(key, waiting.attempt);
            }
        }
    }

    /// A pod that waits for its claims is tried again after a back-off, as what was to be done for them failed.
    pub(crate) fn back_off_held(&mut self, key: &NamespacedName, now: Instant) {
        if let Some(waiting) = self.waiting.remove(key) {
            match waiting.place {
                Place::Held => self.back_off(key.clone(), waiting.attempt, now),
                Place::Ready(_) | Place::BackingOff(_) | Place::Parked(_) => {
                    self.waiting.insert(key.clone(), waiting);
                }
            }
        }
    }

    /// Something changed that may help those that fit nowhere.
    pub(crate) fn wake(&mut self, now: Instant) {
        let parked: Vec<_> = self
            .waiting
            .iter()
            .filter_map(|(key, waiting)| match waiting.place {
                Place::Parked(until) => Some((key.clone(), until)),
                Place::Ready(_) | Place::BackingOff(_) | Place::Held => None,
            })
            .collect();
        for (key, until) in parked {
            let Some(waiting) = self.waiting.remove(&key) else { continue };
            if until <= now {
                self.make_ready(key, waiting.attempt);
            } else {
                self.delay(key, waiting.attempt, until);
            }
        }
    }

    /// When the next back-off ends.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.backing_off.keys().next().map(|(at, _)| *at)
    }

    fn make_ready(&mut self, key: NamespacedName, attempt: Attempt) {
        self.remove(&key);
        let priority = attempt.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        self.serial += 1;
        let slot = (Reverse(priority), self.serial);
        self.ready.insert(slot, key.clone());
        self.waiting.insert(key, Waiting { attempt, place: Place::Ready(slot) });
    }

    fn delay(&mut self, key: NamespacedName, attempt: Attempt, until: Instant) {
        self.serial += 1;
        let slot = (until, self.serial);
        self.backing_off.insert(slot, key.clone());
        self.waiting.insert(key, Waiting { attempt, place: Place::BackingOff(slot) });
    }

    fn leave(&mut self, place: Place) {
        match place {
            Place::Ready(slot) => drop(self.ready.remove(&slot)),
            Place::BackingOff(slot) => drop(self.backing_off.remove(&slot)),
            Place::Parked(_) | Place::Held => {}
        }
    }
}

fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(name: &str) -> NamespacedName {
        NamespacedName::new("a", name)
    }

    fn pod(name: &str, priority: i32, image: &str) -> Arc<Pod> {
        let spec = json!({"priority": priority, "containers": [{"name": "c", "image": image}]});
        Arc::new(serde_json::from_value(json!({"metadata": {"name": name, "uid": name}, "spec": spec})).unwrap())
    }

    fn popped(pending: &mut Pending, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| pending.pop(now)).map(|(key, _)| key.name).collect()
    }

    #[tokio::test]
    async fn important_pods_go_first_then_the_patient() {
        let mut pending = Pending::default();
        for (name, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
            pending.put(key(name), pod(name, priority, "i"));
        }
        assert_eq!(popped(&mut pending, Instant::now()), ["b", "d", "a", "c"]);
    }

    #[tokio::test]
    async fn a_parked_pod_wakes_after_its_backoff_and_only_by_a_change() {
        let mut pending = Pending::default();
        let start = Instant::now();
        pending.put(key("a"), pod("a", 0, "i"));
        let (k, attempt) = pending.pop(start).unwrap();
        pending.park(k, attempt, start);
        pending.put(key("a"), pod("a", 0, "i"));
        assert!(popped(&mut pending, start + Duration::from_secs(99)).is_empty(), "its own status is no news");
        pending.wake(start);
        assert!(popped(&mut pending, start).is_empty());
        assert_eq!(pending.next_due(), Some(start + BACKOFF_FIRST));
        assert_eq!(popped(&mut pending, start + BACKOFF_FIRST), ["a"]);
    }

    #[tokio::test]
    async fn a_pod_that_asks_for_something_else_is_tried_at_once() {
        let mut pending = Pending::default();
        let now = Instant::now();
        pending.put(key("a"), pod("a", 0, "i"));
        let (k, attempt) = pending.pop(now).unwrap();
        pending.park(k, attempt, now);
        pending.put(key("a"), pod("a", 0, "j"));
        let (k, attempt) = pending.pop(now).unwrap();
        assert_eq!(attempt.failures, 1);
        pending.back_off(k, attempt, now);
        assert_eq!(pending.next_due(), Some(now + Duration::from_secs(2)));
        pending.remove(&key("a"));
        assert_eq!(pending.next_due(), None);
    }
}
