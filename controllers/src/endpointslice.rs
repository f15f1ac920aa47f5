//! The EndpointSlice controller: where each Service's pods can be reached, as slices of at most a hundred.
//!
//! Invariant: it never decides on a cache that does not yet show its own last writes for that Service, because
//! slices have generated names and would double.

mod desired;

use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::{LABEL_ENDPOINTSLICE_MANAGED_BY, LABEL_HEADLESS, LABEL_SERVICE_NAME};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::ResourceExt;

use crate::informers::{Change, Informers};
use crate::ownership::controller_reference;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::service_facts;
use crate::slices::{Base, CATCH_UP, Slices, plan};
use desired::desired_slices;

/// Who maintains the slices, as their label says.
pub(crate) const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// The label that says in which zone a node is.
const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// The controller.
pub(crate) struct EndpointSlices {
    context: Context,
    queue: Queue<NamespacedName>,
    slices: Slices,
}

impl EndpointSlices {
    /// Builds the controller and lets it hear of Services, pods and slices.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let this = Arc::new(Self {
            context: context.clone(),
            queue: Queue::default(),
            slices: Slices::new(context, MANAGED_BY),
        });
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
        this.slices.on_change(move |key| heard.queue.add(key));
        this
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
    services.retain(|service| change.sides().any(|pod| service_facts::selects(service, pod)));
    services.iter().map(|service| NamespacedName::new(namespace.as_str(), service.name_any())).collect()
}

/// The pods that a Service selects, by name.
pub(crate) fn selected_pods(informers: &Informers, service: &Service) -> Vec<Arc<Pod>> {
    let mut pods = informers.pods.in_namespace(&service.namespace().unwrap_or_default());
    pods.retain(|pod| service_facts::selects(service, pod));
    pods
}

/// What the slices of a Service have in common.
fn base(service: &Service) -> Base {
    let mut labels = service.labels().clone();
    labels.remove(LABEL_HEADLESS);
    if service_facts::is_headless(service) {
        labels.insert(LABEL_HEADLESS.to_owned(), String::new());
    }
    labels.insert(LABEL_SERVICE_NAME.to_owned(), service.name_any());
    labels.insert(LABEL_ENDPOINTSLICE_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
    Base {
        name: service.name_any(),
        namespace: service.namespace(),
        labels,
        annotations: None,
        owner: controller_reference(service),
    }
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
            self.slices.forget(key);
            return Ok(Next::Done);
        };
        if service_facts::selector(&service).is_none() {
            return Ok(Next::Done);
        }
        if !self.slices.are_caught_up(key) {
            return Ok(Next::After(CATCH_UP));
        }
        let zone = |node: &str| {
            let node: Option<Arc<Node>> = informers.nodes.get(&NamespacedName::new("", node));
            node.and_then(|node| node.labels().get(LABEL_ZONE).cloned())
        };
        let wanted = desired_slices(&service, &selected_pods(informers, &service), zone);
        self.slices.write(key, plan(&base(&service), &self.slices.of(key), wanted)).await?;
        Ok(Next::Done)
    }
}
