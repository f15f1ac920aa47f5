//! The garbage collector: what is owned by nobody that still exists goes, unless it is told to stay.
//!
//! Assumption: the graph is only a hint. Before anything is deleted, the object and its owners are read live;
//! an owner that the graph has never seen is looked up before its dependents are.

mod decide;
mod graph;
mod monitor;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use coracle_api::wellknown::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::json;

use crate::discovery::Resource;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::gone_is_fine;
use decide::{Decision, OwnerState, decide};
use graph::{Attempt, Graph, Identity};
pub(crate) use monitor::{hear_informers, watch_others};

/// The component that speaks in events.
const COMPONENT: &str = "garbage-collector-controller";

/// The longest wait before looking again at an object whose owner's kind is unknown.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The controller.
pub(crate) struct GarbageCollector {
    context: Context,
    queue: Queue<Attempt>,
    graph: Mutex<Graph>,
    known: RwLock<HashMap<(String, String), Arc<Resource>>>,
}

impl GarbageCollector {
    /// Builds the collector and lets it hear of every kind that has an informer.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self {
            context: context.clone(),
            queue: Queue::with_backoff_max(BACKOFF_MAX),
            graph: Mutex::default(),
            known: RwLock::default(),
        });
        hear_informers(&this);
        this
    }

    fn with_graph<T>(&self, f: impl FnOnce(&mut Graph) -> T) -> T {
        f(&mut self.graph.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An object is so now.
    fn observe(&self, api: &ApiResource, meta: &ObjectMeta) {
        self.attempt(self.with_graph(|graph| graph.observe(&api.api_version, &api.kind, meta)));
    }

    /// An owner is not where its dependents say.
    fn not_there(&self, uid: &str) {
        self.attempt(self.with_graph(|graph| graph.not_there(uid)));
    }

    /// An object is gone.
    fn gone(&self, uid: &str) {
        self.attempt(self.with_graph(|graph| graph.remove(uid)));
    }

    fn attempt(&self, attempts: Vec<Attempt>) {
        attempts.into_iter().for_each(|attempt| self.queue.add(attempt));
    }

    fn resource(&self, identity: &Identity) -> Option<Arc<Resource>> {
        let group = identity.api_version.split_once('/').map_or("", |(group, _)| group);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&(group.to_owned(), identity.kind.clone())).cloned()
    }

    fn learn(&self, resources: impl IntoIterator<Item = Arc<Resource>>) {
        let table = resources.into_iter().map(|r| ((r.api.group.clone(), r.api.kind.clone()), r)).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = table;
    }

    fn api(&self, resource: &Resource, namespace: &str) -> Api<DynamicObject> {
        let client = self.context.client.clone();
        if resource.is_namespaced {
            Api::namespaced_with(client, namespace, &resource.api)
        } else {
            Api::all_with(client, &resource.api)
        }
    }

    /// The object as it is now, if it still is the one with this UID.
    async fn live(
        &self,
        resource: &Resource,
        identity: &Identity,
        uid: &str,
    ) -> Result<Option<ObjectMeta>, ReconcileError> {
        let api = self.api(resource, &identity.namespace);
        let found = api.get_metadata_opt(&identity.name).await.map_err(ReconcileError::api("read object"))?;
        Ok(found.map(|object| object.metadata).filter(|meta| meta.uid.as_deref() == Some(uid)))
    }

    async fn attempt_to_delete(&self, uid: &str) -> Result<Next, ReconcileError> {
        let Some(node) = self.with_graph(|graph| graph.node(uid)) else { return Ok(Next::Done) };
        let Some(resource) = self.resource(&node.identity) else {
            // Nobody knows this kind (yet); what it owns stays.
            return Ok(Next::Retry);
        };
        if resource.is_namespaced && node.identity.namespace.is_empty() {
            // A cluster-wide object names an owner in some namespace: nobody can say which. It stays; others may say.
            self.not_there(uid);
            return Ok(Next::Done);
        }
        let Some(meta) = self.live(&resource, &node.identity, uid).await? else {
            if node.is_virtual {
                self.not_there(uid);
            } else {
                self.gone(uid);
            }
            return Ok(Next::Done);
        };
        if node.is_virtual {
            // It exists after all; its own watch will tell more.
            self.observe(&resource.api, &meta);
            return Ok(Next::Done);
        }
        if meta.deletion_timestamp.is_some() {
            if has_finalizer(&meta, FINALIZER_FOREGROUND) {
                return self.finish_foreground(&resource, &node.identity, &meta).await;
            }
            return Ok(Next::Done);
        }
        self.judge(&resource, &node.identity, &meta).await
    }

    /// Deletes the object, cuts it loose from owners that are gone, or leaves it.
    async fn judge(&self, resource: &Resource, identity: &Identity, meta: &ObjectMeta) -> Result<Next, ReconcileError> {
        let uid = meta.uid.as_deref().unwrap_or_default();
        let mut owners = Vec::new();
        for owner in meta.owner_references.iter().flatten() {
            if self.is_misplaced(identity, owner) {
                self.report_misplaced(identity, uid, owner);
            }
            owners.push((owner.clone(), self.owner_state(identity, owner).await?));
        }
        let dependents = self.with_graph(|graph| graph.dependents_of(uid));
        let api = self.api(resource, &identity.namespace);
        match decide(meta, &owners, &dependents) {
            Decision::Keep => {}
            Decision::CutLoose(gone) => {
                let mut rest = meta.owner_references.clone().unwrap_or_default();
                rest.retain(|owner| !gone.contains(&owner.uid));
                self.patch(&api, identity, meta, json!({ "ownerReferences": rest })).await?;
            }
            Decision::Delete { policy, unblock_owners } => {
                let mut version = meta.resource_version.clone();
                if unblock_owners {
                    let mut owners = meta.owner_references.clone().unwrap_or_default();
                    owners.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
                    version = self.patch(&api, identity, meta, json!({ "ownerReferences": owners })).await?;
                }
                let params = DeleteParams {
                    propagation_policy: Some(policy),
                    preconditions: Some(Preconditions { uid: meta.uid.clone(), resource_version: version }),
                    ..DeleteParams::default()
                };
                let deleted = api.delete(&identity.name, &params).await;
                gone_is_fine(deleted).map_err(ReconcileError::api("delete dependent"))?;
            }
        }
        Ok(Next::Done)
    }

    /// Whether an owner is where an object like this cannot have one: in another namespace, or in any at all.
    fn is_misplaced(&self, dependent: &Identity, owner: &OwnerReference) -> bool {
        let namespace = dependent.namespace.as_str();
        let resource = self.resource(&Identity::of_owner(owner, namespace));
        resource.is_some_and(|resource| resource.is_namespaced)
            && (namespace.is_empty() || self.with_graph(|graph| graph.is_elsewhere(&owner.uid, namespace)))
    }

    fn report_misplaced(&self, dependent: &Identity, uid: &str, owner: &OwnerReference) {
        let namespace = &dependent.namespace;
        let OwnerReference { api_version, kind, name, uid: owner, .. } = owner;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {owner}] does not exist in \
             namespace {namespace:?}"
        );
        let about = ObjectReference {
            api_version: Some(dependent.api_version.clone()),
            kind: Some(dependent.kind.clone()),
            namespace: Some(namespace.clone()).filter(|n| !n.is_empty()),
            name: Some(dependent.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        self.context.events.warning_about(COMPONENT, about, "OwnerRefInvalidNamespace", message);
    }

    /// Whether an owner exists, read live.
    async fn owner_state(&self, dependent: &Identity, owner: &OwnerReference) -> Result<OwnerState, ReconcileError> {
        let identity = Identity::of_owner(owner, &dependent.namespace);
        // An owner of an unknown kind, or one that cannot be named from here, counts as there.
        let Some(resource) = self.resource(&identity) else { return Ok(OwnerState::Solid) };
        if resource.is_namespaced && dependent.namespace.is_empty() {
            return Ok(OwnerState::Solid);
        }
        Ok(match self.live(&resource, &identity, &owner.uid).await? {
            None => OwnerState::Absent,
            Some(meta) if meta.deletion_timestamp.is_some() && has_finalizer(&meta, FINALIZER_FOREGROUND) => {
                OwnerState::WaitsForDependents
            }
            Some(_) => OwnerState::Solid,
        })
    }

    /// Lets an owner go whose blocking dependents are gone, or sees to those that are left.
    async fn finish_foreground(
        &self,
        resource: &Resource,
        identity: &Identity,
        meta: &ObjectMeta,
    ) -> Result<Next, ReconcileError> {
        let uid = meta.uid.as_deref().unwrap_or_default();
        let blocking = self.with_graph(|graph| graph.blocking_dependents_of(uid));
        if blocking.is_empty() {
            let api = self.api(resource, &identity.namespace);
            self.patch(&api, identity, meta, without_finalizer(meta, FINALIZER_FOREGROUND)).await?;
        } else {
            self.attempt(blocking);
        }
        Ok(Next::Done)
    }

    /// Cuts an owner's dependents loose, then lets the owner go without them.
    async fn attempt_to_orphan(&self, uid: &str) -> Result<Next, ReconcileError> {
        let Some(node) = self.with_graph(|graph| graph.node(uid)) else { return Ok(Next::Done) };
        let Some(resource) = self.resource(&node.identity) else { return Ok(Next::Retry) };
        for dependent in self.with_graph(|graph| graph.dependents_of(uid)) {
            let Some(of) = self.resource(&dependent.identity) else { continue };
            let Some(meta) = self.live(&of, &dependent.identity, &dependent.uid).await? else { continue };
            let mut rest = meta.owner_references.clone().unwrap_or_default();
            rest.retain(|owner| owner.uid != uid);
            let api = self.api(&of, &dependent.identity.namespace);
            self.patch(&api, &dependent.identity, &meta, json!({ "ownerReferences": rest })).await?;
        }
        let Some(meta) = self.live(&resource, &node.identity, uid).await? else { return Ok(Next::Done) };
        if meta.deletion_timestamp.is_some() && has_finalizer(&meta, FINALIZER_ORPHAN) {
            let api = self.api(&resource, &node.identity.namespace);
            self.patch(&api, &node.identity, &meta, without_finalizer(&meta, FINALIZER_ORPHAN)).await?;
        }
        Ok(Next::Done)
    }

    /// Changes metadata if the object is as it was read; the new `resourceVersion`, or none if it is gone.
    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        meta: &ObjectMeta,
        mut change: serde_json::Value,
    ) -> Result<Option<String>, ReconcileError> {
        if let Some(map) = change.as_object_mut() {
            map.insert("uid".to_owned(), json!(meta.uid));
            map.insert("resourceVersion".to_owned(), json!(meta.resource_version));
        }
        let patch = Patch::Merge(json!({ "metadata": change }));
        let patched = api.patch_metadata(&identity.name, &PatchParams::default(), &patch).await;
        let patched = gone_is_fine(patched).map_err(ReconcileError::api("patch metadata"))?;
        Ok(patched.and_then(|object| object.metadata.resource_version))
    }
}

fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

fn without_finalizer(meta: &ObjectMeta, finalizer: &str) -> serde_json::Value {
    let rest: Vec<_> = meta.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
    json!({ "finalizers": rest })
}

impl Controller for GarbageCollector {
    type Key = Attempt;
    const NAME: &'static str = "garbage-collector";
    const WORKERS: usize = 8;

    fn queue(&self) -> &Queue<Attempt> {
        &self.queue
    }

    async fn reconcile(&self, attempt: &Attempt) -> Result<Next, ReconcileError> {
        match attempt {
            Attempt::Delete(uid) => self.attempt_to_delete(uid).await,
            Attempt::Orphan(uid) => self.attempt_to_orphan(uid).await,
        }
    }
}
