//! What a ReplicaSet's cache must show before the next decision: the pods just created and those just deleted.

use std::collections::HashMap;

use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::Pod;

use crate::informers::{Informer, Mark};
use crate::pod_facts;

/// The writes of one ReplicaSet that the cache may not show yet.
#[derive(Debug, Default)]
pub(super) struct Expected {
    created: Vec<Mark>,
    deleted: HashMap<String, String>,
}

impl Expected {
    /// A pod was created at this place in history.
    pub(super) fn creation(&mut self, at: Mark) {
        self.created.push(at);
    }

    /// The pod of this name and UID is being deleted.
    pub(super) fn deletion(&mut self, name: String, uid: String) {
        self.deleted.insert(name, uid);
    }

    /// It was not deleted after all.
    pub(super) fn deletion_failed(&mut self, name: &str) {
        self.deleted.remove(name);
    }

    /// Whether the cache shows all of it.
    pub(super) fn is_met(&mut self, namespace: &str, pods: &Informer<Pod>) -> bool {
        self.created.retain(|mark| !pods.has_passed(*mark));
        self.deleted.retain(|name, uid| {
            let pod = pods.get(&NamespacedName::new(namespace, name.as_str()));
            pod.is_some_and(|p| p.metadata.uid.as_ref() == Some(uid) && !pod_facts::is_terminating(&p))
        });
        self.created.is_empty() && self.deleted.is_empty()
    }
}
