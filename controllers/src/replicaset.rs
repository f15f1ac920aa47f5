//! The ReplicaSet controller: as many pods as the ReplicaSet asks for, no more, no fewer.
//!
//! Invariant: it never decides on a cache that does not yet show its own last creations and deletions of
//! that ReplicaSet ([`crate::expectations`]), so a slow watch never makes it create a pod twice.

mod plan;
mod pods;
mod status;
mod victims;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::selector::Selector;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::expectations::Expectations;
use crate::informers::Change;
use crate::ownership::{self, Claim, controller_of, controller_reference};
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, gone_is_fine, refusal, words};
use plan::{BURST_MAX, Plan, plan};

/// The component that speaks in events.
const COMPONENT: &str = "replicaset-controller";

/// The first batch of a burst of creations: one pod shows whether creating works at all.
const FIRST_BATCH: usize = 1;

/// How long to wait for the watch to show our own writes before looking again unasked.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The controller.
pub(crate) struct ReplicaSets {
    context: Context,
    queue: Queue<NamespacedName>,
    expected: Expectations,
}

impl ReplicaSets {
    /// Builds the controller and lets it hear of ReplicaSets and pods.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this =
            Arc::new(Self { context: context.clone(), queue: Queue::default(), expected: Expectations::default() });
        let heard = Arc::clone(&this);
        context.informers.replicasets.on_change(move |change| heard.replicaset_changed(change));
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| heard.pod_changed(change));
        this
    }

    fn replicaset_changed(&self, change: &Change<ReplicaSet>) {
        let object = change.latest();
        self.queue.add(NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any()));
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        for pod in change.sides() {
            let namespace = pod.namespace().unwrap_or_default();
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == "ReplicaSet" => {
                    self.queue.add(NamespacedName::new(namespace, owner.name.as_str()));
                }
                Some(_) => {}
                None => self.orphan_seen(pod, &namespace),
            }
        }
    }

    fn orphan_seen(&self, pod: &Pod, namespace: &str) {
        for set in self.context.informers.replicasets.in_namespace(namespace) {
            if selector_of(&set).is_ok_and(|s| s.matches(pod.labels())) {
                self.queue.add(NamespacedName::new(namespace, set.name_any()));
            }
        }
    }

    fn pods_api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    /// The pods that are the ReplicaSet's: its own that still fit, and orphans it could adopt.
    async fn claimed(&self, set: &ReplicaSet, key: &NamespacedName) -> Result<Vec<Arc<Pod>>, ReconcileError> {
        let selector = selector_of(set)?;
        let pods = &self.context.informers.pods;
        let mut candidates = pods.controlled_by(&key.namespace, set.metadata.uid.as_deref().unwrap_or_default());
        candidates.extend(pods.orphans(&key.namespace));
        let mut claimed = Vec::with_capacity(candidates.len());
        let mut owner_is_live = None;
        for pod in candidates {
            let patch = match ownership::claim(&set.metadata, &selector, &pod.metadata) {
                Claim::Keep => {
                    claimed.push(pod);
                    continue;
                }
                Claim::Adopt if !pod_facts::is_terminal(&pod) => {
                    if owner_is_live.is_none() {
                        owner_is_live = Some(self.is_live(set, key).await?);
                    }
                    if owner_is_live != Some(true) {
                        continue;
                    }
                    ownership::adoption(&pod.metadata, controller_reference(set))
                }
                Claim::Release if !pod_facts::is_terminal(&pod) => {
                    ownership::release(&pod.metadata, set.metadata.uid.as_deref().unwrap_or_default())
                }
                Claim::Adopt | Claim::Release | Claim::Leave => continue,
            };
            let api = self.pods_api(&key.namespace);
            let patched = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            if let Some(patched) = gone_is_fine(patched).map_err(ReconcileError::api("claim pod"))?
                && controller_of(&patched.metadata).is_some_and(|o| Some(&o.uid) == set.metadata.uid.as_ref())
            {
                claimed.push(Arc::new(patched));
            }
        }
        Ok(claimed)
    }

    async fn is_live(&self, set: &ReplicaSet, key: &NamespacedName) -> Result<bool, ReconcileError> {
        let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let fresh = api.get_opt(&key.name).await.map_err(ReconcileError::api("read ReplicaSet"))?;
        Ok(fresh.is_some_and(|f| f.metadata.uid == set.metadata.uid && f.metadata.deletion_timestamp.is_none()))
    }

    async fn create(&self, set: &ReplicaSet, key: &NamespacedName, count: usize) -> Result<(), ReconcileError> {
        let pod = pods::from_template(set);
        let api = self.pods_api(&key.namespace);
        let mut left = count;
        let mut batch = FIRST_BATCH.min(left);
        while batch > 0 {
            let params = PostParams::default();
            let results = futures::future::join_all((0..batch).map(|_| api.create(&params, &pod))).await;
            let mut failure = None;
            for result in results {
                match result {
                    Ok(created) => {
                        let mark = self.context.informers.pods.mark(created.metadata.resource_version.as_deref());
                        self.expected.written(key, mark);
                        let message = format!("Created pod: {}", created.name_any());
                        self.context.events.normal(COMPONENT, set, "SuccessfulCreate", message);
                    }
                    Err(error) if refusal(&error) == Refusal::NamespaceTerminating => return Ok(()),
                    Err(error) => {
                        let message = format!("Error creating: {}", words(&error));
                        self.context.events.warning(COMPONENT, set, "FailedCreate", message);
                        failure = Some(error);
                    }
                }
            }
            if let Some(error) = failure {
                return Err(ReconcileError::api("create pod")(error));
            }
            left -= batch;
            batch = (2 * batch).min(left);
        }
        Ok(())
    }

    async fn delete(&self, set: &ReplicaSet, key: &NamespacedName, pods: &[Arc<Pod>]) -> Result<(), ReconcileError> {
        let api = self.pods_api(&key.namespace);
        let one = async |pod: &Arc<Pod>| {
            let uid = pod.uid().unwrap_or_default();
            self.expected.deletion(key, pod.name_any(), uid.clone());
            let params =
                DeleteParams::background().preconditions(Preconditions { uid: Some(uid), resource_version: None });
            let result = api.delete(&pod.name_any(), &params).await;
            match &result {
                Ok(_) => {
                    let message = format!("Deleted pod: {}", pod.name_any());
                    self.context.events.normal(COMPONENT, set, "SuccessfulDelete", message);
                }
                Err(error) => {
                    self.expected.deletion_failed(key, &pod.name_any());
                    if refusal(error) != Refusal::NotFound {
                        let message = format!("Error deleting: {}", words(error));
                        self.context.events.warning(COMPONENT, set, "FailedDelete", message);
                    }
                }
            }
            gone_is_fine(result).map(drop)
        };
        let results = futures::future::join_all(pods.iter().map(one)).await;
        results.into_iter().collect::<Result<(), _>>().map_err(ReconcileError::api("delete pod"))
    }

    /// The active pods of all ReplicaSets with the same owner: victims are chosen where they crowd.
    fn related(&self, set: &ReplicaSet, key: &NamespacedName, own: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(owner) = controller_of(&set.metadata) else { return own.to_vec() };
        let informers = &self.context.informers;
        let sets = informers.replicasets.controlled_by(&key.namespace, &owner.uid);
        sets.iter()
            .flat_map(|s| informers.pods.controlled_by(&key.namespace, s.metadata.uid.as_deref().unwrap_or_default()))
            .filter(|pod| pod_facts::is_active(pod))
            .collect()
    }

    async fn manage(&self, set: &ReplicaSet, key: &NamespacedName, active: &[Arc<Pod>]) -> Result<(), ReconcileError> {
        match plan(active.len(), wanted(set)) {
            Plan::Keep => Ok(()),
            Plan::Create(count) => self.create(set, key, count).await,
            Plan::Delete(count) => {
                let related = self.related(set, key, active);
                let victims = victims::choose(active, &related, count.min(BURST_MAX), clock::now());
                self.delete(set, key, &victims).await
            }
        }
    }
}

impl Controller for ReplicaSets {
    type Key = NamespacedName;
    const NAME: &'static str = "replicaset";
    const WORKERS: usize = 5;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(set) = self.context.informers.replicasets.get(key) else {
            self.expected.forget(key);
            return Ok(Next::Done);
        };
        let caught_up = self.expected.are_met(key, &self.context.informers.pods);
        let claimed = self.claimed(&set, key).await?;
        let active: Vec<_> = claimed.iter().filter(|pod| pod_facts::is_active(pod)).cloned().collect();
        let managed = if caught_up && set.metadata.deletion_timestamp.is_none() {
            self.manage(&set, key, &active).await
        } else {
            Ok(())
        };
        let failure = managed.as_ref().err().map(ToString::to_string);
        let (status, next) = status::calculate(&set, &claimed, failure.as_deref(), clock::now());
        if set.status.as_ref() != Some(&status) {
            let mut changed = set.as_ref().clone();
            changed.status = Some(status);
            let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), &key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &changed).await;
            gone_is_fine(written).map_err(ReconcileError::api("update ReplicaSet status"))?;
        }
        managed?;
        Ok(match next {
            Some(delay) => Next::After(delay),
            None if caught_up => Next::Done,
            None => Next::After(CATCH_UP),
        })
    }
}

fn selector_of(set: &ReplicaSet) -> Result<Selector, ReconcileError> {
    Ok(Selector::from_structured(&set.spec.selector)?)
}

/// `spec.replicas`, one if absent.
fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}
