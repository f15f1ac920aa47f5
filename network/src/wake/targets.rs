//! What may be scaled: all Deployments and StatefulSets, followed while some Service wishes to sleep.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Client, ResourceExt};

use crate::watched::Watched;

use super::wish::{Kind, Sleepy, Target};

/// What is known of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) replicas: i32,
    /// Of what state of it that is.
    pub(super) version: String,
    /// For events.
    pub(super) uid: String,
}

impl Known {
    /// Whether it is the same state as another or a later one. Versions are numbers; where they are none, each is new.
    pub(super) fn is_as_new_as(&self, other: &Self) -> bool {
        match (self.version.parse::<u64>(), other.version.parse::<u64>()) {
            (Ok(ours), Ok(theirs)) => ours >= theirs,
            (Err(_), _) | (_, Err(_)) => true,
        }
    }
}

/// All that may be scaled.
pub(super) struct Targets {
    deployments: Watched<Deployment>,
    sets: Watched<StatefulSet>,
}

impl Targets {
    /// Follows by `client`.
    pub(super) fn new(client: &Client) -> Self {
        let config = watcher::Config::default;
        Self {
            deployments: Watched::new(client, config(), |object| object.annotations_mut().clear()),
            sets: Watched::new(client, config(), |object| object.annotations_mut().clear()),
        }
    }

    /// Waits until something has changed.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = self.deployments.changed() => {}
            () = self.sets.changed() => {}
        }
    }

    /// Whether all are known.
    pub(super) fn are_listed(&self) -> bool {
        self.deployments.is_listed && self.sets.is_listed
    }

    /// All of them.
    pub(super) fn all(&self) -> All {
        All { deployments: self.deployments.store.state(), sets: self.sets.store.state() }
    }

    /// What is known of a target; nothing if it is not there, or is being deleted.
    pub(super) fn known(&self, namespace: &str, target: &Target) -> Option<Known> {
        match target.kind {
            Kind::Deployment => {
                let object = self.deployments.store.get(&ObjectRef::new(&target.name).within(namespace))?;
                known(&*object, object.spec.replicas)
            }
            Kind::StatefulSet => {
                let object = self.sets.store.get(&ObjectRef::new(&target.name).within(namespace))?;
                known(&*object, object.spec.replicas)
            }
        }
    }
}

/// All that may be scaled, at one time.
pub(super) struct All {
    deployments: Vec<Arc<Deployment>>,
    sets: Vec<Arc<StatefulSet>>,
}

impl All {
    /// What is scaled for a Service, if there is something.
    pub(super) fn of(&self, sleepy: &Sleepy) -> Option<Target> {
        sleepy.target(self.deployments.iter().map(AsRef::as_ref), self.sets.iter().map(AsRef::as_ref))
    }
}

fn known(object: &impl ResourceExt, replicas: Option<i32>) -> Option<Known> {
    let is_there = object.meta().deletion_timestamp.is_none();
    let known = || Known {
        replicas: replicas.unwrap_or(1),
        version: object.resource_version().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
    };
    is_there.then(known)
}
