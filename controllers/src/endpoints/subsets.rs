//! The subsets of an Endpoints object: pods with the same ports share one, those not ready listed apart.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Pod, Service};

use crate::pod_facts;
use crate::service_facts;

/// The most addresses in an Endpoints object (upstream's `maxCapacity`).
const ADDRESSES_MAX: usize = 1000;

/// The subsets, and whether there were too many pods for them.
pub(super) struct Subsets {
    pub(super) list: Vec<EndpointSubset>,
    pub(super) truncated: bool,
}

/// The subsets for a Service and the pods it selects.
pub(super) fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Subsets {
    let mut list: Vec<EndpointSubset> = Vec::new();
    let publishes = service_facts::publishes_not_ready(service);
    let counts = |pod: &&Arc<Pod>| {
        !pod_facts::is_terminal(pod)
            && (publishes || !pod_facts::is_terminating(pod))
            && address(service, pod).is_some()
    };
    let mut pods: Vec<_> = pods.iter().filter(counts).collect();
    let truncated = pods.len() > ADDRESSES_MAX;
    if truncated {
        pods.sort_by_key(|pod| !pod_facts::is_ready(pod));
        pods.truncate(ADDRESSES_MAX);
    }
    for pod in pods {
        let Some(address) = address(service, pod) else { continue };
        let Some(ports) = ports(service, pod) else { continue };
        let at = list.iter().position(|subset| subset.ports == ports).unwrap_or_else(|| {
            list.push(EndpointSubset { ports, ..EndpointSubset::default() });
            list.len() - 1
        });
        if let Some(subset) = list.get_mut(at) {
            let ready = publishes || pod_facts::is_ready(pod);
            let side = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
            side.get_or_insert_default().push(address);
        }
    }
    Subsets { list, truncated }
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
    let wants_v6 = families.and_then(|f| f.first()).is_some_and(|family| family == "IPv6");
    let ip = service_facts::addresses(pod).into_iter().find(|ip| ip.contains(':') == wants_v6)?;
    Some(EndpointAddress {
        ip,
        hostname: service_facts::hostname(pod, service),
        node_name: Some(pod_facts::node_name(pod)).filter(|name| !name.is_empty()).map(str::to_owned),
        target_ref: Some(service_facts::pod_reference(pod)),
    })
}

/// The pod's ports; `None` inside for a Service without ports, nothing if the pod has none of those named.
#[expect(clippy::option_option, reason = "outside: is the pod in; inside: the field as it is written")]
fn ports(service: &Service, pod: &Pod) -> Option<Option<Vec<EndpointPort>>> {
    let declared = service_facts::ports(service);
    if declared.is_empty() {
        return Some(None);
    }
    let resolved = declared.iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: service_facts::target(pod, port)?,
            protocol: Some(service_facts::protocol(port.protocol.as_deref()).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    let resolved: Vec<_> = resolved.collect();
    (!resolved.is_empty()).then_some(Some(resolved))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_sorted_by_readiness_and_ports() {
        let pod = |name: &str, ready: &str, port: u16| -> Arc<Pod> {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"name": name},
                    "spec": {"containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
                    "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": ready}]},
                }))
                .unwrap(),
            )
        };
        let service: Service = serde_json::from_value(
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": "web"}]}}),
        )
        .unwrap();
        let pods = [pod("a", "True", 1), pod("b", "False", 1), pod("c", "True", 2)];
        let names = |list: &Option<Vec<EndpointAddress>>| {
            list.iter().flatten().map(|a| a.target_ref.clone().unwrap().name.unwrap()).collect::<Vec<_>>().join(",")
        };
        let shown: Vec<_> = subsets(&service, &pods)
            .list
            .iter()
            .map(|s| {
                format!(
                    "{} {}/{}",
                    s.ports.clone().unwrap()[0].port,
                    names(&s.addresses),
                    names(&s.not_ready_addresses)
                )
            })
            .collect();
        assert_eq!(shown, ["1 a/b", "2 c/"]);
    }
}
