//! The Endpoints controller: the older form of a Service's endpoints, one object of the Service's name.
//!
//! `kubectl get endpoints` and old clients read it; nothing of ours does.

mod subsets;

use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::LABEL_HEADLESS;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use crate::endpointslice::{selected_pods, services_concerned};
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, gone_is_fine, refusal};
use crate::service_facts;
use subsets::{Subsets, subsets};

/// Who maintains the object, as its label says.
const LABEL_MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// Says that more pods are selected than the object shows.
const ANNOTATION_OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// The controller.
pub(crate) struct EndpointsObjects {
    context: Context,
    queue: Queue<NamespacedName>,
}

impl EndpointsObjects {
    /// Builds the controller and lets it hear of Services, pods and Endpoints.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default() });
        let heard = Arc::clone(&this);
        context.informers.services.on_change(move |change| {
            let service = change.latest();
            heard.queue.add(NamespacedName::new(service.namespace().unwrap_or_default(), service.name_any()));
        });
        let heard = Arc::clone(&this);
        context.informers.pods.on_change(move |change| {
            for key in services_concerned(&heard.context.informers, change) {
                heard.queue.add(key);
            }
        });
        let heard = Arc::clone(&this);
        context.informers.endpoints.on_change(move |change| {
            let object = change.latest();
            heard.queue.add(NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any()));
        });
        this
    }

    fn wanted(&self, service: &Service, existing: Option<&Endpoints>) -> Endpoints {
        let Subsets { list, truncated } = subsets(service, &selected_pods(&self.context.informers, service));
        let mut labels = service.labels().clone();
        labels.remove(LABEL_HEADLESS);
        if service_facts::is_headless(service) {
            labels.insert(LABEL_HEADLESS.to_owned(), String::new());
        }
        labels.insert(LABEL_MANAGED_BY.0.to_owned(), LABEL_MANAGED_BY.1.to_owned());
        let mut annotations = existing.map(|e| e.annotations().clone()).unwrap_or_default();
        annotations.remove(ANNOTATION_OVER_CAPACITY);
        if truncated {
            annotations.insert(ANNOTATION_OVER_CAPACITY.to_owned(), "truncated".to_owned());
        }
        let base = existing.map(|e| e.metadata.clone()).unwrap_or_default();
        Endpoints {
            metadata: ObjectMeta {
                name: Some(service.name_any()),
                namespace: service.namespace(),
                labels: Some(labels),
                annotations: Some(annotations).filter(|a| !a.is_empty()),
                ..base
            },
            subsets: Some(list).filter(|list| !list.is_empty()),
        }
    }
}

impl Controller for EndpointsObjects {
    type Key = NamespacedName;
    const NAME: &'static str = "endpoints";
    const WORKERS: usize = 5;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let informers = &self.context.informers;
        let api: Api<Endpoints> = Api::namespaced(self.context.client.clone(), &key.namespace);
        let existing = informers.endpoints.get(key);
        let Some(service) = informers.services.get(key) else {
            // Only what we made goes with its Service; others may keep Endpoints of their own.
            let ours = existing.is_some_and(|e| e.labels().contains_key(LABEL_MANAGED_BY.0));
            if ours {
                let deleted = api.delete(&key.name, &DeleteParams::background()).await;
                gone_is_fine(deleted).map_err(ReconcileError::api("delete Endpoints"))?;
            }
            return Ok(Next::Done);
        };
        if service_facts::selector(&service).is_none() || service.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let wanted = self.wanted(&service, existing.as_deref());
        let result = match existing {
            None => api.create(&PostParams::default(), &wanted).await,
            Some(old) if *old == wanted => return Ok(Next::Done),
            Some(_) => api.replace(&key.name, &PostParams::default(), &wanted).await,
        };
        match result {
            Err(error) if refusal(&error) == Refusal::NamespaceTerminating => Ok(Next::Done),
            other => other.map(|_| Next::Done).map_err(ReconcileError::api("write Endpoints")),
        }
    }
}
