//! The namespace controller: empties a namespace that is being deleted, then lets it go.
//!
//! Pods go first and all the way, so that nothing runs on without its Secrets or its policies. What cannot be
//! deleted yet shows in the namespace's conditions.

mod conditions;

use std::sync::Arc;
use std::time::Duration;

use coracle_api::clock;
use coracle_api::names::NamespacedName;
use coracle_api::wellknown::FINALIZER_KUBERNETES;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, ResourceExt};

use crate::discovery::{Resource, resources};
use crate::informers::Change;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, gone_is_fine, refusal, words};
use conditions::{Findings, conditions};

/// The longest wait before looking again at what remains: finalizers of others give no sign.
const BACKOFF_MAX: Duration = Duration::from_secs(15);

/// The controller.
pub(crate) struct Namespaces {
    context: Context,
    queue: Queue<String>,
}

impl Namespaces {
    /// Builds the controller and lets it hear of namespaces and of pods that vanish from them.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::with_backoff_max(BACKOFF_MAX) });
        let heard = Arc::clone(&this);
        context.informers.namespaces.on_change(move |change| {
            let namespace = change.latest();
            if namespace.metadata.deletion_timestamp.is_some() {
                heard.queue.add(namespace.name_any());
            }
        });
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| {
            if let Change::Deleted(pod) = change {
                let name = pod.namespace().unwrap_or_default();
                let namespace = heard.context.informers.namespaces.get(&NamespacedName::new("", name.as_str()));
                if namespace.is_some_and(|ns| ns.metadata.deletion_timestamp.is_some()) {
                    heard.queue.add(name);
                }
            }
        });
        this
    }

    /// Deletes all that is in the namespace, and tells what is left.
    async fn empty(&self, namespace: &str) -> Findings {
        let mut findings = Findings::default();
        let all = match resources(&self.context.client).await {
            Ok(all) => all,
            Err(error) => {
                findings.discovery_failures.push(words(&error));
                return findings;
            }
        };
        let deletable = |r: &Resource| r.is_namespaced && r.can(&["list", "delete"]);
        let (pods, others): (Vec<_>, Vec<_>) = all.into_iter().filter(deletable).partition(|r| r.is("", "pods"));
        for resource in &pods {
            self.empty_of(namespace, resource, &mut findings).await;
        }
        if findings.is_clean() {
            for resource in &others {
                self.empty_of(namespace, resource, &mut findings).await;
            }
        }
        findings
    }

    async fn empty_of(&self, namespace: &str, resource: &Resource, findings: &mut Findings) {
        match self.delete_all(namespace, resource).await {
            Ok(left) => left.iter().for_each(|object| findings.remains(&resource.api, object.as_ref())),
            Err(error) => findings.deletion_failures.push(words(&error)),
        }
    }

    async fn delete_all(&self, namespace: &str, resource: &Resource) -> Result<Vec<Vec<String>>, kube::Error> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), namespace, &resource.api);
        let found = api.list_metadata(&ListParams::default()).await?.items;
        if found.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
            let params = DeleteParams::background();
            if resource.can(&["deletecollection"]) {
                api.delete_collection(&params, &ListParams::default()).await?;
            } else {
                for object in &found {
                    gone_is_fine(api.delete(&object.name_any(), &params).await)?;
                }
            }
        } else if found.is_empty() {
            return Ok(Vec::new());
        }
        let left = api.list_metadata(&ListParams::default()).await?.items;
        Ok(left.into_iter().map(|object| object.metadata.finalizers.unwrap_or_default()).collect())
    }

    async fn write_conditions(&self, namespace: &Namespace, findings: &Findings) -> Result<(), ReconcileError> {
        let mut changed = namespace.clone();
        let status = changed.status.get_or_insert_default();
        status.phase = Some("Terminating".to_owned());
        status.conditions = Some(conditions(status.conditions.take().unwrap_or_default(), findings, clock::now()));
        if changed.status == namespace.status {
            return Ok(());
        }
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let written = api.replace_status(&namespace.name_any(), &PostParams::default(), &changed).await;
        match written {
            // The next look writes it.
            Err(error) if matches!(refusal(&error), Refusal::Conflict | Refusal::NotFound) => Ok(()),
            other => other.map(drop).map_err(ReconcileError::api("update Namespace status")),
        }
    }

    async fn finalize(&self, namespace: &Namespace) -> Result<(), ReconcileError> {
        let mut changed = namespace.clone();
        if let Some(finalizers) = changed.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|f| f != FINALIZER_KUBERNETES);
        }
        let api: Api<Namespace> = Api::all(self.context.client.clone());
        let done = api.replace_subresource("finalize", &namespace.name_any(), &PostParams::default(), &changed).await;
        gone_is_fine(done).map(drop).map_err(ReconcileError::api("finalize Namespace"))
    }
}

impl Controller for Namespaces {
    type Key = String;
    const NAME: &'static str = "namespace";
    const WORKERS: usize = 4;

    fn queue(&self) -> &Queue<String> {
        &self.queue
    }

    async fn reconcile(&self, name: &String) -> Result<Next, ReconcileError> {
        let cached = self.context.informers.namespaces.get(&NamespacedName::new("", name.as_str()));
        let Some(namespace) = cached.filter(|ns| ns.metadata.deletion_timestamp.is_some()) else {
            return Ok(Next::Done);
        };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if !finalizers.iter().any(|f| f == FINALIZER_KUBERNETES) {
            return Ok(Next::Done);
        }
        let findings = self.empty(name).await;
        if findings.is_clean() {
            self.finalize(&namespace).await?;
            return Ok(Next::Done);
        }
        self.write_conditions(&namespace, &findings).await?;
        Ok(Next::Retry)
    }
}
