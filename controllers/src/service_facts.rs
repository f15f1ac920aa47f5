//! What a Service says about its backends: which pods, at which addresses, on which ports.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerPort, ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::pod_facts;

/// The labels of the Service's pods; nothing if it is not ours to say (no selector, or an external name).
pub(crate) fn selector(service: &Service) -> Option<&BTreeMap<String, String>> {
    let spec = service.spec.as_ref().filter(|spec| spec.type_.as_deref() != Some("ExternalName"))?;
    spec.selector.as_ref().filter(|labels| !labels.is_empty())
}

/// Whether a pod is the Service's. Each change of a pod asks this of each Service of its namespace.
pub(crate) fn selects(service: &Service, pod: &Pod) -> bool {
    let Some(wanted) = selector(service) else { return false };
    let labels = pod.labels();
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// Whether the Service has no address of its own.
pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether pods count before they are ready.
pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

/// The Service's ports.
pub(crate) fn ports(service: &Service) -> &[ServicePort] {
    service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// The pod's port behind a port of the Service; nothing if it names one that the pod does not have.
pub(crate) fn target(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => named(pod, name, protocol(port.protocol.as_deref())),
    }
}

fn named(pod: &Pod, name: &str, wanted: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let declared = |c: &Container| c.ports.clone().unwrap_or_default();
    let is_it = |p: &ContainerPort| p.name.as_deref() == Some(name) && protocol(p.protocol.as_deref()) == wanted;
    spec.containers.iter().chain(sidecars).flat_map(declared).find(is_it).map(|p| p.container_port)
}

/// TCP if nothing is said.
pub(crate) fn protocol(said: Option<&str>) -> &str {
    said.filter(|p| !p.is_empty()).unwrap_or("TCP")
}

/// All addresses of the pod.
pub(crate) fn addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all: Vec<_> = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).filter(|ip| !ip.is_empty()).collect();
    if all.is_empty() { status.pod_ip.iter().filter(|ip| !ip.is_empty()).cloned().collect() } else { all }
}

/// The name that the pod has within a headless Service, if it asks for one.
pub(crate) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let here = spec.subdomain.as_deref() == Some(service.name_any().as_str()) && pod.namespace() == service.namespace();
    spec.hostname.clone().filter(|name| here && !name.is_empty())
}

/// How endpoints name a pod.
pub(crate) fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.namespace(),
        name: Some(pod.name_any()),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

/// Whether a change of a pod can matter to the endpoints of any Service.
pub(crate) fn differs(old: &Pod, new: &Pod) -> bool {
    let host = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    old.metadata.labels != new.metadata.labels
        || pod_facts::is_terminating(old) != pod_facts::is_terminating(new)
        || pod_facts::is_terminal(old) != pod_facts::is_terminal(new)
        || pod_facts::is_ready(old) != pod_facts::is_ready(new)
        || pod_facts::node_name(old) != pod_facts::node_name(new)
        || addresses(old) != addresses(new)
        || host(old) != host(new)
}
