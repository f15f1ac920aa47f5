//! A StatefulSet's revisions in the API: found, adopted, created, brought back, forgotten.

use std::sync::Arc;

use coracle_api::names::NamespacedName;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::StatefulSets;
use super::revisions::{self, Wanted};
use crate::ownership::{self, Claim, controller_reference};
use crate::reconcile::ReconcileError;
use crate::refusal::{Refusal, gone_is_fine, refusal};

/// The most names that are tried for a revision in one go: each is taken with a chance of one in billions.
const NAMES_MAX: i32 = 8;

/// A set's two revisions, and all of them, oldest first.
pub(super) struct History {
    /// The one that the set had before the update that goes on.
    pub(super) current: Arc<ControllerRevision>,
    /// The one of the set's template.
    pub(super) update: Arc<ControllerRevision>,
    pub(super) all: Vec<Arc<ControllerRevision>>,
    pub(super) collisions: i32,
}

impl StatefulSets {
    fn revisions_api(&self, namespace: &str) -> Api<ControllerRevision> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    /// The set's history, with a revision for its template as it is now.
    pub(super) async fn history(&self, set: &StatefulSet, key: &NamespacedName) -> Result<History, ReconcileError> {
        let all = revisions::sorted(self.own_revisions(set, key).await?);
        let mut collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let update = match revisions::wanted(set, &all, collisions) {
            Wanted::Latest(revision) => revision,
            Wanted::Again(revision, number) => self.renumber(&revision, number, key).await?,
            Wanted::New(_) => self.create_revision(set, &all, &mut collisions, key).await?,
        };
        let name = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = all.iter().find(|revision| revision.metadata.name.as_deref() == name);
        Ok(History { current: current.map_or_else(|| Arc::clone(&update), Arc::clone), update, all, collisions })
    }

    async fn own_revisions(
        &self,
        set: &StatefulSet,
        key: &NamespacedName,
    ) -> Result<Vec<Arc<ControllerRevision>>, ReconcileError> {
        let selector = super::selector_of(set)?;
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let cache = &self.context.informers.revisions;
        let mut own = cache.controlled_by(&key.namespace, uid);
        own.retain(|revision| selector.matches(revision.labels()));
        for orphan in cache.orphans(&key.namespace) {
            if ownership::claim(&set.metadata, &selector, &orphan.metadata) != Claim::Adopt
                || !self.is_live(set, key).await?
            {
                continue;
            }
            let patch = Patch::Merge(ownership::adoption(&orphan.metadata, controller_reference(set)));
            let api = self.revisions_api(&key.namespace);
            let patched = api.patch(&orphan.name_any(), &PatchParams::default(), &patch).await;
            if let Some(patched) = gone_is_fine(patched).map_err(ReconcileError::api("adopt ControllerRevision"))? {
                own.push(self.note_revision(patched, key));
            }
        }
        Ok(own)
    }

    fn note_revision(&self, revision: ControllerRevision, key: &NamespacedName) -> Arc<ControllerRevision> {
        let mark = self.context.informers.revisions.mark(revision.metadata.resource_version.as_deref());
        self.revisions_expected.written(key, mark);
        Arc::new(revision)
    }

    async fn renumber(
        &self,
        revision: &ControllerRevision,
        number: i64,
        key: &NamespacedName,
    ) -> Result<Arc<ControllerRevision>, ReconcileError> {
        let patch = json!({"metadata": {"resourceVersion": revision.resource_version()}, "revision": number});
        let api = self.revisions_api(&key.namespace);
        let patched = api.patch(&revision.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        Ok(self.note_revision(patched.map_err(ReconcileError::api("update ControllerRevision"))?, key))
    }

    async fn create_revision(
        &self,
        set: &StatefulSet,
        all: &[Arc<ControllerRevision>],
        collisions: &mut i32,
        key: &NamespacedName,
    ) -> Result<Arc<ControllerRevision>, ReconcileError> {
        let api = self.revisions_api(&key.namespace);
        let mut tries = 0;
        loop {
            tries += 1;
            let revision = match revisions::wanted(set, all, *collisions) {
                Wanted::New(revision) => revision,
                Wanted::Latest(found) | Wanted::Again(found, _) => return Ok(found),
            };
            let error = match api.create(&PostParams::default(), &revision).await {
                Ok(created) => return Ok(self.note_revision(created, key)),
                Err(error) if refusal(&error) == Refusal::AlreadyExists => error,
                Err(error) => return Err(ReconcileError::api("create ControllerRevision")(error)),
            };
            let found = api.get(&revision.name_any()).await.map_err(ReconcileError::api("read ControllerRevision"))?;
            if revisions::has_same_data(&found, &revision) {
                return Ok(self.note_revision(found, key));
            }
            *collisions = collisions.saturating_add(1);
            if tries == NAMES_MAX {
                return Err(ReconcileError::api("create ControllerRevision")(error));
            }
        }
    }

    /// Deletes the revisions that `revisionHistoryLimit` does not keep.
    pub(super) async fn forget(
        &self,
        set: &StatefulSet,
        history: &History,
        pods: &[Arc<k8s_openapi::api::core::v1::Pod>],
        key: &NamespacedName,
    ) -> Result<(), ReconcileError> {
        let in_use = [history.current.name_any(), history.update.name_any()];
        for revision in revisions::forgotten(set, &history.all, pods, &in_use.each_ref().map(String::as_str)) {
            let (name, uid) = (revision.name_any(), revision.uid());
            self.revisions_expected.deletion(key, name.clone(), uid.clone().unwrap_or_default());
            let preconditions = Preconditions { uid, resource_version: None };
            let params = DeleteParams::background().preconditions(preconditions);
            let deleted = self.revisions_api(&key.namespace).delete(&name, &params).await;
            if deleted.is_err() {
                self.revisions_expected.deletion_failed(key, &name);
            }
            gone_is_fine(deleted).map_err(ReconcileError::api("delete ControllerRevision"))?;
        }
        Ok(())
    }
}
