//! What the node knows of its pods, for those who ask by name: the kubelet's own API.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{Pod, PodStatus};

/// A pod of this node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) uid: String,
    pub(crate) status: Arc<PodStatus>,
    /// The object as the node was last told it; its status is not the newest.
    pub(crate) pod: Arc<Pod>,
}

/// All of them, by namespace and name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records(Arc<RwLock<BTreeMap<(String, String), Record>>>);

impl Records {
    pub(crate) fn set(&self, namespace: &str, name: &str, record: Record) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert((namespace.to_owned(), name.to_owned()), record);
    }

    /// Forgets the pod, unless a namesake has taken its place.
    pub(crate) fn remove(&self, namespace: &str, name: &str, uid: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.get(&key).is_some_and(|r| r.uid == uid) {
            all.remove(&key);
        }
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Record> {
        let key = (namespace.to_owned(), name.to_owned());
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// All pods, by namespace and name.
    pub(crate) fn all(&self) -> Vec<((String, String), Record)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, record)| (key.clone(), record.clone())).collect()
    }
}
