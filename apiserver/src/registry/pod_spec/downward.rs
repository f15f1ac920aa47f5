//! The rules for what a container may be told of its own pod: fields and resources.

use coracle_api::field::FieldError;
use coracle_api::quantity::nanos;
use k8s_openapi::api::core::v1::{ObjectFieldSelector, ResourceFieldSelector};

use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::require;
use crate::registry::check::path::Path;
use crate::registry::check::{Errors, required, text};

/// Fields of a pod that a variable may hold.
pub(super) const VARIABLES: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of a pod that a file may hold.
pub(super) const FILES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Fields of a pod that have a name here, whether or not a variable or a file may hold them.
const NAMED: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Resources of a container that a variable or a file may hold; huge pages of any size besides.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What a size may be divided by.
const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// The map and the key of `metadata.labels['key']`.
fn subscripted(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['").filter(|(map, _)| !map.is_empty())
}

/// The rules for a field of the pod.
pub(super) fn validate_field(errors: &mut Errors, path: Path<'_>, field: &ObjectFieldSelector, offered: &[&str]) {
    let place = path.field("fieldPath");
    let version = text(&field.api_version);
    if version.is_empty() {
        errors.push(FieldError::required(path.field("apiVersion"), ""));
        return;
    }
    let value = field.field_path.as_str();
    if value.is_empty() {
        errors.push(FieldError::required(place, ""));
        return;
    }
    let unknown = |why: &str| FieldError::invalid(place, value, format!("error converting fieldPath: {why}"));
    if version != "v1" {
        errors.push(unknown(&format!("unsupported pod version: {version}")));
        return;
    }
    match subscripted(value) {
        Some(("metadata.annotations", key)) => {
            let lower = key.to_lowercase();
            require(errors, path, &lower, qualified_name);
        }
        Some(("metadata.labels", key)) => require(errors, path, key, qualified_name),
        Some(_) => errors.push(unknown(&format!("field label does not support subscript: {value}"))),
        // A name of long ago, which upstream still takes.
        None if value == "spec.host" => {}
        None if !NAMED.contains(&value) => errors.push(unknown(&format!("field label not supported: {value}"))),
        None if !offered.contains(&value) => errors.push(FieldError::not_supported(place, value, offered)),
        None => {}
    }
}

/// The rules for a resource of a container, in a variable of that container.
pub(super) fn validate_resource(errors: &mut Errors, path: Path<'_>, resource: &ResourceFieldSelector) {
    let name = resource.resource.as_str();
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if name.is_empty() {
        errors.push(FieldError::required(path.field("resource"), ""));
    } else if !huge && !RESOURCES.contains(&name) {
        errors.push(FieldError::not_supported(path.field("resource"), name, &RESOURCES));
    }
    validate_divisor(errors, path.field("divisor"), resource);
}

/// The rules for a resource of a container, in a file: it says whose.
pub(super) fn validate_resource_of(errors: &mut Errors, path: Path<'_>, resource: &ResourceFieldSelector) {
    if text(&resource.container_name).is_empty() {
        required(errors, path.field("containerName"), "");
        validate_divisor(errors, path.field("divisor"), resource);
    } else {
        validate_resource(errors, path, resource);
    }
}

fn validate_divisor(errors: &mut Errors, path: Path<'_>, resource: &ResourceFieldSelector) {
    let divisor = resource.divisor.as_ref().map_or("0", |q| q.0.as_str());
    if nanos(divisor) == Ok(0) {
        return;
    }
    let name = resource.resource.as_str();
    let kind = name.split_once('.').filter(|(of, _)| matches!(*of, "limits" | "requests")).map_or("", |(_, kind)| kind);
    let (what, allowed) = match kind {
        "cpu" => ("cpu", ["1m", "1"].as_slice()),
        "memory" => ("memory", SIZES.as_slice()),
        "ephemeral-storage" => ("local ephemeral storage", SIZES.as_slice()),
        kind if kind.starts_with("hugepages-") => ("hugepages", SIZES.as_slice()),
        _ => return,
    };
    if !allowed.contains(&divisor) {
        let told = if kind == "cpu" { "1m and 1".to_owned() } else { SIZES.join(", ") };
        let detail = format!("only divisor's values {told} are supported with the {what} resource");
        errors.push(FieldError::invalid(path, name, detail));
    }
}
