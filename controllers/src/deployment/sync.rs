//! The steps that a Deployment takes: create the current ReplicaSet, scale them all, forget the oldest.
//!
//! What it notes in the Deployment's status on the way is written by the caller, once.

use std::sync::Arc;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::wellknown::ANNOTATION_REVISION;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;

use super::rollout::{Bounds, Scale, Size, Strategy, new_size, plan_rollout, plan_scale};
use super::sets::{Sets, available, desired_annotation, max_annotation, wanted};
use super::status::{self, Mode, PROGRESSING, condition, is_complete, progress_deadline};
use super::template::{new_replicaset, same_template};
use super::{COMPONENT, Deployments, history};
use crate::ownership::controller_of;
use crate::reconcile::ReconcileError;
use crate::refusal::{Refusal, gone_is_fine, refusal, words};

impl Deployments {
    /// Takes the next steps of a Deployment that is not being deleted.
    pub(super) async fn advance(
        &self,
        deployment: &mut Deployment,
        sets: &mut Sets,
        bounds: Bounds,
        key: &NamespacedName,
    ) -> Result<Mode, ReconcileError> {
        if progress_deadline(deployment).is_some() {
            status::note_pause(deployment, clock::now());
        }
        let paused = deployment.spec.paused.unwrap_or(false);
        if paused || was_scaled(sets, bounds) {
            self.sync_revision(deployment, sets).await?;
            let actual = deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
            let (new, old) = sizes(sets);
            let plan = plan_scale(bounds, new.as_ref(), &old, actual);
            self.scale(deployment, sets, bounds, &plan).await?;
            if paused {
                self.forget(deployment, sets).await?;
            }
            return Ok(Mode::Count);
        }
        match bounds.strategy {
            Strategy::RollingUpdate => self.roll(deployment, sets, bounds).await?,
            Strategy::Recreate => self.recreate(deployment, sets, bounds, key).await?,
        }
        Ok(Mode::Rollout)
    }

    async fn roll(&self, deployment: &mut Deployment, sets: &mut Sets, bounds: Bounds) -> Result<(), ReconcileError> {
        self.ensure_new(deployment, sets, bounds).await?;
        let (Some(new), old) = sizes(sets) else { return Ok(()) };
        let plan = plan_rollout(bounds, &new, &old);
        if plan.is_empty() {
            return self.forget_if_complete(deployment, sets).await;
        }
        self.scale(deployment, sets, bounds, &plan).await
    }

    async fn recreate(
        &self,
        deployment: &mut Deployment,
        sets: &mut Sets,
        bounds: Bounds,
        key: &NamespacedName,
    ) -> Result<(), ReconcileError> {
        self.sync_revision(deployment, sets).await?;
        let plan: Vec<_> =
            sets.old.iter().filter(|s| wanted(s) > 0).map(|s| Scale { name: s.name_any(), to: 0 }).collect();
        if !plan.is_empty() {
            return self.scale(deployment, sets, bounds, &plan).await;
        }
        if self.old_pods_run(key, sets) {
            return Ok(());
        }
        self.ensure_new(deployment, sets, bounds).await?;
        if let Some(new) = &sets.new {
            let plan = [Scale { name: new.name_any(), to: bounds.replicas }];
            self.scale(deployment, sets, bounds, &plan).await?;
        }
        self.forget_if_complete(deployment, sets).await
    }

    /// Makes sure that the ReplicaSet of the current template exists and bears its revision.
    async fn ensure_new(
        &self,
        deployment: &mut Deployment,
        sets: &mut Sets,
        bounds: Bounds,
    ) -> Result<(), ReconcileError> {
        if sets.new.is_some() {
            self.sync_revision(deployment, sets).await
        } else {
            self.create(deployment, sets, bounds).await
        }
    }

    /// Brings annotations and `minReadySeconds` of the current ReplicaSet, if there is one, up to date.
    async fn sync_revision(&self, deployment: &mut Deployment, sets: &mut Sets) -> Result<(), ReconcileError> {
        let Some(new) = sets.new.clone() else { return Ok(()) };
        let annotations = history::annotations(deployment.annotations(), new.annotations(), sets.next_revision());
        let min_ready = deployment.spec.min_ready_seconds;
        let set_min_ready = new.spec.min_ready_seconds;
        if annotations != *new.annotations() || min_ready.unwrap_or(0) != set_min_ready.unwrap_or(0) {
            let patch = json!({
                "metadata": {"resourceVersion": new.resource_version(), "annotations": annotations},
                "spec": {"minReadySeconds": min_ready},
            });
            let api = self.sets_api(&new.namespace().unwrap_or_default());
            let patched = api.patch(&new.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            sets.new = Some(Arc::new(patched.map_err(ReconcileError::api("update ReplicaSet"))?));
        }
        if let Some(revision) = annotations.get(ANNOTATION_REVISION) {
            self.annotate_revision(deployment, revision).await?;
        }
        let known = deployment.status.as_ref().is_some_and(|s| status::find(s, PROGRESSING).is_some());
        if !known {
            note(deployment, "True", "FoundNewReplicaSet", format!("Found new replica set {:?}", new.name_any()));
        }
        Ok(())
    }

    /// `kubectl rollout` reads the Deployment's own revision.
    async fn annotate_revision(&self, deployment: &mut Deployment, revision: &str) -> Result<(), ReconcileError> {
        if deployment.annotations().get(ANNOTATION_REVISION).is_some_and(|r| r == revision) {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": {ANNOTATION_REVISION: revision}}});
        let api = self.api(&deployment.namespace().unwrap_or_default());
        let patched = api.patch(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        let patched = patched.map_err(ReconcileError::api("update Deployment revision"))?;
        deployment.metadata = patched.metadata;
        Ok(())
    }

    async fn create(&self, deployment: &mut Deployment, sets: &mut Sets, bounds: Bounds) -> Result<(), ReconcileError> {
        let revision = sets.next_revision();
        let mut set = new_replicaset(deployment);
        let replicas = new_size(bounds, 0, sets.old.iter().map(|s| wanted(s)).sum());
        set.spec.replicas = Some(replicas);
        let mut annotations = history::annotations(deployment.annotations(), set.annotations(), revision);
        annotations.extend(history::size_annotations(bounds));
        set.metadata.annotations = Some(annotations);
        let api = self.sets_api(&deployment.namespace().unwrap_or_default());
        match api.create(&PostParams::default(), &set).await {
            Ok(created) => {
                let name = created.name_any();
                if replicas > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                    self.context.events.normal(COMPONENT, deployment, "ScalingReplicaSet", message);
                }
                note(deployment, "True", "NewReplicaSetCreated", format!("Created new replica set {name:?}"));
                sets.new = Some(Arc::new(created));
            }
            Err(error) if refusal(&error) == Refusal::AlreadyExists => {
                let found = api.get(&set.name_any()).await.map_err(ReconcileError::api("read ReplicaSet"))?;
                if !is_ours(deployment, &found) {
                    // Another template or owner has this name: the next hash counts one collision more.
                    let status = deployment.status.get_or_insert_default();
                    status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                    return Err(ReconcileError::api("create ReplicaSet")(error));
                }
                sets.new = Some(Arc::new(found));
            }
            Err(error) if refusal(&error) == Refusal::NamespaceTerminating => return Ok(()),
            Err(error) => {
                let message = format!("Failed to create new replica set {:?}: {}", set.name_any(), words(&error));
                note(deployment, "False", "ReplicaSetCreateError", message.clone());
                self.context.events.warning(COMPONENT, deployment, "ReplicaSetCreateError", message);
                return Err(ReconcileError::api("create ReplicaSet")(error));
            }
        }
        self.annotate_revision(deployment, &revision.to_string()).await
    }

    /// Gives ReplicaSets their planned sizes, and the annotations by which a later scaling knows the shares.
    async fn scale(
        &self,
        deployment: &Deployment,
        sets: &mut Sets,
        bounds: Bounds,
        plan: &[Scale],
    ) -> Result<(), ReconcileError> {
        for scale in plan {
            let Some(set) = sets.new.iter_mut().chain(&mut sets.old).find(|set| set.name_any() == scale.name) else {
                continue;
            };
            let from = wanted(set);
            let annotated =
                desired_annotation(set) == Some(bounds.replicas) && max_annotation(set) == Some(bounds.max_pods());
            if from == scale.to && annotated {
                continue;
            }
            let patch = json!({
                "metadata": {
                    "resourceVersion": set.resource_version(),
                    "annotations": history::size_annotations(bounds),
                },
                "spec": {"replicas": scale.to},
            });
            let api = self.sets_api(&set.namespace().unwrap_or_default());
            let patched = api.patch(&scale.name, &PatchParams::default(), &Patch::Merge(patch)).await;
            *set = Arc::new(patched.map_err(ReconcileError::api("scale ReplicaSet"))?);
            if from != scale.to {
                let direction = if scale.to > from { "up" } else { "down" };
                let message = format!("Scaled {direction} replica set {} from {from} to {}", scale.name, scale.to);
                self.context.events.normal(COMPONENT, deployment, "ScalingReplicaSet", message);
            }
        }
        Ok(())
    }

    async fn forget_if_complete(&self, deployment: &Deployment, sets: &Sets) -> Result<(), ReconcileError> {
        let complete = deployment.status.as_ref().is_some_and(|status| is_complete(deployment, status));
        if complete { self.forget(deployment, sets).await } else { Ok(()) }
    }

    /// Deletes the ReplicaSets that `revisionHistoryLimit` does not keep.
    async fn forget(&self, deployment: &Deployment, sets: &Sets) -> Result<(), ReconcileError> {
        let limit = deployment.spec.revision_history_limit;
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return Ok(()) };
        for set in history::forgotten(&sets.old, limit) {
            let params = DeleteParams::background()
                .preconditions(Preconditions { uid: set.uid(), resource_version: set.resource_version() });
            let api = self.sets_api(&set.namespace().unwrap_or_default());
            let deleted = api.delete(&set.name_any(), &params).await;
            gone_is_fine(deleted).map_err(ReconcileError::api("delete old ReplicaSet"))?;
        }
        Ok(())
    }
}

/// Whether somebody changed the Deployment's size since the ReplicaSets were scaled.
fn was_scaled(sets: &Sets, bounds: Bounds) -> bool {
    let active = sets.all().filter(|set| wanted(set) > 0);
    active.filter_map(|set| desired_annotation(set)).any(|desired| desired != bounds.replicas)
}

fn is_ours(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let owner = controller_of(&set.metadata).map(|owner| &owner.uid);
    owner == deployment.metadata.uid.as_ref()
        && set.spec.template.as_ref().is_some_and(|own| same_template(own, &deployment.spec.template))
}

/// Notes how the rollout goes, if anybody set a deadline for it.
fn note(deployment: &mut Deployment, value: &str, reason: &str, message: String) {
    if progress_deadline(deployment).is_some() {
        let status = deployment.status.get_or_insert_default();
        status::set(status, condition(PROGRESSING, value, reason, message, clock::now()));
    }
}

fn sizes(sets: &Sets) -> (Option<Size>, Vec<Size>) {
    let size = |set: &Arc<ReplicaSet>| Size {
        name: set.name_any(),
        wanted: wanted(set),
        available: available(set),
        desired: desired_annotation(set),
        max: max_annotation(set),
    };
    (sets.new.as_ref().map(size), sets.old.iter().map(size).collect())
}
