//! The protection of storage in use: a claim stays while a pod uses it, a volume while a claim is bound to it, whoever
//! deletes them.
//!
//! Invariant: a finalizer is taken away only after the API itself was asked who uses the object, and only from the
//! version that was looked at.

use std::fmt;
use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::storage::{
    self, FINALIZER_CLAIM_IN_USE, FINALIZER_VOLUME_IN_USE, claims_of, has_finalizer, is_for_pod, volume_phase,
};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::informers::{Cached, Change};
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::gone_is_fine;

/// What is protected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A claim by namespace and name.
    Claim(NamespacedName),
    /// A volume by name.
    Volume(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

/// The controller.
pub(crate) struct StorageProtection {
    context: Context,
    queue: Queue<Key>,
}

/// What is done about a finalizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// It stays as it is.
    Leave,
    /// It is put on: the object was made without it.
    Put,
    /// It is taken off if nobody uses the object.
    TakeIfFree,
}

fn guard<K: kube::Resource>(object: &K, finalizer: &str) -> Guard {
    match (object.meta().deletion_timestamp.is_some(), has_finalizer(object.meta(), finalizer)) {
        (false, false) => Guard::Put,
        (true, true) => Guard::TakeIfFree,
        (false, true) | (true, false) => Guard::Leave,
    }
}

/// Whether a pod keeps a claim. One that has no node yet does not: no node starts a pod whose claim is being deleted.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.metadata.name.as_deref();
    !pod_facts::node_name(pod).is_empty()
        && claims_of(pod)
            .iter()
            .any(|used| Some(used.name.as_str()) == name && (!used.ephemeral || is_for_pod(claim, pod)))
}

impl StorageProtection {
    /// Builds the controller and lets it hear of claims, volumes and pods.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.claims.on_change(move |change| {
            let claim = change.latest();
            let key = NamespacedName::new(claim.namespace().unwrap_or_default(), claim.name_any());
            heard.queue.add(Key::Claim(key));
        });
        let heard = Arc::clone(&this);
        context.informers.volumes.on_change(move |change| heard.queue.add(Key::Volume(change.latest().name_any())));
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| heard.pod_changed(change));
        this
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        // Only a pod that is gone frees its claims.
        let Change::Deleted(pod) = change else { return };
        let namespace = pod.namespace().unwrap_or_default();
        for used in storage::claims_of(pod) {
            self.queue.add(Key::Claim(NamespacedName::new(namespace.as_str(), used.name)));
        }
    }

    async fn look_at_claim(&self, key: &NamespacedName) -> Result<(), ReconcileError> {
        let Some(claim) = self.context.informers.claims.get(key) else { return Ok(()) };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match guard(claim.as_ref(), FINALIZER_CLAIM_IN_USE) {
            Guard::Leave => Ok(()),
            Guard::Put => put(&api, claim.as_ref(), FINALIZER_CLAIM_IN_USE).await,
            Guard::TakeIfFree => {
                let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &key.namespace);
                let pods = pods.list(&ListParams::default()).await.map_err(ReconcileError::api("list pods"))?;
                if pods.items.iter().any(|pod| uses(pod, &claim)) {
                    return Ok(());
                }
                take(&api, claim.as_ref(), FINALIZER_CLAIM_IN_USE).await
            }
        }
    }

    async fn look_at_volume(&self, name: &str) -> Result<(), ReconcileError> {
        let Some(volume) = self.context.informers.volumes.get(&NamespacedName::new("", name)) else { return Ok(()) };
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        match guard(volume.as_ref(), FINALIZER_VOLUME_IN_USE) {
            Guard::Put => put(&api, volume.as_ref(), FINALIZER_VOLUME_IN_USE).await,
            Guard::TakeIfFree if volume_phase(&volume) != "Bound" => {
                take(&api, volume.as_ref(), FINALIZER_VOLUME_IN_USE).await
            }
            Guard::Leave | Guard::TakeIfFree => Ok(()),
        }
    }
}

async fn put<K: Cached>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ReconcileError> {
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    finalizers.push(finalizer.to_owned());
    write(api, object, &finalizers).await
}

async fn take<K: Cached>(api: &Api<K>, object: &K, finalizer: &str) -> Result<(), ReconcileError> {
    let mut finalizers = object.meta().finalizers.clone().unwrap_or_default();
    finalizers.retain(|one| one != finalizer);
    write(api, object, &finalizers).await
}

async fn write<K: Cached + DeserializeOwned>(
    api: &Api<K>,
    object: &K,
    finalizers: &[String],
) -> Result<(), ReconcileError> {
    let meta = object.meta();
    let name = meta.name.clone().unwrap_or_default();
    let metadata = json!({"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers});
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    let written = api.patch(&name, &PatchParams::default(), &patch).await;
    gone_is_fine(written).map(drop).map_err(ReconcileError::api("update finalizers"))
}

impl Controller for StorageProtection {
    type Key = Key;
    const NAME: &'static str = "storage-protection";
    const WORKERS: usize = 2;

    fn queue(&self) -> &Queue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        match key {
            Key::Claim(key) => self.look_at_claim(key).await?,
            Key::Volume(name) => self.look_at_volume(name).await?,
        }
        Ok(Next::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(finalizers: &[&str], leaving: bool) -> PersistentVolumeClaim {
        let since = leaving.then_some("2026-01-01T00:00:00Z");
        let meta = json!({"name": "c", "finalizers": finalizers, "deletionTimestamp": since});
        serde_json::from_value(json!({ "metadata": meta })).unwrap()
    }

    #[test]
    fn a_finalizer_is_put_on_what_lives_and_taken_off_what_goes() {
        let ours = FINALIZER_CLAIM_IN_USE;
        assert_eq!(guard(&claim(&[], false), ours), Guard::Put);
        assert_eq!(guard(&claim(&[ours], false), ours), Guard::Leave);
        assert_eq!(guard(&claim(&[ours], true), ours), Guard::TakeIfFree);
        assert_eq!(guard(&claim(&["other"], true), ours), Guard::Leave);
    }

    #[test]
    fn a_pod_keeps_its_claims_once_it_has_a_node() {
        let pod = |node: &str, volume: serde_json::Value| -> Pod {
            let spec = json!({"nodeName": node, "containers": [], "volumes": [volume]});
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
        };
        let by_name = |name: &str| json!({"name": "v", "persistentVolumeClaim": {"claimName": name}});
        assert!(uses(&pod("n", by_name("c")), &claim(&[], true)));
        assert!(!uses(&pod("", by_name("c")), &claim(&[], true)), "it cannot start any more");
        assert!(!uses(&pod("n", by_name("d")), &claim(&[], true)));
        let mut own = claim(&[], true);
        own.metadata.name = Some("p-v".to_owned());
        let ephemeral = pod("n", json!({"name": "v", "ephemeral": {}}));
        assert!(!uses(&ephemeral, &own), "it was not made for this pod");
        own.metadata.owner_references = serde_json::from_value(
            json!([{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true}]),
        )
        .unwrap();
        assert!(uses(&ephemeral, &own));
    }
}
