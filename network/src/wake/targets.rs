//! What may be scaled: all Deployments and StatefulSets, followed while some Service wishes to sleep.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use kube::runtime::WatchStreamExt;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

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

/// All objects of a kind.
struct Followed<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    changes: BoxStream<'static, Seen>,
    is_listed: bool,
}

/// What a watch said.
enum Seen {
    /// Something that the store does not show yet.
    Partial,
    /// The store has changed.
    Stored,
    /// All are there.
    Listed,
}

impl<K> Followed<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
{
    fn new(client: &Client) -> Self {
        let (store, writer) = reflector::store();
        let slim = watcher(Api::<K>::all(client.clone()), watcher::Config::default()).default_backoff();
        let slim = slim.modify(|object| {
            object.managed_fields_mut().clear();
            object.annotations_mut().clear();
        });
        let changes = reflector::reflector(writer, slim).map(|event| match event {
            Ok(Event::Apply(_) | Event::Delete(_)) => Seen::Stored,
            Ok(Event::Init | Event::InitApply(_)) => Seen::Partial,
            Ok(Event::InitDone) => Seen::Listed,
            Err(error) => {
                tracing::warn!(%error, kind = %K::kind(&()), "the watch broke off and is taken up again");
                Seen::Partial
            }
        });
        Self { store, changes: changes.boxed(), is_listed: false }
    }

    /// Waits until the store has changed.
    async fn changed(&mut self) {
        loop {
            match self.changes.next().await {
                Some(Seen::Partial) => {}
                Some(Seen::Stored) => return,
                Some(Seen::Listed) => {
                    self.is_listed = true;
                    return;
                }
                None => std::future::pending().await,
            }
        }
    }
}

/// All that may be scaled.
pub(super) struct Targets {
    deployments: Followed<Deployment>,
    sets: Followed<StatefulSet>,
}

impl Targets {
    /// Follows by `client`.
    pub(super) fn new(client: &Client) -> Self {
        Self { deployments: Followed::new(client), sets: Followed::new(client) }
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
