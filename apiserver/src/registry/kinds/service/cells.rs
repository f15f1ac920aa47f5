//! What `kubectl get services` shows.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServicePort, ServiceSpec};
use serde_json::Value;

use crate::registry::cells::{self, NONE, UNKNOWN, label_list, or};

/// The cells of a Service.
pub(super) fn cells(service: &Service, now: Timestamp) -> Vec<Value> {
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let ports: Vec<String> = spec.ports.iter().flatten().map(port).collect();
    vec![
        cells::name(&service.metadata),
        or(spec.type_.as_deref(), "").into(),
        or(spec.cluster_ips.iter().flatten().next().map(String::as_str), NONE).into(),
        external(service, spec).into(),
        or(Some(&ports.join(",")), NONE).into(),
        cells::age(&service.metadata, now),
        label_list(spec.selector.as_ref()).into(),
    ]
}

fn port(port: &ServicePort) -> String {
    let protocol = or(port.protocol.as_deref(), "TCP");
    match port.node_port.unwrap_or(0) {
        0 => format!("{}/{protocol}", port.port),
        node => format!("{}:{node}/{protocol}", port.port),
    }
}

fn external(service: &Service, spec: &ServiceSpec) -> String {
    let given = spec.external_ips.as_deref().unwrap_or_default();
    match spec.type_.as_deref() {
        Some("ExternalName") => or(spec.external_name.as_deref(), "").to_owned(),
        Some("LoadBalancer") => {
            let ingress =
                service.status.as_ref().and_then(|s| s.load_balancer.as_ref()).and_then(|b| b.ingress.as_ref());
            let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let address = |i: &LoadBalancerIngress| some(&i.ip).or_else(|| some(&i.hostname));
            let balanced: BTreeSet<String> = ingress.into_iter().flatten().filter_map(address).collect();
            let all: Vec<String> = balanced.into_iter().chain(given.iter().cloned()).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        Some("ClusterIP" | "NodePort") => or(Some(&given.join(",")), NONE).to_owned(),
        Some(_) | None => UNKNOWN.to_owned(),
    }
}
