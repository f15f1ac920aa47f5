//! The rules for Services.

use std::collections::BTreeSet;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};

use crate::registry::check::labels::{labels, qualified_name};
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::{port, port_or_name};
use crate::registry::check::{Errors, at, cidr, ip, item, one_of, one_of_if_any};

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
/// A client stays with its pod for a day at most.
const AFFINITY_SECONDS_MAX: i32 = 86_400;

/// The rules for a new Service.
pub(super) fn validate(service: &Service) -> Errors {
    let mut errors = Vec::new();
    let empty = ServiceSpec::default();
    let spec = service.spec.as_ref().unwrap_or(&empty);
    let kind = spec.type_.as_deref().unwrap_or_default();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let ports = spec.ports.as_deref().unwrap_or_default();
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    for_type(&mut errors, spec, kind, headless);
    let mut names = BTreeSet::new();
    for (index, p) in ports.iter().enumerate() {
        validate_port(&mut errors, &item("spec", "ports", index), p, ports.len() > 1, &mut names);
    }
    if let Some(map) = &spec.selector {
        labels(&mut errors, "spec.selector", map);
    }
    affinity(&mut errors, spec);
    families(&mut errors, spec, headless);
    for (index, address) in spec.external_ips.iter().flatten().enumerate() {
        ip(&mut errors, item("spec", "externalIPs", index), address);
    }
    one_of(&mut errors, "spec.type".to_owned(), spec.type_.as_deref(), &TYPES);
    node_ports(&mut errors, ports, kind);
    duplicates(&mut errors, ports);
    policies(&mut errors, spec, kind);
    errors
}

fn for_type(errors: &mut Errors, spec: &ServiceSpec, kind: &str, headless: bool) {
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", detail));
        }
        "ExternalName" => {
            if spec.cluster_ips.as_ref().is_some_and(|ips| !ips.is_empty()) {
                errors.push(FieldError::forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
            }
            let name = spec.external_name.as_deref().unwrap_or_default();
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            } else {
                require(errors, "spec.externalName", name, names::subdomain);
            }
        }
        _ => {}
    }
}

fn validate_port<'a>(
    errors: &mut Errors,
    path: &str,
    p: &'a ServicePort,
    needs_name: bool,
    seen: &mut BTreeSet<&'a str>,
) {
    match p.name.as_deref().unwrap_or_default() {
        "" if needs_name => errors.push(FieldError::required(at(path, "name"), "")),
        "" => {}
        name => {
            require(errors, &at(path, "name"), name, names::label);
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(at(path, "name"), name));
            }
        }
    }
    port(errors, at(path, "port"), p.port);
    one_of(errors, at(path, "protocol"), p.protocol.as_deref(), &["SCTP", "TCP", "UDP"]);
    if let Some(target) = &p.target_port {
        port_or_name(errors, at(path, "targetPort"), target);
    }
    if let Some(protocol) = &p.app_protocol {
        require(errors, &at(path, "appProtocol"), protocol, qualified_name);
    }
}

fn affinity(errors: &mut Errors, spec: &ServiceSpec) {
    one_of(errors, "spec.sessionAffinity".to_owned(), spec.session_affinity.as_deref(), &["ClientIP", "None"]);
    let seconds =
        spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref()).and_then(|c| c.timeout_seconds);
    if let Some(seconds) = seconds.filter(|s| !(1..=AFFINITY_SECONDS_MAX).contains(s)) {
        let detail = format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}");
        errors.push(FieldError::invalid("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, detail));
    }
}

fn families(errors: &mut Errors, spec: &ServiceSpec, headless: bool) {
    let addresses = spec.cluster_ips.as_deref().unwrap_or_default();
    let shown = || serde_json::to_value(addresses).unwrap_or_default();
    if addresses.first().is_some_and(|first| spec.cluster_ip.as_ref() != Some(first)) {
        errors.push(FieldError::invalid("spec.clusterIPs", shown(), "first value must match `clusterIP`"));
    }
    for (index, address) in addresses.iter().enumerate() {
        let path = item("spec", "clusterIPs", index);
        match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V6(_)) => {
                errors.push(FieldError::invalid(path, shown(), "IPv6 is not configured on this cluster"));
            }
            Ok(std::net::IpAddr::V4(_)) => {}
            Err(_) if address == "None" && index == 0 => {}
            Err(_) => ip(errors, path, address),
        }
    }
    let open = headless && spec.selector.as_ref().is_none_or(|s| s.is_empty());
    let mut seen = BTreeSet::new();
    for (index, family) in spec.ip_families.iter().flatten().enumerate() {
        let path = item("spec", "ipFamilies", index);
        if !FAMILIES.contains(&family.as_str()) {
            errors.push(FieldError::not_supported(path, family.as_str(), &FAMILIES));
        } else if !seen.insert(family.as_str()) {
            errors.push(FieldError::duplicate(path, family.as_str()));
        } else if family == "IPv6" && !open {
            errors.push(FieldError::invalid(path, family.as_str(), "not configured on this cluster"));
        }
    }
    match spec.ip_family_policy.as_deref() {
        Some("RequireDualStack") if !open => {
            let detail = "this cluster is not configured for dual-stack services";
            errors.push(FieldError::invalid("spec.ipFamilyPolicy", "RequireDualStack", detail));
        }
        None | Some("SingleStack" | "PreferDualStack" | "RequireDualStack") => {}
        Some(other) => {
            let supported = ["SingleStack", "PreferDualStack", "RequireDualStack"];
            errors.push(FieldError::not_supported("spec.ipFamilyPolicy", other, &supported));
        }
    }
}

fn node_ports(errors: &mut Errors, ports: &[ServicePort], kind: &str) {
    if kind == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, p)| p.node_port.unwrap_or(0) != 0) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(at(&item("spec", "ports", index), "nodePort"), detail));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, p) in ports.iter().enumerate() {
        let Some(number) = p.node_port.filter(|n| *n != 0) else { continue };
        if !seen.insert((number, p.protocol.as_deref().unwrap_or_default())) {
            errors.push(FieldError::duplicate(at(&item("spec", "ports", index), "nodePort"), number));
        }
    }
}

fn duplicates(errors: &mut Errors, ports: &[ServicePort]) {
    let mut seen = BTreeSet::new();
    for (index, p) in ports.iter().enumerate() {
        let protocol = p.protocol.as_deref().unwrap_or_default();
        if !seen.insert((protocol, p.port)) {
            let shown = serde_json::json!({"protocol": protocol, "port": p.port});
            errors.push(FieldError::duplicate(item("spec", "ports", index), shown));
        }
    }
}

fn policies(errors: &mut Errors, spec: &ServiceSpec, kind: &str) {
    let policies = ["Cluster", "Local"];
    if let Some(policy) = spec.internal_traffic_policy.as_deref().filter(|p| !policies.contains(p)) {
        errors.push(FieldError::not_supported("spec.internalTrafficPolicy", policy, &policies));
    }
    let external = spec.external_traffic_policy.as_deref().filter(|p| !p.is_empty());
    let reachable = matches!(kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    match external {
        Some(policy) if !reachable => {
            let detail = "may only be set for externally-accessible services";
            errors.push(FieldError::invalid("spec.externalTrafficPolicy", policy, detail));
        }
        Some(policy) if !policies.contains(&policy) => {
            errors.push(FieldError::not_supported("spec.externalTrafficPolicy", policy, &policies));
        }
        Some(_) | None => {}
    }
    let health = spec.health_check_node_port.filter(|p| *p != 0);
    if let Some(health) = health.filter(|_| !(kind == "LoadBalancer" && external == Some("Local"))) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid("spec.healthCheckNodePort", health, detail));
    }
    balancer(errors, spec, kind);
    for (field, set) in [
        ("allocateLoadBalancerNodePorts", spec.allocate_load_balancer_node_ports.is_some()),
        ("loadBalancerClass", spec.load_balancer_class.is_some()),
    ] {
        if set && kind != "LoadBalancer" {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.push(FieldError::forbidden(at("spec", field), detail));
        }
    }
}

fn balancer(errors: &mut Errors, spec: &ServiceSpec, kind: &str) {
    // Upstream writes this path with a capital.
    let path = "spec.LoadBalancerSourceRanges";
    let ranges = spec.load_balancer_source_ranges.as_deref().unwrap_or_default();
    if !ranges.is_empty() && kind != "LoadBalancer" {
        errors.push(FieldError::forbidden(path, "may only be used when `type` is 'LoadBalancer'"));
    } else {
        for (index, range) in ranges.iter().enumerate() {
            cidr(errors, format!("{path}[{index}]"), range);
        }
    }
    if let Some(class) = spec.load_balancer_class.as_deref().filter(|_| kind == "LoadBalancer") {
        require(errors, "spec.loadBalancerClass", class, qualified_name);
    }
    let ways = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    one_of_if_any(errors, "spec.trafficDistribution".to_owned(), spec.traffic_distribution.as_deref(), &ways);
}

/// The rules for a change of the status.
pub(super) fn validate_status(service: &Service) -> Errors {
    const PATH: &str = "status.loadBalancer.ingress";
    let mut errors = Vec::new();
    let balancer = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = balancer.and_then(|b| b.ingress.as_deref()).unwrap_or_default();
    if !ingress.is_empty() && service.spec.as_ref().and_then(|s| s.type_.as_deref()) != Some("LoadBalancer") {
        errors.push(FieldError::forbidden(PATH, "may only be used when `spec.type` is 'LoadBalancer'"));
        return errors;
    }
    for (index, point) in ingress.iter().enumerate() {
        if let Some(address) = point.ip.as_deref().filter(|a| !a.is_empty()) {
            ip(&mut errors, format!("{PATH}[{index}].ip"), address);
        }
        if let Some(name) = point.hostname.as_deref().filter(|n| !n.is_empty()) {
            require(&mut errors, &format!("{PATH}[{index}].hostname"), name, names::subdomain);
        }
    }
    errors
}

/// The rules for a change: an address once given stays, unless the type has none.
pub(super) fn validate_update(new: &Service, old: &Service) -> Errors {
    let mut errors = Vec::new();
    let empty = ServiceSpec::default();
    let (new_spec, old_spec) = (new.spec.as_ref().unwrap_or(&empty), old.spec.as_ref().unwrap_or(&empty));
    let has_address = |spec: &ServiceSpec| spec.type_.as_deref() != Some("ExternalName");
    let before = old_spec.cluster_ips.as_deref().unwrap_or_default();
    let after = new_spec.cluster_ips.as_deref().unwrap_or_default();
    if has_address(new_spec) && has_address(old_spec) && !before.is_empty() && after.first() != before.first() {
        let shown = serde_json::to_value(after).unwrap_or_default();
        let detail = "may not change once set";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", shown, detail));
    }
    errors.extend(validate(new));
    errors
}
