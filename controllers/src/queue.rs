//! A work queue of keys: each key is worked on by one worker at a time, and adding it twice is adding it once.
//!
//! It is bounded by the number of objects that exist, because a key waits in it at most once. A key that is
//! added while it is worked on comes again afterwards. Failures of a key delay it, twice as long each time.
//! A key whose work was long rests before it comes again, so that what changes meanwhile is done in one go.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// The delay after a key's first failure (client-go's `DefaultControllerRateLimiter`).
pub(crate) const BACKOFF_FIRST: Duration = Duration::from_millis(5);

/// The longest delay after failures (client-go's `DefaultControllerRateLimiter`).
pub(crate) const BACKOFF_MAX: Duration = Duration::from_secs(1000);

/// A rest shorter than this is not worth a timer.
const REST_MIN: Duration = Duration::from_millis(1);

/// The delay after the `failures`-th failure in a row.
pub(crate) fn backoff(failures: u32, max: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
    BACKOFF_FIRST.saturating_mul(factor).min(max)
}

/// The queue.
pub(crate) struct Queue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    backoff_max: Duration,
}

struct State<K> {
    ready: VecDeque<K>,
    waiting: HashSet<K>,
    working: HashSet<K>,
    later: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    resting: HashMap<K, Instant>,
    serial: u64,
}

impl<K> Default for Queue<K> {
    fn default() -> Self {
        Self::with_backoff_max(BACKOFF_MAX)
    }
}

impl<K> Queue<K> {
    /// A queue whose failed keys wait at most `backoff_max`.
    pub(crate) fn with_backoff_max(backoff_max: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            waiting: HashSet::new(),
            working: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            resting: HashMap::new(),
            serial: 0,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), backoff_max }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Adds a key, unless it waits already.
    pub(crate) fn add(&self, key: K) {
        if self.lock().add(key) {
            self.wake.notify_one();
        }
    }

    /// Adds a key when `delay` has passed; of two delays for a key the shorter holds.
    pub(crate) fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.lock().add_at(key, Instant::now() + delay);
        self.wake.notify_one();
    }

    /// Adds a key after its back-off, and counts the failure.
    pub(crate) fn add_failed(&self, key: K) {
        let delay = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures = failures.saturating_add(1);
            backoff(*failures, self.backoff_max)
        };
        self.add_after(key, delay);
    }

    /// Forgets the failures of a key.
    pub(crate) fn forget(&self, key: &K) {
        self.lock().failures.remove(key);
    }

    /// The next key to work on; it must be given back with [`Queue::done`].
    pub(crate) async fn next(&self) -> K {
        loop {
            let (key, more, deadline) = {
                let mut state = self.lock();
                state.ripen(Instant::now());
                let key = state.take();
                (key, !state.ready.is_empty(), state.later.keys().next().map(|(at, _)| *at))
            };
            if let Some(key) = key {
                if more {
                    self.wake.notify_one();
                }
                return key;
            }
            match deadline {
                None => self.wake.notified().await,
                Some(at) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = sleep_until(at) => {}
                },
            }
        }
    }

    /// Says that the work on a key has ended; if it was added meanwhile it waits again, at least for `rest`.
    pub(crate) fn done(&self, key: &K, rest: Duration) {
        let mut state = self.lock();
        state.working.remove(key);
        if rest >= REST_MIN {
            state.rest(key.clone(), rest);
        }
        if state.waiting.remove(key) && state.add(key.clone()) {
            drop(state);
            self.wake.notify_one();
        }
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether somebody is to be woken.
    fn add(&mut self, key: K) -> bool {
        if let Some(until) = self.resting.get(&key).copied() {
            if until > Instant::now() {
                self.add_at(key, until);
                return true;
            }
            self.resting.remove(&key);
        }
        if !self.waiting.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn rest(&mut self, key: K, rest: Duration) {
        let now = Instant::now();
        self.resting.retain(|_, until| *until > now);
        self.resting.insert(key, now + rest);
    }

    fn add_at(&mut self, key: K, at: Instant) {
        if let Some(slot) = self.due.get(&key).copied() {
            if slot.0 <= at {
                return;
            }
            self.later.remove(&slot);
        }
        self.serial += 1;
        let slot = (at, self.serial);
        self.due.insert(key.clone(), slot);
        self.later.insert(slot, key);
    }

    fn ripen(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.waiting.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_key_added_while_worked_on_comes_again_once() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        let key = queue.next().await;
        queue.add("a");
        queue.add("a");
        assert!(queue.next().now_or_never().is_none(), "one worker per key");
        queue.done(&key, Duration::ZERO);
        assert_eq!(queue.next().now_or_never(), Some("a"));
        queue.done(&key, Duration::ZERO);
        assert!(queue.next().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_shorter_delay_holds() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(10));
        queue.add_after("a", Duration::from_secs(30));
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed().as_secs(), 10);
        queue.done(&"a", Duration::ZERO);
        assert!(tokio::time::timeout(Duration::from_secs(100), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_whose_work_was_long_rests_and_others_do_not() {
        let queue = Queue::default();
        let rest = Duration::from_secs(10);
        queue.add("a");
        queue.next().await;
        queue.add("a");
        queue.done(&"a", rest);
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.next().now_or_never(), Some("b"));
        let start = Instant::now();
        assert_eq!(queue.next().await, "a");
        assert_eq!(start.elapsed(), rest);
        queue.done(&"a", Duration::ZERO);
        assert!(queue.next().now_or_never().is_none(), "however often it was added it comes once");
        queue.add("a");
        assert_eq!(queue.next().now_or_never(), Some("a"), "it has rested");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_double_the_delay_until_forgotten() {
        let queue = Queue::default();
        let mut waits = Vec::new();
        for round in 0..4 {
            if round == 3 {
                queue.forget(&"a");
            }
            let start = Instant::now();
            queue.add_failed("a");
            let key = queue.next().await;
            queue.done(&key, Duration::ZERO);
            waits.push(start.elapsed().as_millis());
        }
        assert_eq!(waits, [5, 10, 20, 5]);
        assert_eq!(backoff(40, BACKOFF_MAX), BACKOFF_MAX);
    }
}
