//! The status of Services of type LoadBalancer: where they are reached, which is the node's own address.
//!
//! Level, not edge: each pass compares what is open with what the status says, so that what was not written is
//! written by the next. It refuses to tell of a port that is not open: `kubectl get` shows such a Service as pending.

use std::net::IpAddr;
use std::sync::Arc;

use coracle_api::names::NamespacedName;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;

use crate::asked::{Asked, name_of};
use crate::listeners::Listeners;
use crate::routes::{Front, load_balancer_fronts};

/// How many statuses are on their way at the same time; the next pass writes the others.
const WRITES_IN_FLIGHT_MAX: usize = 16;

/// Writes the status of load balancers.
pub(crate) struct Balancers {
    client: Client,
    address: IpAddr,
    writing: JoinSet<()>,
}

impl Balancers {
    /// For the node at `address`.
    pub(crate) fn new(client: Client, address: IpAddr) -> Self {
        Self { client, address, writing: JoinSet::new() }
    }

    /// Makes the status of Services say what is open.
    pub(crate) fn tell<'a>(
        &mut self,
        services: impl Iterator<Item = (&'a Arc<Service>, Option<&'a Asked>)>,
        listeners: &Listeners,
    ) {
        while self.writing.try_join_next().is_some() {}
        for (service, asked) in services {
            let name = name_of(service);
            let is_open = |front| listeners.is_open(front, &name);
            let Some(ingress) = change(service, asked, self.address, is_open) else { continue };
            if self.writing.len() >= WRITES_IN_FLIGHT_MAX {
                return;
            }
            self.writing.spawn(write(self.client.clone(), name, ingress));
        }
    }
}

/// What the status is to say instead of what it says; nothing where it is right, or somebody else's.
fn change(
    service: &Service,
    asked: Option<&Asked>,
    address: IpAddr,
    is_open: impl Fn(Front) -> bool,
) -> Option<Vec<LoadBalancerIngress>> {
    let spec = service.spec.as_ref()?;
    if spec.load_balancer_class.is_some() {
        return None;
    }
    let fronts = asked.map(load_balancer_fronts).unwrap_or_default();
    let open = !fronts.is_empty() && fronts.into_iter().all(is_open);
    let ingress = LoadBalancerIngress {
        ip: Some(address.to_string()),
        ip_mode: Some("VIP".to_owned()),
        ..LoadBalancerIngress::default()
    };
    let wanted = if open { vec![ingress] } else { Vec::new() };
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let current = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    (current != wanted).then_some(wanted)
}

async fn write(client: Client, service: NamespacedName, ingress: Vec<LoadBalancerIngress>) {
    let api = Api::<Service>::namespaced(client, &service.namespace);
    let patch = Patch::Merge(json!({ "status": { "loadBalancer": { "ingress": ingress } } }));
    if let Err(error) = api.patch_status(&service.name, &PatchParams::default(), &patch).await {
        tracing::debug!(%error, %service, "the status of a load balancer was not written");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use serde_json::Value;

    use super::*;

    fn service(kind: &str, ingress: Value) -> Service {
        let spec =
            json!({ "type": kind, "clusterIP": "10.0.0.1", "ports": [{ "port": 80 }, { "name": "b", "port": 81 }] });
        serde_json::from_value(json!({ "spec": spec, "status": { "loadBalancer": { "ingress": ingress } } })).unwrap()
    }

    #[test]
    fn the_status_tells_of_the_node_once_all_ports_are_open() {
        let address: IpAddr = Ipv4Addr::LOCALHOST.into();
        let told = |service: &Service, open: &[u16]| {
            let is_open = |front| matches!(front, Front::LoadBalancer(_, port) if open.contains(&port));
            let asked = Asked::of(service);
            change(service, asked.as_ref(), address, is_open)
                .map(|i| i.iter().filter_map(|one| one.ip.clone()).collect::<Vec<_>>())
        };
        let here = json!([{ "ip": "127.0.0.1", "ipMode": "VIP" }]);
        assert_eq!(told(&service("LoadBalancer", json!([])), &[80]), None);
        assert_eq!(told(&service("LoadBalancer", json!([])), &[80, 81]), Some(vec!["127.0.0.1".to_owned()]));
        assert_eq!(told(&service("LoadBalancer", here.clone()), &[80, 81]), None, "it is right");
        assert_eq!(told(&service("LoadBalancer", here.clone()), &[80]), Some(vec![]));
        assert_eq!(told(&service("ClusterIP", here), &[]), Some(vec![]), "it was one before");
    }
}
