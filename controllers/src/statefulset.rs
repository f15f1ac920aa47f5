//! The StatefulSet controller: pods with names of their own, each with its own claims, in order.
//!
//! Invariant: it never decides on caches that do not yet show its own last writes for that set
//! ([`crate::expectations`]), so a slow watch never makes it take two pods away at once. What comes next is
//! decided by [`plan`], which sees neither clock nor client.

mod history;
mod identity;
mod plan;
mod retention;
mod revisions;
mod status;
mod steps;
mod view;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::selector::Selector;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};

use crate::expectations::Expectations;
use crate::informers::Change;
use crate::ownership::{self, Claim, controller_of, controller_reference};
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::gone_is_fine;
use history::History;
use status::Revisions;
use steps::Walk;

pub(crate) use revisions::InvalidRevision;

/// The component that speaks in events.
const COMPONENT: &str = "statefulset-controller";

/// How long to wait for the watches to show our own writes before looking again unasked.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The controller.
pub(crate) struct StatefulSets {
    context: Context,
    queue: Queue<NamespacedName>,
    pods_expected: Expectations,
    claims_expected: Expectations,
    revisions_expected: Expectations,
}

impl StatefulSets {
    /// Builds the controller and lets it hear of StatefulSets, their pods, claims and revisions.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self {
            context: context.clone(),
            queue: Queue::default(),
            pods_expected: Expectations::default(),
            claims_expected: Expectations::default(),
            revisions_expected: Expectations::default(),
        });
        let heard = Arc::clone(&this);
        context.informers.statefulsets.on_change(move |change| {
            let object = change.latest();
            heard.queue.add(NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any()));
        });
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| heard.pod_changed(change));
        let heard = Arc::clone(&this);
        context.informers.revisions.on_change(move |change| heard.revision_changed(change));
        let heard = Arc::clone(&this);
        context.informers.claims.on_change(move |change| heard.claim_changed(change.latest()));
        this
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        for pod in change.sides() {
            let namespace = pod.namespace().unwrap_or_default();
            match controller_of(&pod.metadata) {
                Some(owner) if owner.kind == "StatefulSet" => {
                    self.queue.add(NamespacedName::new(namespace, owner.name.as_str()));
                }
                Some(_) => {}
                None => {
                    if let Some((set, _)) = identity::split(&pod.name_any()) {
                        self.queue.add(NamespacedName::new(namespace, set));
                    }
                }
            }
        }
    }

    fn revision_changed(&self, change: &Change<ControllerRevision>) {
        for revision in change.sides() {
            let namespace = revision.namespace().unwrap_or_default();
            match controller_of(&revision.metadata) {
                Some(owner) if owner.kind == "StatefulSet" => {
                    self.queue.add(NamespacedName::new(namespace, owner.name.as_str()));
                }
                Some(_) => {}
                None => {
                    for set in self.context.informers.statefulsets.in_namespace(&namespace) {
                        if selector_of(&set).is_ok_and(|selector| selector.matches(revision.labels())) {
                            self.queue.add(NamespacedName::new(namespace.as_str(), set.name_any()));
                        }
                    }
                }
            }
        }
    }

    /// A claim names its set by its own name alone.
    fn claim_changed(&self, claim: &PersistentVolumeClaim) {
        let namespace = claim.namespace().unwrap_or_default();
        for set in self.context.informers.statefulsets.in_namespace(&namespace) {
            if identity::could_own_claim(&set, &claim.name_any()) {
                self.queue.add(NamespacedName::new(namespace.as_str(), set.name_any()));
            }
        }
    }

    fn api(&self, namespace: &str) -> Api<StatefulSet> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    fn pods_api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    fn is_caught_up(&self, key: &NamespacedName) -> bool {
        let informers = &self.context.informers;
        self.pods_expected.are_met(key, &informers.pods)
            && self.claims_expected.are_met(key, &informers.claims)
            && self.revisions_expected.are_met(key, &informers.revisions)
    }

    async fn is_live(&self, set: &StatefulSet, key: &NamespacedName) -> Result<bool, ReconcileError> {
        let fresh = self.api(&key.namespace).get_opt(&key.name).await;
        let fresh = fresh.map_err(ReconcileError::api("read StatefulSet"))?;
        Ok(fresh.is_some_and(|f| f.metadata.uid == set.metadata.uid && f.metadata.deletion_timestamp.is_none()))
    }

    /// The pods that are the set's: its own that still fit, and orphans of its name that it adopts.
    async fn claimed(&self, set: &StatefulSet, key: &NamespacedName) -> Result<Vec<Arc<Pod>>, ReconcileError> {
        let selector = selector_of(set)?;
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let pods = &self.context.informers.pods;
        let mut candidates = pods.controlled_by(&key.namespace, uid);
        candidates.extend(pods.orphans(&key.namespace).into_iter().filter(|pod| identity::ordinal(set, pod).is_some()));
        let mut claimed = Vec::with_capacity(candidates.len());
        for pod in candidates {
            let patch = match ownership::claim(&set.metadata, &selector, &pod.metadata) {
                Claim::Keep => {
                    claimed.push(pod);
                    continue;
                }
                Claim::Leave => continue,
                Claim::Release => ownership::release(&pod.metadata, uid),
                Claim::Adopt => {
                    if !self.is_live(set, key).await? {
                        continue;
                    }
                    ownership::adoption(&pod.metadata, controller_reference(set))
                }
            };
            let api = self.pods_api(&key.namespace);
            let patched = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            if let Some(patched) = gone_is_fine(patched).map_err(ReconcileError::api("claim pod"))? {
                let mark = pods.mark(patched.metadata.resource_version.as_deref());
                self.pods_expected.written(key, mark);
                if controller_of(&patched.metadata).is_some_and(|owner| owner.uid == uid) {
                    claimed.push(Arc::new(patched));
                }
            }
        }
        Ok(claimed)
    }

    /// Takes the next steps of a set that is not being deleted; the status is as it was before them.
    async fn advance(
        &self,
        set: &StatefulSet,
        pods: &view::Pods,
        history: &History,
        status: &mut StatefulSetStatus,
        key: &NamespacedName,
    ) -> Result<(), ReconcileError> {
        let informers = &self.context.informers;
        let claim = |name: &str| informers.claims.get(&NamespacedName::new(key.namespace.as_str(), name));
        let update = history.update.name_any();
        let plan = plan::plan(&view::view(set, pods, claim, &update, clock::now()));
        let walk = Walk {
            set,
            key,
            pods,
            current: (history.current.name_any(), revisions::template(&history.current)?),
            update: (update, revisions::template(&history.update)?),
        };
        self.walk(&walk, &plan, view::order(set)).await?;
        let is_current =
            |ordinal| pods.get(&ordinal).is_some_and(|pod| identity::revision(pod) == walk.current.0.as_str());
        status::note_update(status, &plan, is_current);
        Ok(())
    }

    /// Keeps the status of a set that is being deleted true.
    async fn count(&self, set: &StatefulSet, pods: &[Arc<Pod>]) -> Result<Next, ReconcileError> {
        let Some(old) = &set.status else { return Ok(Next::Done) };
        let names = Revisions {
            current: old.current_revision.as_deref().unwrap_or_default(),
            update: old.update_revision.as_deref().unwrap_or_default(),
            collisions: old.collision_count.unwrap_or(0),
        };
        let status = status::calculate(set, pods.iter().map(AsRef::as_ref), names, clock::now());
        self.write_status(set, status).await.map(|()| Next::Done)
    }

    /// Writes the status if it differs from the stored one.
    async fn write_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> Result<(), ReconcileError> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut changed = set.clone();
        changed.status = Some(status);
        let api = self.api(&set.namespace().unwrap_or_default());
        let written = api.replace_status(&set.name_any(), &PostParams::default(), &changed).await;
        gone_is_fine(written).map(drop).map_err(ReconcileError::api("update StatefulSet status"))
    }
}

impl Controller for StatefulSets {
    type Key = NamespacedName;
    const NAME: &'static str = "statefulset";
    const WORKERS: usize = 5;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(set) = self.context.informers.statefulsets.get(key) else {
            self.pods_expected.forget(key);
            self.claims_expected.forget(key);
            self.revisions_expected.forget(key);
            return Ok(Next::Done);
        };
        if !self.is_caught_up(key) {
            return Ok(Next::After(CATCH_UP));
        }
        let claimed = self.claimed(&set, key).await?;
        if set.metadata.deletion_timestamp.is_some() {
            // Its pods and revisions are the garbage collector's now.
            return self.count(&set, &claimed).await;
        }
        let history = self.history(&set, key).await?;
        let (current, update) = (history.current.name_any(), history.update.name_any());
        let names = Revisions { current: &current, update: &update, collisions: history.collisions };
        let now = clock::now();
        let all = || claimed.iter().map(AsRef::as_ref);
        let mut status = status::calculate(&set, all(), names, now);
        let advanced = self.advance(&set, &view::by_ordinal(&set, &claimed), &history, &mut status, key).await;
        self.write_status(&set, status).await?;
        advanced?;
        self.forget(&set, &history, &claimed, key).await?;
        Ok(status::next_look(&set, all(), now).map_or(Next::Done, Next::After))
    }
}

fn selector_of(set: &StatefulSet) -> Result<Selector, ReconcileError> {
    Ok(Selector::from_structured(&set.spec.selector)?)
}
