//! The ReplicaSets of a Deployment: which is the current one, which are history, and what each says about itself.

use std::sync::Arc;

use coracle_api::wellknown::{ANNOTATION_DESIRED_REPLICAS, ANNOTATION_MAX_REPLICAS, ANNOTATION_REVISION};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;

use super::template::same_template;

/// A Deployment's ReplicaSets, sorted.
#[derive(Debug, Clone, Default)]
pub(super) struct Sets {
    /// The one made from the Deployment's template as it is now.
    pub(super) new: Option<Arc<ReplicaSet>>,
    /// All others, the oldest first.
    pub(super) old: Vec<Arc<ReplicaSet>>,
}

impl Sets {
    /// Sorts what the Deployment owns. Of several with the current template the oldest is the current one.
    pub(super) fn sort(deployment: &Deployment, mut all: Vec<Arc<ReplicaSet>>) -> Self {
        all.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.name_any()));
        let is_new = |set: &Arc<ReplicaSet>| {
            set.spec.template.as_ref().is_some_and(|own| same_template(own, &deployment.spec.template))
        };
        let new = all.iter().position(is_new).map(|at| all.remove(at));
        Self { new, old: all }
    }

    /// The old ones and then the new one.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    /// The revision that the current ReplicaSet should have at least: one after all others.
    pub(super) fn next_revision(&self) -> i64 {
        self.old.iter().filter_map(|set| revision(set)).max().unwrap_or(0) + 1
    }
}

/// How many pods the ReplicaSet is told to have.
pub(super) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

/// How many pods it has.
pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// How many of them are ready.
pub(super) fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0)
}

/// How many of them are available.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

/// The ReplicaSet's place in the history.
pub(super) fn revision(set: &ReplicaSet) -> Option<i64> {
    number(set, ANNOTATION_REVISION)
}

/// How many replicas the Deployment wanted when it last scaled this ReplicaSet.
pub(super) fn desired_annotation(set: &ReplicaSet) -> Option<i32> {
    number(set, ANNOTATION_DESIRED_REPLICAS).and_then(|n| i32::try_from(n).ok())
}

/// How many replicas the Deployment allowed when it last scaled this ReplicaSet.
pub(super) fn max_annotation(set: &ReplicaSet) -> Option<i32> {
    number(set, ANNOTATION_MAX_REPLICAS).and_then(|n| i32::try_from(n).ok())
}

fn number(set: &ReplicaSet, key: &str) -> Option<i64> {
    set.annotations().get(key)?.parse().ok()
}
