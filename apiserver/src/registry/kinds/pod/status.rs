//! The status of a pod: what a node may say of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use coracle_api::field::FieldError;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodResourceClaim, PodSpec, PodStatus};
use serde_json::Value;

use super::update;
use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::{require, subdomain};
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, ip, text};
use crate::registry::typed::keep;

/// Takes over what a change of the status does not say, or may not.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    if let (Some(meta), Some(old)) = (new.get_mut("metadata"), old.get("metadata")) {
        keep(meta, old, "ownerReferences");
        keep(meta, old, "deletionTimestamp");
    }
    let (Some(status), Some(old)) = (new.get_mut("status").and_then(Value::as_object_mut), old.get("status")) else {
        return;
    };
    for field in ["qosClass", "observedGeneration"] {
        if let (None, Some(value)) = (status.get(field), old.get(field)) {
            status.insert(field.to_owned(), value.clone());
        }
    }
}

/// The rules for a change of the status.
pub(super) fn validate(new: &Pod, old: &Pod) -> Errors {
    let mut errors = Vec::new();
    update::annotations(&mut errors, new, old);
    let (empty, empty_spec) = (PodStatus::default(), PodSpec::default());
    let (status, before) = (new.status.as_ref().unwrap_or(&empty), old.status.as_ref().unwrap_or(&empty));
    let spec = old.spec.as_ref().unwrap_or(&empty_spec);
    // Upstream looks for conditions in the metadata.
    let list = Path::from("metadata.conditions");
    for (index, condition) in status.conditions.iter().flatten().enumerate() {
        let path = list.index(index);
        require(&mut errors, path.field("Type"), &condition.type_, qualified_name);
    }
    let path = Path::from("status");
    let nominated = text(&status.nominated_node_name);
    if !nominated.is_empty() && nominated != text(&before.nominated_node_name) {
        require(&mut errors, path.field("nominatedNodeName"), nominated, subdomain);
    }
    if status.qos_class != before.qos_class {
        let detail = "field is immutable";
        errors.push(FieldError::invalid(path.field("qosClass"), text(&status.qos_class), detail));
    }
    transitions(&mut errors, path, status, before, spec);
    claims(&mut errors, path.field("resourceClaimStatuses"), status, spec.resource_claims.as_deref());
    addresses(&mut errors, path, status);
    for (field, statuses) in lists(status) {
        users(&mut errors, path.field(field), statuses, spec);
    }
    allocated(&mut errors, path, status, spec);
    errors
}

/// The three lists of a status.
fn lists(status: &PodStatus) -> [(&'static str, &[ContainerStatus]); 3] {
    [
        ("containerStatuses", status.container_statuses.as_deref().unwrap_or_default()),
        ("initContainerStatuses", status.init_container_statuses.as_deref().unwrap_or_default()),
        ("ephemeralContainerStatuses", status.ephemeral_container_statuses.as_deref().unwrap_or_default()),
    ]
}

/// What has ended for good does not start again.
fn transitions(errors: &mut Errors, path: Path<'_>, new: &PodStatus, old: &PodStatus, spec: &PodSpec) {
    let policy = text(&spec.restart_policy);
    let restarted_by_rule = |container: &Container| {
        container.restart_policy.is_some() || container.restart_policy_rules.as_ref().is_some_and(|r| !r.is_empty())
    };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let own: BTreeSet<&str> = containers.filter(|c| restarted_by_rule(c)).map(|c| c.name.as_str()).collect();
    for ((field, new), (_, old)) in lists(new).into_iter().zip(lists(old)) {
        let ephemeral = field == "ephemeralContainerStatuses";
        let policy = if ephemeral { "Never" } else { policy };
        if policy == "Always" {
            continue;
        }
        let running: BTreeSet<&str> = new
            .iter()
            .filter(|s| s.state.as_ref().is_none_or(|state| state.terminated.is_none()))
            .map(|s| s.name.as_str())
            .collect();
        let list = path.field(field);
        for (index, status) in old.iter().enumerate() {
            let code = status.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
            let ended = code.is_some_and(|code| policy == "Never" || code == 0);
            if ended && running.contains(status.name.as_str()) && !own.contains(status.name.as_str()) {
                let path = list.index(index);
                let detail = "may not be transitioned to non-terminated state";
                errors.push(FieldError::forbidden(path.field("state"), detail));
            }
        }
    }
}

fn claims(errors: &mut Errors, path: Path<'_>, status: &PodStatus, claims: Option<&[PodResourceClaim]>) {
    let known: BTreeSet<&str> = claims.unwrap_or_default().iter().map(|c| c.name.as_str()).collect();
    let mut seen = BTreeSet::new();
    for (index, claim) in status.resource_claim_statuses.iter().flatten().enumerate() {
        let path = path.index(index);
        let (place, name) = (path.field("name"), claim.name.as_str());
        if !known.contains(name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(place, name, detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(place, name));
        }
        if let Some(made) = &claim.resource_claim_name {
            require(errors, place, made, subdomain);
        }
    }
}

fn addresses(errors: &mut Errors, path: Path<'_>, status: &PodStatus) {
    let of_pod: Vec<&str> = status.pod_ips.iter().flatten().map(|a| a.ip.as_str()).collect();
    one_of_each_family(errors, path.field("podIPs"), &of_pod);
    let of_host: Vec<&str> = status.host_ips.iter().flatten().map(|a| a.ip.as_str()).collect();
    let list = path.field("hostIPs");
    if let Some(first) = of_host.first().filter(|first| **first != text(&status.host_ip)) {
        let path = list.index(0);
        errors.push(FieldError::invalid(path.field("ip"), *first, "must be equal to `hostIP`"));
    }
    one_of_each_family(errors, list, &of_host);
}

fn one_of_each_family(errors: &mut Errors, path: Path<'_>, addresses: &[&str]) {
    for (index, address) in addresses.iter().enumerate() {
        ip(errors, path.index(index), address);
    }
    if addresses.len() < 2 {
        return;
    }
    let families: Vec<bool> = addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()).map(|a| a.is_ipv4()).collect();
    let both = families.contains(&true) && families.contains(&false);
    if !both || addresses.len() > 2 {
        let shown: Vec<Value> = addresses.iter().map(|a| serde_json::json!({"ip": a})).collect();
        errors.push(FieldError::invalid(path, shown, "may specify no more than one IP for each IP family"));
    }
    let mut seen = BTreeSet::new();
    for (index, address) in addresses.iter().enumerate().filter(|(_, address)| !seen.insert(**address)) {
        errors.push(FieldError::duplicate(path.index(index), serde_json::json!({"ip": address})));
    }
}

/// The user that a container runs as.
fn users(errors: &mut Errors, path: Path<'_>, statuses: &[ContainerStatus], spec: &PodSpec) {
    let windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    for (index, status) in statuses.iter().enumerate() {
        let Some(user) = status.user.as_ref().and_then(|u| u.linux.as_ref()) else { continue };
        let path = path.index(index);
        let path = path.field("linux");
        if windows {
            errors.push(FieldError::forbidden(path, "cannot be set for a windows pod"));
            continue;
        }
        let mut number = |place: Path<'_>, id: i64| {
            if !(0..=i64::from(i32::MAX)).contains(&id) {
                errors.push(FieldError::invalid(place, id, "must be between 0 and 2147483647, inclusive"));
            }
        };
        number(path.field("uid"), user.uid);
        number(path.field("gid"), user.gid);
        let list = path.field("supplementalGroups");
        for (index, group) in user.supplemental_groups.iter().flatten().enumerate() {
            number(list.index(index), *group);
        }
    }
}

/// The health of the devices that containers were given.
fn allocated(errors: &mut Errors, path: Path<'_>, status: &PodStatus, spec: &PodSpec) {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let known: BTreeMap<&str, &Container> = containers.map(|c| (c.name.as_str(), c)).collect();
    for (field, statuses) in lists(status) {
        let list = path.field(field);
        for (index, status) in statuses.iter().enumerate() {
            let path = list.index(index);
            let list = path.field("allocatedResourcesStatus");
            if field == "ephemeralContainerStatuses" {
                if status.allocated_resources_status.as_ref().is_some_and(|s| !s.is_empty()) {
                    errors.push(FieldError::forbidden(list, "must not be specified in container status"));
                }
                continue;
            }
            devices(errors, list, status, known.get(status.name.as_str()).copied());
        }
    }
}

fn devices(errors: &mut Errors, list: Path<'_>, status: &ContainerStatus, container: Option<&Container>) {
    const HEALTHS: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
    for (index, resource) in status.allocated_resources_status.iter().flatten().enumerate() {
        let path = list.index(index);
        if let Some(detail) = container.and_then(|container| not_asked_for(container, &resource.name)) {
            errors.push(FieldError::invalid(path.field("name"), resource.name.as_str(), detail).bare());
        }
        let list = path.field("resources");
        let mut seen = BTreeSet::new();
        for (index, device) in resource.resources.iter().flatten().enumerate() {
            let path = list.index(index);
            let health = text(&device.health);
            if !HEALTHS.contains(&health) {
                errors.push(FieldError::not_supported(path.field("health"), health, &HEALTHS));
            }
            if !seen.insert(device.resource_id.as_str()) {
                errors.push(FieldError::duplicate(path.field("resourceID"), device.resource_id.as_str()));
            }
        }
    }
}

/// Why a container cannot have been given a resource.
fn not_asked_for(container: &Container, name: &str) -> Option<&'static str> {
    let resources = container.resources.as_ref();
    if let Some(claim) = name.strip_prefix("claim:") {
        let mut claims = resources.iter().flat_map(|r| r.claims.iter().flatten());
        let asked = claims.any(|c| match text(&c.request) {
            "" => claim == c.name,
            request => claim.strip_prefix(c.name.as_str()).and_then(|r| r.strip_prefix('/')) == Some(request),
        });
        return (!asked).then_some(
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
             'claim:<claimName>' if request is empty",
        );
    }
    let asked = resources.and_then(|r| r.requests.as_ref()).is_some_and(|requests| requests.contains_key(name));
    (!asked).then_some("must match one of the container's resource requests")
}
