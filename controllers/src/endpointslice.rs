//! The EndpointSlice controller: where each Service's pods can be reached, as slices of at most a hundred.
//!
//! Invariant: it never decides on a cache that does not yet show its own last writes for that Service, because
//! slices have generated names and would double.

mod desired;
mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::{LABEL_ENDPOINTSLICE_MANAGED_BY, LABEL_SERVICE_NAME};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, ResourceExt};

use crate::informers::{Change, Informers, Mark};
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::refusal::{Refusal, gone_is_fine, refusal};
use crate::service_facts;
use desired::desired_slices;
use plan::plan;

/// Who maintains the slices, as their label says.
pub(crate) const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// The label that says in which zone a node is.
const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// How long to wait for the watch to show our own writes before looking again unasked.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The controller.
pub(crate) struct EndpointSlices {
    context: Context,
    queue: Queue<NamespacedName>,
    written: Mutex<HashMap<NamespacedName, Vec<Mark>>>,
}

impl EndpointSlices {
    /// Builds the controller and lets it hear of Services, pods and slices.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default(), written: Mutex::default() });
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
        context.informers.slices.on_change(move |change| {
            let slice = change.latest();
            if is_ours(slice)
                && let Some(service) = slice.labels().get(LABEL_SERVICE_NAME)
            {
                heard.queue.add(NamespacedName::new(slice.namespace().unwrap_or_default(), service.as_str()));
            }
        });
        this
    }

    fn is_caught_up(&self, key: &NamespacedName) -> bool {
        let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(marks) = all.get_mut(key) else { return true };
        marks.retain(|mark| !self.context.informers.slices.has_passed(*mark));
        let caught_up = marks.is_empty();
        if caught_up {
            all.remove(key);
        }
        caught_up
    }

    fn wrote(&self, key: &NamespacedName, slice: &EndpointSlice) {
        let mark = self.context.informers.slices.mark(slice.metadata.resource_version.as_deref());
        let mut all = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key.clone()).or_default().push(mark);
    }

    async fn write(&self, key: &NamespacedName, plan: plan::Plan) -> Result<(), ReconcileError> {
        let api: Api<EndpointSlice> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for slice in plan.create {
            match api.create(&PostParams::default(), &slice).await {
                Ok(created) => self.wrote(key, &created),
                Err(error) if refusal(&error) == Refusal::NamespaceTerminating => return Ok(()),
                Err(error) => return Err(ReconcileError::api("create EndpointSlice")(error)),
            }
        }
        for slice in plan.update {
            let updated = api.replace(&slice.name_any(), &PostParams::default(), &slice).await;
            self.wrote(key, &updated.map_err(ReconcileError::api("update EndpointSlice"))?);
        }
        for slice in plan.delete {
            let params =
                DeleteParams::background().preconditions(Preconditions { uid: slice.uid(), resource_version: None });
            let deleted = api.delete(&slice.name_any(), &params).await;
            gone_is_fine(deleted).map_err(ReconcileError::api("delete EndpointSlice"))?;
        }
        Ok(())
    }
}

/// The Services whose endpoints a change of a pod may change.
pub(crate) fn services_concerned(informers: &Informers, change: &Change<Pod>) -> Vec<NamespacedName> {
    if let Change::Updated { old, new } = change
        && !service_facts::differs(old, new)
    {
        return Vec::new();
    }
    let namespace = change.latest().namespace().unwrap_or_default();
    let mut services = informers.services.in_namespace(&namespace);
    services.retain(|service| {
        service_facts::selector(service).is_some_and(|s| change.sides().any(|pod| s.matches(pod.labels())))
    });
    services.iter().map(|service| NamespacedName::new(namespace.as_str(), service.name_any())).collect()
}

/// The pods that a Service selects, by name.
pub(crate) fn selected_pods(informers: &Informers, service: &Service) -> Vec<Arc<Pod>> {
    let Some(selector) = service_facts::selector(service) else { return Vec::new() };
    let mut pods = informers.pods.in_namespace(&service.namespace().unwrap_or_default());
    pods.retain(|pod| selector.matches(pod.labels()));
    pods
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice.labels().get(LABEL_ENDPOINTSLICE_MANAGED_BY).is_some_and(|by| by == MANAGED_BY)
}

impl Controller for EndpointSlices {
    type Key = NamespacedName;
    const NAME: &'static str = "endpointslice";
    const WORKERS: usize = 5;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let informers = &self.context.informers;
        // The slices of a Service that is gone are the garbage collector's.
        let Some(service) = informers.services.get(key).filter(|s| s.metadata.deletion_timestamp.is_none()) else {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Ok(Next::Done);
        };
        if service_facts::selector(&service).is_none() {
            return Ok(Next::Done);
        }
        if !self.is_caught_up(key) {
            return Ok(Next::After(CATCH_UP));
        }
        let zone = |node: &str| {
            let node: Option<Arc<Node>> = informers.nodes.get(&NamespacedName::new("", node));
            node.and_then(|node| node.labels().get(LABEL_ZONE).cloned())
        };
        let wanted = desired_slices(&service, &selected_pods(informers, &service), zone);
        let mut existing = informers.slices.in_namespace(&key.namespace);
        existing.retain(|slice| is_ours(slice) && slice.labels().get(LABEL_SERVICE_NAME) == Some(&key.name));
        self.write(key, plan(&service, &existing, wanted)).await?;
        Ok(Next::Done)
    }
}
