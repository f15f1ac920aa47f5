//! The endpoints that a Service should have, grouped as slices group them: one address family and one set of ports.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};

use crate::pod_facts;
use crate::service_facts;
use crate::slices::Group;

/// The groups for a Service and the pods it selects. Each family of the Service has at least one group.
pub(super) fn desired_slices(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: impl Fn(&str) -> Option<String>,
) -> Vec<Group> {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.clone()).filter(|f| !f.is_empty());
    let mut groups = Vec::new();
    for family in families.unwrap_or_else(|| vec!["IPv4".to_owned()]) {
        let before = groups.len();
        for pod in pods {
            if let Some(endpoint) = endpoint(service, pod, &family, &zone) {
                let ports = ports(service, pod);
                let of_family = groups.iter_mut().skip(before);
                match of_family.into_iter().find(|group: &&mut Group| group.ports == ports) {
                    Some(group) => group.endpoints.push(endpoint),
                    None => {
                        groups.push(Group { address_type: family.clone(), ports, endpoints: vec![endpoint] });
                    }
                }
            }
        }
        if groups.len() == before {
            groups.push(Group { address_type: family, ports: Vec::new(), endpoints: Vec::new() });
        }
    }
    groups
}

fn endpoint(service: &Service, pod: &Pod, family: &str, zone: &impl Fn(&str) -> Option<String>) -> Option<Endpoint> {
    if pod_facts::is_terminal(pod) {
        return None;
    }
    let addresses: Vec<_> =
        service_facts::addresses(pod).into_iter().filter(|ip| ip.contains(':') == (family == "IPv6")).collect();
    if addresses.is_empty() {
        return None;
    }
    let serving = pod_facts::is_ready(pod);
    let terminating = pod_facts::is_terminating(pod);
    let ready = service_facts::publishes_not_ready(service) || serving && !terminating;
    let node = Some(pod_facts::node_name(pod)).filter(|name| !name.is_empty());
    let zone = node.and_then(zone);
    Some(Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: service_facts::hostname(pod, service),
        node_name: node.map(str::to_owned),
        target_ref: Some(service_facts::pod_reference(pod)),
        hints: if ready { hints(service, node, zone.as_deref()) } else { None },
        zone,
        ..Endpoint::default()
    })
}

/// For whom a ready endpoint is meant, where the Service wants its traffic near.
fn hints(service: &Service, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let wanted = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let same_node = wanted == "PreferSameNode";
    if !same_node && !matches!(wanted, "PreferClose" | "PreferSameZone") {
        return None;
    }
    let hints = EndpointHints {
        for_nodes: node.filter(|_| same_node).map(|name| vec![ForNode { name: name.to_owned() }]),
        for_zones: zone.map(|name| vec![ForZone { name: name.to_owned() }]),
    };
    (hints != EndpointHints::default()).then_some(hints)
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let resolved = service_facts::ports(service).iter().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(service_facts::target(pod, port)?),
            protocol: Some(service_facts::protocol(port.protocol.as_deref()).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(extra: &Value) -> Service {
        let mut spec = json!({"ports": [{"name": "http", "port": 80, "targetPort": "web"}]});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "a"}, "spec": spec})).unwrap()
    }

    fn pod(name: &str, port: u16, ready: &str, extra: &Value) -> Arc<Pod> {
        let metadata = json!({"name": name, "namespace": "a", "uid": name, "deletionTimestamp": extra["deleted"]});
        Arc::new(
            serde_json::from_value(json!({
                "metadata": metadata,
                "spec": {"nodeName": "n1", "hostname": extra["hostname"], "subdomain": "s", "containers": [
                    {"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
                "status": {"phase": extra["phase"].as_str().unwrap_or("Running"), "podIP": extra["ip"].as_str().unwrap_or("10.0.0.1"),
                    "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap(),
        )
    }

    fn shown(groups: &[Group]) -> Vec<String> {
        let endpoint = |e: &Endpoint| {
            let c = e.conditions.clone().unwrap();
            let flag = |b: Option<bool>, l: char| if b == Some(true) { l } else { '-' };
            let name = e.target_ref.clone().unwrap().name.unwrap();
            format!("{name}:{}{}{}", flag(c.ready, 'r'), flag(c.serving, 's'), flag(c.terminating, 't'))
        };
        let line = |g: &Group| {
            let ports: Vec<_> = g.ports.iter().map(|p| p.port.unwrap().to_string()).collect();
            let all: Vec<_> = g.endpoints.iter().map(endpoint).collect();
            format!("{} {} {}", g.address_type, ports.join(","), all.join(" ")).trim_end().to_owned()
        };
        groups.iter().map(line).collect()
    }

    #[test]
    fn endpoints_say_what_their_pods_are() {
        let pods = [
            pod("a", 8080, "True", &json!({})),
            pod("b", 8080, "False", &json!({})),
            pod("c", 9090, "True", &json!({"deleted": "2026-01-01T00:00:00Z"})),
            pod("d", 8080, "True", &json!({"phase": "Failed"})),
            pod("e", 8080, "True", &json!({"ip": ""})),
            pod("f", 8080, "True", &json!({"ip": "fd00::1"})),
        ];
        let none = |_: &str| None;
        assert_eq!(
            shown(&desired_slices(&service(&json!({})), &pods, none)),
            ["IPv4 8080 a:rs- b:---", "IPv4 9090 c:-st"]
        );
        let publish = service(&json!({"publishNotReadyAddresses": true, "ipFamilies": ["IPv4", "IPv6"]}));
        assert_eq!(
            shown(&desired_slices(&publish, &pods, none)),
            ["IPv4 8080 a:rs- b:r--", "IPv4 9090 c:rst", "IPv6 8080 f:rs-"]
        );
    }

    #[test]
    fn a_service_without_pods_has_an_empty_group_per_family() {
        assert_eq!(shown(&desired_slices(&service(&json!({})), &[], |_| None)), ["IPv4"]);
    }

    #[test]
    fn a_pod_may_have_a_name_in_the_service_and_a_zone_by_its_node() {
        let pods = [pod("a", 1, "True", &json!({"hostname": "first"}))];
        let groups = desired_slices(&service(&json!({})), &pods, |node| Some(format!("zone-of-{node}")));
        let endpoint = &groups[0].endpoints[0];
        assert_eq!(endpoint.hostname.as_deref(), Some("first"));
        assert_eq!((endpoint.node_name.as_deref(), endpoint.zone.as_deref()), (Some("n1"), Some("zone-of-n1")));
    }

    #[test]
    fn traffic_that_is_to_stay_near_is_hinted_at() {
        let pods = [pod("a", 1, "True", &json!({})), pod("b", 1, "False", &json!({}))];
        let hinted = |way: &str| {
            let service = service(&json!({"trafficDistribution": way}));
            let groups = desired_slices(&service, &pods, |_| Some("z".to_owned()));
            let names = |hints: &EndpointHints| {
                let nodes = hints.for_nodes.iter().flatten().map(|n| format!("node {}", n.name));
                nodes.chain(hints.for_zones.iter().flatten().map(|z| format!("zone {}", z.name))).collect::<Vec<_>>()
            };
            let endpoints = groups[0].endpoints.iter();
            endpoints.map(|e| e.hints.as_ref().map(names).unwrap_or_default().join(", ")).collect::<Vec<_>>()
        };
        assert_eq!(hinted("PreferSameNode"), ["node n1, zone z", ""], "only what is ready");
        assert_eq!(hinted("PreferClose"), ["zone z", ""]);
        assert_eq!(hinted("PreferSameZone"), ["zone z", ""]);
    }
}
