//! The steps of a plan, taken: pods and claims written, and what came of it said in events.

use std::sync::Arc;

use coracle_api::names::NamespacedName;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};

use super::identity::{self, own_labels};
use super::plan::{Order, Plan, Source, Step};
use super::view::Pods;
use super::{COMPONENT, StatefulSets, retention};
use crate::ownership::controller_of;
use crate::reconcile::ReconcileError;
use crate::refusal::{Refusal, refusal};

/// The first batch where pods come and go at once: one shows whether it works at all.
const FIRST_BATCH: usize = 1;

/// The most writes of one set that are under way at once (upstream's `MaxBatchSize`).
const BATCH_MAX: usize = 500;

/// What steps are taken with.
pub(super) struct Walk<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) key: &'a NamespacedName,
    pub(super) pods: &'a Pods,
    /// The current revision's name and template.
    pub(super) current: (String, PodTemplateSpec),
    /// The wanted revision's name and template.
    pub(super) update: (String, PodTemplateSpec),
}

impl StatefulSets {
    /// Takes the steps of a plan. The first failure ends it.
    pub(super) async fn walk(&self, walk: &Walk<'_>, plan: &Plan, order: Order) -> Result<(), ReconcileError> {
        for part in [&plan.keep, &plan.release, &plan.shrink, &plan.update] {
            let mut rest = part.as_slice();
            let mut batch = match order {
                Order::OrderedReady => 1,
                Order::Parallel => FIRST_BATCH,
            };
            while let Some((now, later)) =
                rest.split_at_checked(batch.min(rest.len())).filter(|(now, _)| !now.is_empty())
            {
                let taken = futures::future::join_all(now.iter().map(|step| self.take(walk, *step))).await;
                taken.into_iter().collect::<Result<(), _>>()?;
                rest = later;
                if order == Order::Parallel {
                    batch = (2 * batch).min(BATCH_MAX);
                }
            }
        }
        Ok(())
    }

    async fn take(&self, walk: &Walk<'_>, step: Step) -> Result<(), ReconcileError> {
        match step {
            Step::Create(ordinal, source) => self.create_pod(walk, ordinal, source).await,
            Step::Claims(ordinal) => {
                let Some(pod) = walk.pods.get(&ordinal) else { return Ok(()) };
                self.create_claims(walk, ordinal).await?;
                self.mend_claims(walk, pod, ordinal).await
            }
            Step::Mend(ordinal) => {
                let Some(pod) = walk.pods.get(&ordinal) else { return Ok(()) };
                let mended = self.mend(walk, pod, ordinal).await;
                self.say(walk, "update", &pod.name_any(), mended.as_ref().copied());
                mended
            }
            Step::MendClaims(ordinal) => {
                let Some(pod) = walk.pods.get(&ordinal) else { return Ok(()) };
                self.mend_claims(walk, pod, ordinal).await
            }
            Step::Delete(ordinal) => {
                let Some(pod) = walk.pods.get(&ordinal) else { return Ok(()) };
                self.delete_pod(walk, pod).await
            }
        }
    }

    async fn create_pod(&self, walk: &Walk<'_>, ordinal: i32, source: Source) -> Result<(), ReconcileError> {
        let (revision, template) = match source {
            Source::Current => &walk.current,
            Source::Update => &walk.update,
        };
        let pod = identity::new_pod(walk.set, template, revision, ordinal);
        let name = pod.name_any();
        let made = async {
            self.create_claims(walk, ordinal).await?;
            let created = self.pods_api(&walk.key.namespace).create(&PostParams::default(), &pod).await;
            created.map_err(ReconcileError::api("create pod"))
        };
        let created = match made.await {
            Ok(created) => created,
            Err(error) if is_refused(&error, Refusal::NamespaceTerminating) => return Ok(()),
            Err(error) => {
                // A pod of a former set of this name, or one that the cache lacks, passes. A stranger stays.
                if !is_refused(&error, Refusal::AlreadyExists) || self.is_strange(walk, &name) {
                    self.say(walk, "create", &name, Err(&error));
                }
                return Err(error);
            }
        };
        let mark = self.context.informers.pods.mark(created.metadata.resource_version.as_deref());
        self.pods_expected.written(walk.key, mark);
        self.say(walk, "create", &name, Ok(()));
        self.mend_claims(walk, &created, ordinal).await
    }

    /// Whether a pod of this name is there that is not the set's, and stays.
    fn is_strange(&self, walk: &Walk<'_>, name: &str) -> bool {
        let found = self.context.informers.pods.get(&NamespacedName::new(walk.key.namespace.as_str(), name));
        found.is_some_and(|pod| {
            let owner = controller_of(&pod.metadata).map(|owner| &owner.uid);
            pod.metadata.deletion_timestamp.is_none() && owner != walk.set.metadata.uid.as_ref()
        })
    }

    async fn delete_pod(&self, walk: &Walk<'_>, pod: &Pod) -> Result<(), ReconcileError> {
        let (name, uid) = (pod.name_any(), pod.uid());
        self.pods_expected.deletion(walk.key, name.clone(), uid.clone().unwrap_or_default());
        let params = DeleteParams::default().preconditions(Preconditions { uid, resource_version: None });
        let deleted = self.pods_api(&walk.key.namespace).delete(&name, &params).await;
        let deleted = match deleted {
            Ok(_) => Ok(()),
            Err(error) => {
                self.pods_expected.deletion_failed(walk.key, &name);
                match refusal(&error) {
                    // Gone already, or followed by another of its name.
                    Refusal::NotFound | Refusal::Conflict => return Ok(()),
                    Refusal::AlreadyExists | Refusal::NamespaceTerminating | Refusal::Other => {
                        Err(ReconcileError::api("delete pod")(error))
                    }
                }
            }
        };
        self.say(walk, "delete", &name, deleted.as_ref().copied());
        deleted
    }

    async fn mend(&self, walk: &Walk<'_>, pod: &Pod, ordinal: i32) -> Result<(), ReconcileError> {
        let volumes = identity::missing_volumes(walk.set, pod, ordinal);
        if volumes.is_some() {
            self.create_claims(walk, ordinal).await?;
        }
        self.mend_claims(walk, pod, ordinal).await?;
        let mut patch = Map::new();
        if !identity::is_labelled(pod) {
            patch.insert("metadata".to_owned(), json!({"labels": own_labels(walk.set, ordinal)}));
        }
        if let Some(volumes) = volumes {
            patch.insert("spec".to_owned(), json!({"volumes": volumes}));
        }
        if patch.is_empty() {
            return Ok(());
        }
        let api = self.pods_api(&walk.key.namespace);
        let patched = api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(Value::Object(patch))).await;
        let patched = patched.map_err(ReconcileError::api("update pod"))?;
        let mark = self.context.informers.pods.mark(patched.metadata.resource_version.as_deref());
        self.pods_expected.written(walk.key, mark);
        Ok(())
    }

    fn claims_api(&self, namespace: &str) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    fn claim(&self, walk: &Walk<'_>, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        self.context.informers.claims.get(&NamespacedName::new(walk.key.namespace.as_str(), name))
    }

    /// Creates the claims that the pod of this ordinal lacks.
    async fn create_claims(&self, walk: &Walk<'_>, ordinal: i32) -> Result<(), ReconcileError> {
        for claim in identity::claims(walk.set, ordinal) {
            let name = claim.name_any();
            match self.claim(walk, &name) {
                Some(found) if found.metadata.deletion_timestamp.is_some() => {
                    return Err(ReconcileError::ClaimGoes(name));
                }
                Some(_) => continue,
                None => {}
            }
            let created = self.claims_api(&walk.key.namespace).create(&PostParams::default(), &claim).await;
            let said = created.as_ref().map(drop).map_err(crate::refusal::words);
            let (pod, set) = (identity::pod_name(walk.set, ordinal), walk.set.name_any());
            match said {
                Ok(()) => {
                    let message = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
                    self.context.events.normal(COMPONENT, walk.set, "SuccessfulCreate", message);
                }
                Err(words) if created.as_ref().is_err_and(is_worth_saying) => {
                    let message =
                        format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {words}");
                    self.context.events.warning(COMPONENT, walk.set, "FailedCreate", message);
                }
                Err(_) => {}
            }
            let created = created.map_err(ReconcileError::api("create PersistentVolumeClaim"))?;
            let mark = self.context.informers.claims.mark(created.metadata.resource_version.as_deref());
            self.claims_expected.written(walk.key, mark);
        }
        Ok(())
    }

    /// Gives the claims of a pod the owners that the retention policy wants.
    async fn mend_claims(&self, walk: &Walk<'_>, pod: &Pod, ordinal: i32) -> Result<(), ReconcileError> {
        for template in walk.set.spec.volume_claim_templates.iter().flatten() {
            let name = identity::claim_name(walk.set, template, ordinal);
            let Some(claim) = self.claim(walk, &name) else { continue };
            if retention::has_other_controller(walk.set, pod, &claim) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a managing \
                     controller, the retention policy is ignored for this claim"
                );
                self.context.events.warning(COMPONENT, walk.set, "ConflictingController", message);
            }
            let Some(owners) = retention::owners(walk.set, pod, &claim) else { continue };
            let patch = json!({"metadata": {
                "resourceVersion": claim.resource_version(),
                "ownerReferences": if owners.is_empty() { Value::Null } else { json!(owners) },
            }});
            let api = self.claims_api(&walk.key.namespace);
            let patched = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
            let patched = patched.map_err(ReconcileError::api("update PersistentVolumeClaim"))?;
            let mark = self.context.informers.claims.mark(patched.metadata.resource_version.as_deref());
            self.claims_expected.written(walk.key, mark);
        }
        Ok(())
    }

    /// Says what came of a write to a pod.
    fn say(&self, walk: &Walk<'_>, verb: &str, pod: &str, outcome: Result<(), &ReconcileError>) {
        let set = walk.set.name_any();
        let title = match verb {
            "create" => "Create",
            "delete" => "Delete",
            _ => "Update",
        };
        match outcome {
            Ok(()) => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.context.events.normal(COMPONENT, walk.set, &format!("Successful{title}"), message);
            }
            Err(error) => {
                let words = error.words();
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {words}");
                self.context.events.warning(COMPONENT, walk.set, &format!("Failed{title}"), message);
            }
        }
    }
}

fn is_refused(error: &ReconcileError, as_: Refusal) -> bool {
    matches!(error, ReconcileError::Api { source, .. } if refusal(source) == as_)
}

fn is_worth_saying(error: &kube::Error) -> bool {
    !matches!(refusal(error), Refusal::AlreadyExists | Refusal::NamespaceTerminating)
}
