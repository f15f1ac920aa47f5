//! What is allowed in a Service but odd.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};

use crate::registry::check::addresses::{cidr_warnings, ip_warnings};
use crate::registry::check::item;

/// The annotation that asked for near endpoints before there was a better name.
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";

fn some(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// What a client is told about a Service that it wrote.
pub(super) fn warnings(service: &Service) -> Vec<String> {
    let mut warnings = Vec::new();
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    if service.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(TOPOLOGY_HINTS)) {
        let better = "service.kubernetes.io/topology-mode";
        warnings.push(format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {better} instead"));
    }
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if !headless {
        addresses(&mut warnings, "clusterIPs", spec.cluster_ips.as_deref());
    }
    if headless && spec.type_.as_deref() == Some("ClusterIP") {
        ignored_without_address(&mut warnings, spec);
    }
    addresses(&mut warnings, "externalIPs", spec.external_ips.as_deref());
    if let Some(address) = some(spec.load_balancer_ip.as_deref()) {
        warnings.extend(ip_warnings("spec.loadBalancerIP", address));
    }
    for (index, range) in spec.load_balancer_source_ranges.iter().flatten().enumerate() {
        warnings.extend(cidr_warnings(&item("spec", "loadBalancerSourceRanges", index), range));
    }
    let external = spec.type_.as_deref() == Some("ExternalName");
    if external && has_external_ips(spec) {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external && some(spec.external_name.as_deref()).is_some() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.traffic_distribution.as_deref() == Some("PreferClose") {
        let warning = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(warning.to_owned());
    }
    warnings
}

fn has_external_ips(spec: &ServiceSpec) -> bool {
    spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty())
}

fn addresses(warnings: &mut Vec<String>, field: &str, addresses: Option<&[String]>) {
    for (index, address) in addresses.unwrap_or_default().iter().enumerate() {
        warnings.extend(ip_warnings(&item("spec", field, index), address));
    }
}

/// Without an address of its own there is nothing that these could be about.
fn ignored_without_address(warnings: &mut Vec<String>, spec: &ServiceSpec) {
    let affinity = spec.session_affinity.as_deref().is_some_and(|affinity| affinity != "None");
    for (field, is_set) in [
        ("loadBalancerIP", some(spec.load_balancer_ip.as_deref()).is_some()),
        ("externalIPs", has_external_ips(spec)),
        ("SessionAffinity", affinity),
    ] {
        if is_set {
            warnings.push(format!("spec.{field} is ignored for headless services"));
        }
    }
}
