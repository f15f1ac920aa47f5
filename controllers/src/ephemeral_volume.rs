//! The ephemeral volume controller: makes the claims of pods that bring their own, named `POD-VOLUME`.
//!
//! The pod owns the claim, so that it goes with the pod. A claim of that name that is not the pod's is left alone.

use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::storage::{claim_of, is_for_pod, not_for_pod};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::informers::Change;
use crate::ownership::{controller_of, controller_reference};
use crate::pod_facts;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, refusal, words};

/// The component that speaks in events.
const COMPONENT: &str = "ephemeral_volume";

/// The controller.
pub(crate) struct EphemeralVolumes {
    context: Context,
    queue: Queue<NamespacedName>,
}

impl EphemeralVolumes {
    /// Builds the controller and lets it hear of pods, and of claims that vanish.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| match change {
            Change::Added(pod) if ephemeral(pod).next().is_some() => {
                heard.queue.add(NamespacedName::new(pod.namespace().unwrap_or_default(), pod.name_any()));
            }
            Change::Added(_) | Change::Updated { .. } | Change::Deleted(_) => {}
        });
        let heard = Arc::clone(&this);
        context.informers.claims.on_change(move |change| {
            if let Change::Deleted(claim) = change
                && let Some(owner) = controller_of(&claim.metadata).filter(|owner| owner.kind == "Pod")
            {
                heard.queue.add(NamespacedName::new(claim.namespace().unwrap_or_default(), owner.name.as_str()));
            }
        });
        this
    }

    async fn ensure(&self, pod: &Pod, volume: &Volume, key: &NamespacedName) -> Result<(), ReconcileError> {
        let Some(name) = claim_of(pod, volume).map(|used| used.name) else { return Ok(()) };
        let found = self.context.informers.claims.get(&NamespacedName::new(key.namespace.as_str(), name.as_str()));
        if let Some(claim) = found {
            if !is_for_pod(&claim, pod) {
                self.warn(pod, volume, &not_for_pod(&claim, pod));
            }
            return Ok(());
        }
        let Some(template) = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.as_ref()) else {
            return Ok(());
        };
        let given = template.metadata.clone().unwrap_or_default();
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(key.namespace.clone()),
                labels: given.labels,
                annotations: given.annotations,
                owner_references: Some(vec![controller_reference(pod)]),
                ..ObjectMeta::default()
            },
            spec: Some(template.spec.clone()),
            status: None,
        };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &claim).await {
            Ok(_) => Ok(()),
            Err(error) => match refusal(&error) {
                Refusal::NamespaceTerminating => Ok(()),
                // The next look finds whose it is.
                Refusal::AlreadyExists => Err(ReconcileError::api("create claim")(error)),
                Refusal::NotFound | Refusal::Conflict | Refusal::Other => {
                    self.warn(pod, volume, &format!("create PVC {key}: {}", words(&error)));
                    Err(ReconcileError::api("create claim")(error))
                }
            },
        }
    }

    fn warn(&self, pod: &Pod, volume: &Volume, why: &str) {
        let message = format!("ephemeral volume {}: {why}", volume.name);
        self.context.events.warning(COMPONENT, pod, "FailedBinding", message);
    }
}

fn ephemeral(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some())
}

impl Controller for EphemeralVolumes {
    type Key = NamespacedName;
    const NAME: &'static str = "ephemeral-volume";
    const WORKERS: usize = 2;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let Some(pod) = self.context.informers.pods.get(key) else { return Ok(Next::Done) };
        if !pod_facts::is_active(&pod) {
            return Ok(Next::Done);
        }
        for volume in ephemeral(&pod) {
            self.ensure(&pod, volume, key).await?;
        }
        Ok(Next::Done)
    }
}
