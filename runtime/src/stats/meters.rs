//! The containers that run on this node, each with the reins by which it is measured.
//!
//! Invariant: a pod's counters never fall while it is on this node. What a run has used stays with its pod when the
//! run is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coracle_wasm::{Control, Traffic, Usage};
use jiff::Timestamp;

/// All of them, by the uids of their pods.
#[derive(Clone, Default)]
pub(crate) struct Meters(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    pods: BTreeMap<String, Pod>,
    /// By what exceeded what.
    evictions: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Pod {
    ended: Total,
    running: BTreeMap<u64, Run>,
}

struct Run {
    container: String,
    since: Timestamp,
    control: Control,
}

/// What runs of a pod have used together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Total {
    pub(crate) cpu: Duration,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    /// Answers by the class of their status, 1xx to 5xx.
    pub(crate) responses: [u64; 5],
    pub(crate) refused: u64,
    pub(crate) timed_out: u64,
}

impl Total {
    /// Adds what a run has used.
    pub(crate) fn add(&mut self, usage: &Usage) {
        let Traffic { received_bytes, sent_bytes, connections, requests, .. } = usage.traffic;
        self.cpu += usage.cpu;
        self.received_bytes += received_bytes;
        self.sent_bytes += sent_bytes;
        self.connections += connections;
        self.requests += requests.total;
        for (sum, count) in self.responses.iter_mut().zip(requests.by_class) {
            *sum += count;
        }
        self.refused += requests.refused;
        self.timed_out += requests.timed_out;
    }
}

/// What has happened on this node so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    pub(crate) evictions: BTreeMap<&'static str, u64>,
}

/// A pod as it is measured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PodReading {
    pub(crate) ended: Total,
    pub(crate) containers: Vec<ContainerReading>,
}

/// A run of a container as it is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerReading {
    /// Which run, of all runs on this node.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) since: Timestamp,
    pub(crate) usage: Usage,
}

/// Measures one run of a container until it is dropped.
#[must_use = "it measures until it is dropped"]
pub(crate) struct Meter {
    meters: Meters,
    uid: String,
    id: u64,
}

impl Meters {
    /// Measures a run of a container that began at `since`.
    pub(crate) fn begin(&self, uid: &str, container: &str, control: Control, since: Timestamp) -> Meter {
        let mut state = self.lock();
        state.next += 1;
        let id = state.next;
        let run = Run { container: container.to_owned(), since, control };
        state.pods.entry(uid.to_owned()).or_default().running.insert(id, run);
        Meter { meters: self.clone(), uid: uid.to_owned(), id }
    }

    /// A pod was evicted for this reason.
    pub(crate) fn evicted(&self, signal: &'static str) {
        *self.lock().evictions.entry(signal).or_default() += 1;
    }

    /// How many runs have begun, and how many pods were evicted for which reason.
    pub(crate) fn counts(&self) -> Counts {
        let state = self.lock();
        Counts { started: state.next, evictions: state.evictions.clone() }
    }

    /// Forgets a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.lock().pods.remove(uid);
    }

    /// All pods of which something has run.
    pub(crate) fn all(&self) -> BTreeMap<String, PodReading> {
        self.lock().pods.iter().map(|(uid, pod)| (uid.clone(), pod.read())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pod {
    fn read(&self) -> PodReading {
        let read = |(id, run): (&u64, &Run)| ContainerReading {
            id: *id,
            name: run.container.clone(),
            since: run.since,
            usage: run.control.usage(),
        };
        PodReading { ended: self.ended, containers: self.running.iter().map(read).collect() }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let mut state = self.meters.lock();
        let Some(pod) = state.pods.get_mut(&self.uid) else { return };
        if let Some(run) = pod.running.remove(&self.id) {
            pod.ended.add(&run.control.usage());
        }
    }
}
