//! The Deployment controller: one ReplicaSet per pod template, and the walk from the old ones to the new.
//!
//! It creates and scales ReplicaSets and never touches a pod. Each write to a ReplicaSet holds only if the
//! ReplicaSet is as the cache had it, so a decision on old counts is refused by the API server and made again.

mod history;
mod rollout;
mod sets;
mod status;
mod sync;
mod template;

use std::sync::Arc;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::selector::Selector;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};

use crate::informers::Change;
use crate::ownership::{self, Claim, controller_of, controller_reference};
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::gone_is_fine;
use rollout::{Bounds, Strategy};
use sets::Sets;
use status::Mode;

/// The component that speaks in events.
const COMPONENT: &str = "deployment-controller";

/// The controller.
pub(crate) struct Deployments {
    context: Context,
    queue: Queue<NamespacedName>,
}

impl Deployments {
    /// Builds the controller and lets it hear of Deployments, ReplicaSets and pods.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.deployments.on_change(move |change| {
            let object = change.latest();
            heard.queue.add(NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any()));
        });
        let heard = Arc::clone(&this);
        context.informers.replicasets.on_change(move |change| heard.replicaset_changed(change));
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| heard.pod_changed(change));
        this
    }

    fn replicaset_changed(&self, change: &Change<ReplicaSet>) {
        for set in change.sides() {
            let namespace = set.namespace().unwrap_or_default();
            match controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => {
                    self.queue.add(NamespacedName::new(namespace, owner.name.as_str()));
                }
                Some(_) => {}
                None => {
                    for deployment in self.context.informers.deployments.in_namespace(&namespace) {
                        if selector_of(&deployment).is_ok_and(|s| s.matches(set.labels())) {
                            self.queue.add(NamespacedName::new(namespace.as_str(), deployment.name_any()));
                        }
                    }
                }
            }
        }
    }

    /// A Recreate waits for pods to go; nothing else of a pod concerns us that its ReplicaSet does not say.
    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = change.latest();
        let ended = matches!(change, Change::Deleted(_)) || pod_facts::is_terminal(pod);
        if !ended {
            return;
        }
        let namespace = pod.namespace().unwrap_or_default();
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
        let set = owner.and_then(|owner| {
            self.context.informers.replicasets.get(&NamespacedName::new(namespace.as_str(), owner.name.as_str()))
        });
        let Some(owner) = set.as_ref().and_then(|set| controller_of(&set.metadata)) else { return };
        let key = NamespacedName::new(namespace, owner.name.as_str());
        let deployment = self.context.informers.deployments.get(&key);
        if deployment.is_some_and(|d| Bounds::of(&d).strategy == Strategy::Recreate) {
            self.queue.add(key);
        }
    }

    fn sets_api(&self, namespace: &str) -> Api<ReplicaSet> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    fn api(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    /// The ReplicaSets that are the Deployment's: its own that still fit, and orphans it could adopt.
    async fn claimed(
        &self,
        deployment: &Deployment,
        key: &NamespacedName,
    ) -> Result<Vec<Arc<ReplicaSet>>, ReconcileError> {
        let selector = selector_of(deployment)?;
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let informer = &self.context.informers.replicasets;
        let mut candidates = informer.controlled_by(&key.namespace, uid);
        candidates.extend(informer.orphans(&key.namespace));
        let mut claimed = Vec::with_capacity(candidates.len());
        for set in candidates {
            let patch = match ownership::claim(&deployment.metadata, &selector, &set.metadata) {
                Claim::Keep => {
                    claimed.push(set);
                    continue;
                }
                Claim::Leave => continue,
                Claim::Release => ownership::release(&set.metadata, uid),
                Claim::Adopt => {
                    let fresh = self.api(&key.namespace).get_opt(&key.name).await;
                    let fresh = fresh.map_err(ReconcileError::api("read Deployment"))?;
                    let is_live = |f: &Deployment| {
                        f.metadata.uid == deployment.metadata.uid && f.metadata.deletion_timestamp.is_none()
                    };
                    if !fresh.as_ref().is_some_and(is_live) {
                        continue;
                    }
                    ownership::adoption(&set.metadata, controller_reference(deployment))
                }
            };
            let api = self.sets_api(&key.namespace);
            let patched = api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            if let Some(patched) = gone_is_fine(patched).map_err(ReconcileError::api("claim ReplicaSet"))?
                && controller_of(&patched.metadata).is_some_and(|owner| owner.uid == uid)
            {
                claimed.push(Arc::new(patched));
            }
        }
        Ok(claimed)
    }

    /// Writes the status if it differs from the stored one.
    async fn write_status(&self, stored: &Deployment, deployment: &Deployment) -> Result<(), ReconcileError> {
        if stored.status == deployment.status {
            return Ok(());
        }
        let api = self.api(&deployment.namespace().unwrap_or_default());
        let written = api.replace_status(&deployment.name_any(), &PostParams::default(), deployment).await;
        gone_is_fine(written).map(drop).map_err(ReconcileError::api("update Deployment status"))
    }

    /// Whether pods of old ReplicaSets still run, or may do so.
    fn old_pods_run(&self, key: &NamespacedName, sets: &Sets) -> bool {
        sets.old.iter().any(|set| {
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            let pods = self.context.informers.pods.controlled_by(&key.namespace, uid);
            sets::actual(set) > 0 || pods.iter().any(|pod| !pod_facts::is_terminal(pod))
        })
    }
}

impl Controller for Deployments {
    type Key = NamespacedName;
    const NAME: &'static str = "deployment";
    const WORKERS: usize = 5;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(stored) = self.context.informers.deployments.get(key) else { return Ok(Next::Done) };
        if stored.spec.selector == LabelSelector::default() {
            let message = "This deployment is selecting all pods. A non-empty selector is required.".to_owned();
            self.context.events.warning(COMPONENT, stored.as_ref(), "SelectingAll", message);
            return Ok(Next::Done);
        }
        let mut deployment = stored.as_ref().clone();
        let bounds = Bounds::of(&deployment);
        let mut sets = Sets::sort(&deployment, self.claimed(&deployment, key).await?);
        let mode = if deployment.metadata.deletion_timestamp.is_some() {
            Mode::Count
        } else {
            let moved = self.advance(&mut deployment, &mut sets, bounds, key).await;
            if moved.is_err() {
                // What was noted on the way (a failure to create, a collision) is shown all the same.
                self.write_status(&stored, &deployment).await?;
            }
            moved?
        };
        let now = clock::now();
        let status = status::calculate(&deployment, &sets, bounds, mode, now);
        let next = status::next_look(&deployment, &status, now);
        deployment.status = Some(status);
        self.write_status(&stored, &deployment).await?;
        Ok(next.map_or(Next::Done, Next::After))
    }
}

fn selector_of(deployment: &Deployment) -> Result<Selector, ReconcileError> {
    Ok(Selector::from_structured(&deployment.spec.selector)?)
}
