//! The EndpointSlice mirroring controller: Endpoints that somebody wrote by hand for a Service without selector, as
//! the slices that traffic goes by.
//!
//! It leaves alone what another controller writes slices for: Services with a selector, and Endpoints that say so.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::names::NamespacedName;
use coracle_api::wellknown::{LABEL_ENDPOINTSLICE_MANAGED_BY, LABEL_SERVICE_NAME};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use kube::ResourceExt;

use crate::ownership::controller_reference;
use crate::queue::Queue;
use crate::reconcile::{Context, Controller, Next, ReconcileError};
use crate::slices::{Base, CATCH_UP, Group, Plan, Slices, plan};

/// Who writes its events.
const COMPONENT: &str = "endpoint-slice-mirroring-controller";

/// Who maintains the slices, as their label says.
const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";

/// The label by which Endpoints ask not to be mirrored.
const LABEL_SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";

/// The annotation of Endpoints that were a lock for the election of a leader.
const ANNOTATION_LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Annotations that say something of the Endpoints alone.
const ANNOTATIONS_LEFT: [&str; 2] =
    ["endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration"];

/// The most addresses of a subset that are mirrored (kube-controller-manager's `--mirroring-max-endpoints-per-subset`).
const ADDRESSES_MAX: usize = 1000;

/// The controller.
pub(crate) struct Mirroring {
    context: Context,
    queue: Queue<NamespacedName>,
    slices: Slices,
}

impl Mirroring {
    /// Builds the controller and lets it hear of Endpoints, Services and its slices.
    pub(crate) fn build(context: &Context) -> Arc<Self> {
        let slices = Slices::new(context, MANAGED_BY);
        let this = Arc::new(Self { context: context.clone(), queue: Queue::default(), slices });
        let heard = Arc::clone(&this);
        context.informers.endpoints.on_change(move |change| {
            let object = change.latest();
            heard.queue.add(NamespacedName::new(object.namespace().unwrap_or_default(), object.name_any()));
        });
        let heard = Arc::clone(&this);
        context.informers.services.on_change(move |change| {
            let service = change.latest();
            heard.queue.add(NamespacedName::new(service.namespace().unwrap_or_default(), service.name_any()));
        });
        let heard = Arc::clone(&this);
        this.slices.on_change(move |key| heard.queue.add(key));
        this
    }
}

impl Controller for Mirroring {
    type Key = NamespacedName;
    const NAME: &'static str = "endpointslicemirroring";
    const WORKERS: usize = 5;

    fn queue(&self) -> &Queue<NamespacedName> {
        &self.queue
    }

    async fn reconcile(&self, key: &NamespacedName) -> Result<Next, ReconcileError> {
        let informers = &self.context.informers;
        let endpoints = informers.endpoints.get(key);
        let service = informers.services.get(key);
        let mirrored = endpoints.filter(|e| is_mirrored(e, service.as_deref()));
        let existing = self.slices.of(key);
        if mirrored.is_none() && existing.is_empty() {
            self.slices.forget(key);
            return Ok(Next::Done);
        }
        if !self.slices.are_caught_up(key) {
            return Ok(Next::After(CATCH_UP));
        }
        let plan = match &mirrored {
            Some(endpoints) => {
                let Mirrored { groups, skipped } = groups(endpoints.subsets.as_deref().unwrap_or_default());
                if skipped > 0 {
                    let message = format!(
                        "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. \
                         {skipped} addresses were skipped"
                    );
                    self.context.events.warning(COMPONENT, endpoints.as_ref(), "TooManyAddressesToMirror", message);
                }
                plan(&base(endpoints), &existing, groups)
            }
            None => Plan { delete: existing, ..Plan::default() },
        };
        self.slices.write(key, plan).await?;
        Ok(Next::Done)
    }
}

/// Whether these Endpoints are ours to mirror.
fn is_mirrored(endpoints: &Endpoints, service: Option<&Service>) -> bool {
    let has_selector = |service: &Service| service.spec.as_ref().is_some_and(|spec| spec.selector.is_some());
    service.is_some_and(|service| !has_selector(service))
        && endpoints.metadata.deletion_timestamp.is_none()
        && endpoints.labels().get(LABEL_SKIP_MIRROR).is_none_or(|skip| skip != "true")
        && !endpoints.annotations().contains_key(ANNOTATION_LEADER)
}

/// What the slices of these Endpoints have in common: theirs, but for what says whose they are.
fn base(endpoints: &Endpoints) -> Base {
    let mut labels = endpoints.labels().clone();
    labels.insert(LABEL_SERVICE_NAME.to_owned(), endpoints.name_any());
    labels.insert(LABEL_ENDPOINTSLICE_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
    let mut annotations = endpoints.annotations().clone();
    annotations.retain(|name, _| !ANNOTATIONS_LEFT.contains(&name.as_str()));
    Base {
        name: endpoints.name_any(),
        namespace: endpoints.namespace(),
        labels,
        annotations: Some(annotations),
        owner: controller_reference(endpoints),
    }
}

/// What Endpoints are as slices, and how many addresses are too many.
struct Mirrored {
    groups: Vec<Group>,
    skipped: usize,
}

/// Groups by ports and family. An address that is ready in one subset and not in another is as the first says.
fn groups(subsets: &[EndpointSubset]) -> Mirrored {
    let mut groups: Vec<Group> = Vec::new();
    let mut skipped = 0;
    for subset in subsets {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let mut count = 0;
        for (address, ready) in ready.chain(not_ready) {
            let Ok(ip) = address.ip.parse::<IpAddr>() else { continue };
            if count >= ADDRESSES_MAX {
                skipped += 1;
                continue;
            }
            count += 1;
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let ports = ports(subset);
            let at = groups.iter().position(|g| g.address_type == family && g.ports == ports).unwrap_or_else(|| {
                groups.push(Group { address_type: family.to_owned(), ports, endpoints: Vec::new() });
                groups.len() - 1
            });
            if let Some(group) = groups.get_mut(at) {
                group.endpoints.push(endpoint(address, ip, ready));
            }
        }
    }
    Mirrored { groups, skipped }
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let port = |p: &k8s_openapi::api::core::v1::EndpointPort| EndpointPort {
        name: Some(p.name.clone().unwrap_or_default()),
        port: Some(p.port),
        protocol: p.protocol.clone(),
        app_protocol: p.app_protocol.clone(),
    };
    subset.ports.iter().flatten().map(port).collect()
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn endpoints(metadata: Value, subsets: Value) -> Endpoints {
        serde_json::from_value(json!({ "metadata": metadata, "subsets": subsets })).unwrap()
    }

    #[test]
    fn only_endpoints_that_others_wrote_for_a_service_without_selector_are_mirrored() {
        let service = |selector: Value| -> Service {
            serde_json::from_value(json!({ "spec": { "selector": selector } })).unwrap()
        };
        let (bare, selecting) = (service(Value::Null), service(json!({ "app": "web" })));
        let plain = endpoints(json!({}), json!([]));
        assert!(is_mirrored(&plain, Some(&bare)));
        assert!(!is_mirrored(&plain, Some(&selecting)) && !is_mirrored(&plain, None));
        let skip = endpoints(json!({ "labels": { LABEL_SKIP_MIRROR: "true" } }), json!([]));
        let leader = endpoints(json!({ "annotations": { ANNOTATION_LEADER: "{}" } }), json!([]));
        assert!(!is_mirrored(&skip, Some(&bare)) && !is_mirrored(&leader, Some(&bare)));
    }

    #[test]
    fn subsets_become_groups_by_ports_and_family() {
        let subsets = json!([
            { "addresses": [{ "ip": "192.0.2.1", "hostname": "one" }, { "ip": "2001:db8::1" }],
              "notReadyAddresses": [{ "ip": "192.0.2.2" }], "ports": [{ "port": 80, "protocol": "TCP" }] },
            { "addresses": [{ "ip": "192.0.2.3" }], "ports": [{ "name": "", "port": 80, "protocol": "TCP" }] },
            { "addresses": [{ "ip": "192.0.2.3" }], "ports": [{ "name": "b", "port": 81, "protocol": "TCP" }] },
        ]);
        let Mirrored { groups, skipped } = groups(&endpoints(json!({}), subsets).subsets.unwrap());
        let line = |group: &Group| {
            let one = |e: &Endpoint| {
                let ready = e.conditions.as_ref().and_then(|c| c.ready) == Some(true);
                format!("{}{}{}", if ready { "" } else { "!" }, e.addresses[0], e.hostname.as_deref().unwrap_or(""))
            };
            let endpoints: Vec<_> = group.endpoints.iter().map(one).collect();
            format!("{} {:?} {}", group.address_type, group.ports[0].port, endpoints.join(" "))
        };
        assert_eq!(
            groups.iter().map(line).collect::<Vec<_>>(),
            ["IPv4 Some(80) 192.0.2.1one !192.0.2.2 192.0.2.3", "IPv6 Some(80) 2001:db8::1", "IPv4 Some(81) 192.0.2.3"]
        );
        assert_eq!(skipped, 0);
    }

    #[test]
    fn labels_and_annotations_are_mirrored_but_for_their_own() {
        let metadata = json!({ "name": "db", "namespace": "a", "uid": "u", "labels": { "app": "db" },
            "annotations": { "note": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}" } });
        let base = base(&endpoints(metadata, json!([])));
        assert_eq!(base.annotations, Some(BTreeMap::from([("note".to_owned(), "x".to_owned())])));
        assert_eq!(base.labels[LABEL_SERVICE_NAME], "db");
        assert_eq!(
            (base.labels[LABEL_ENDPOINTSLICE_MANAGED_BY].as_str(), base.labels["app"].as_str()),
            (MANAGED_BY, "db")
        );
        assert_eq!((base.owner.kind.as_str(), base.owner.controller), ("Endpoints", Some(true)));
    }

    #[test]
    fn too_many_addresses_are_left_out_and_counted() {
        let addresses: Vec<Value> =
            (0..1003).map(|n| json!({ "ip": format!("10.0.{}.{}", n / 250, n % 250) })).collect();
        let subsets = json!([{ "addresses": addresses, "ports": [{ "port": 80 }] }]);
        let Mirrored { groups, skipped } = groups(&endpoints(json!({}), subsets).subsets.unwrap());
        assert_eq!((groups[0].endpoints.len(), skipped), (ADDRESSES_MAX, 3));
    }
}
