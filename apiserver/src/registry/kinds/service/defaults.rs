//! What a Service has where nobody says otherwise, and what it keeps when it changes.

use k8s_openapi::api::core::v1::{ClientIPConfig, Service, ServiceSpec, SessionAffinityConfig};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

/// How long a client stays with its pod: three hours.
const AFFINITY_SECONDS: i32 = 10_800;

const EXTERNAL_NAME: &str = "ExternalName";

/// Fills in a Service.
pub(super) fn default(service: &mut Service) {
    let spec = service.spec.get_or_insert_default();
    let fill = |field: &mut Option<String>, value: &str| {
        if field.as_deref().is_none_or(str::is_empty) {
            *field = Some(value.to_owned());
        }
    };
    fill(&mut spec.session_affinity, "None");
    fill(&mut spec.type_, "ClusterIP");
    affinity(spec);
    for port in spec.ports.iter_mut().flatten() {
        fill(&mut port.protocol, "TCP");
        let unset = match &port.target_port {
            None => true,
            Some(IntOrString::Int(number)) => *number == 0,
            Some(IntOrString::String(name)) => name.is_empty(),
        };
        if unset {
            port.target_port = Some(IntOrString::Int(port.port));
        }
        port.node_port = port.node_port.filter(|p| *p != 0);
    }
    let kind = spec.type_.clone().unwrap_or_default();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        fill(&mut spec.external_traffic_policy, "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(&mut spec.internal_traffic_policy, "Cluster");
    }
    if kind == "LoadBalancer" {
        spec.allocate_load_balancer_node_ports.get_or_insert(true);
    }
    one_name_for_the_address(spec);
    let balancer = service.status.get_or_insert_default().load_balancer.get_or_insert_default();
    for ingress in balancer.ingress.iter_mut().flatten().filter(|i| i.ip.is_some()) {
        ingress.ip_mode.get_or_insert_with(|| "VIP".to_owned());
    }
}

fn affinity(spec: &mut ServiceSpec) {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        spec.session_affinity_config = None;
        return;
    }
    let client = spec.session_affinity_config.get_or_insert_with(SessionAffinityConfig::default);
    let client = client.client_ip.get_or_insert_with(ClientIPConfig::default);
    client.timeout_seconds.get_or_insert(AFFINITY_SECONDS);
}

/// `clusterIP` and the first of `clusterIPs` are one thing with two names.
fn one_name_for_the_address(spec: &mut ServiceSpec) {
    spec.cluster_ip = spec.cluster_ip.take().filter(|ip| !ip.is_empty());
    let first = spec.cluster_ips.as_ref().and_then(|ips| ips.first()).filter(|ip| !ip.is_empty()).cloned();
    match (&spec.cluster_ip, first) {
        (Some(ip), None) => spec.cluster_ips = Some(vec![ip.clone()]),
        (None, Some(first)) => spec.cluster_ip = Some(first),
        (None, None) => spec.cluster_ips = None,
        (Some(_), Some(_)) => {}
    }
}

/// Families of addresses: this is a cluster with one, so what is left open is closed.
pub(super) fn families(service: &mut Value) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if text(spec, "type") == EXTERNAL_NAME {
        return;
    }
    let headless = text(spec, "clusterIP") == "None";
    let selects = spec.get("selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    if headless && !selects {
        // Whoever makes its endpoints by hand may use either family.
        spec.entry("ipFamilyPolicy").or_insert_with(|| json!("RequireDualStack"));
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4", "IPv6"]));
    } else {
        spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
    }
}

fn text<'a>(spec: &'a Map<String, Value>, field: &str) -> &'a str {
    spec.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// A change that does not mention the address or the ports of the node keeps them, as long as the type has them.
pub(super) fn take_over(new: &mut Value, old: &Value) {
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let Some(old) = old.get("spec").and_then(Value::as_object) else { return };
    let kind = text(spec, "type").to_owned();
    let had = text(old, "type").to_owned();
    if kind == EXTERNAL_NAME && had != EXTERNAL_NAME {
        forget(spec, old, &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    } else if kind != EXTERNAL_NAME && had != EXTERNAL_NAME {
        let changed = spec.get("clusterIP").filter(|ip| Some(*ip) != old.get("clusterIP")).cloned();
        if let (Some(ip), true) = (changed, spec.get("clusterIPs") == old.get("clusterIPs")) {
            // Who changes the one name means the other too; the rules then tell that it may not change.
            spec.insert("clusterIPs".to_owned(), json!([ip]));
        }
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let (None, Some(value)) = (spec.get(field), old.get(field)) {
                spec.insert(field.to_owned(), value.clone());
            }
        }
    }
    let node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if node_ports(&kind) && node_ports(&had) {
        keep_node_ports(spec, old);
        health_port(spec, old, &kind);
    } else if !node_ports(&kind) && node_ports(&had) {
        forget_node_ports(spec, old);
    }
}

/// Takes away what nobody set anew.
fn forget(spec: &mut Map<String, Value>, old: &Map<String, Value>, fields: &[&str]) {
    spec.retain(|field, value| !(fields.contains(&field.as_str()) && old.get(field) == Some(value)));
}

/// Only a balancer that keeps traffic on its node has a port for its health.
fn health_port(spec: &mut Map<String, Value>, old: &Map<String, Value>, kind: &str) {
    const FIELD: &str = "healthCheckNodePort";
    if kind != "LoadBalancer" || text(spec, "externalTrafficPolicy") != "Local" {
        forget(spec, old, &[FIELD]);
    } else if let (None, Some(port)) = (spec.get(FIELD), old.get(FIELD)) {
        spec.insert(FIELD.to_owned(), port.clone());
    }
}

fn port_key(port: &Value) -> (Option<&Value>, Option<&Value>) {
    (port.get("port"), port.get("protocol"))
}

fn keep_node_ports(spec: &mut Map<String, Value>, old: &Map<String, Value>) {
    let old_ports = old.get("ports").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    let given: Vec<Value> = ports.iter().flat_map(|p| p.iter().filter_map(|p| p.get("nodePort").cloned())).collect();
    for port in ports.into_iter().flatten().filter(|p| p.get("nodePort").is_none()) {
        let before = old_ports.iter().find(|o| port_key(o) == port_key(port)).and_then(|o| o.get("nodePort")).cloned();
        if let (Some(number), Some(port)) = (before.filter(|n| !given.contains(n)), port.as_object_mut()) {
            port.insert("nodePort".to_owned(), number);
        }
    }
}

/// A change of type that still lists the ports that the server gave means to be rid of them.
fn forget_node_ports(spec: &mut Map<String, Value>, old: &Map<String, Value>) {
    let had: Vec<&Value> =
        old.get("ports").and_then(Value::as_array).into_iter().flatten().filter_map(|p| p.get("nodePort")).collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port.get("nodePort").is_some_and(|n| had.contains(&n))
            && let Some(port) = port.as_object_mut()
        {
            port.remove("nodePort");
        }
    }
    forget(spec, old, &["externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"]);
}
