//! What the node knows of its pods, for those who ask by name: the kubelet's own API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::sync::watch;

use crate::evictions::limits::has_limits;

/// A pod of this node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) uid: String,
    pub(crate) status: Arc<PodStatus>,
    /// The object as the node was last told it; its status is not the newest.
    pub(crate) pod: Arc<Pod>,
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    /// By namespace and name.
    pods: BTreeMap<(String, String), Record>,
    /// The uids of those with limits on disk.
    limited: BTreeSet<String>,
    /// How many these are.
    count: watch::Sender<usize>,
}

impl State {
    fn count(&self) {
        let count = self.limited.len();
        self.count.send_if_modified(|known| std::mem::replace(known, count) != count);
    }
}

impl Records {
    pub(crate) fn set(&self, namespace: &str, name: &str, record: Record) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), name.to_owned());
        if all.pods.get(&key).is_none_or(|known| known.uid != record.uid) && has_limits(&record.pod) {
            all.limited.insert(record.uid.clone());
            all.count();
        }
        all.pods.insert(key, record);
    }

    /// Forgets the pod, unless a namesake has taken its place.
    pub(crate) fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.limited.remove(uid) {
            all.count();
        }
        if all.pods.get(&key).is_some_and(|r| r.uid == uid) {
            all.pods.remove(&key);
        }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Record> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.read().unwrap_or_else(PoisonError::into_inner).pods.get(&key).cloned()
    }

    /// How many pods have limits on disk, now and whenever that changes.
    pub(crate) fn limited(&self) -> watch::Receiver<usize> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).count.subscribe()
    }

    /// All pods, by namespace and name.
    pub(crate) fn all(&self) -> Vec<((String, String), Record)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.pods.iter().map(|(key, record)| (key.clone(), record.clone())).collect()
    }
}
