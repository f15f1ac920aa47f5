//! Rules about names of resources: `cpu`, `requests.storage`, `example.com/gpu`.

use coracle_api::field::FieldError;

use super::Errors;
use super::labels::qualified_name;

/// Resources that quotas and limits know by name.
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that are counted.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that containers may ask for by name.
const OF_CONTAINERS: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

const HUGE_PAGES: &str = "hugepages-";

fn is_huge_pages(name: &str) -> bool {
    name.starts_with(HUGE_PAGES) || name.starts_with("requests.hugepages-")
}

/// The name of any resource.
pub(in crate::registry) fn name(errors: &mut Errors, path: &str, name: &str) {
    let broken = qualified_name(name);
    if broken.is_empty() && !name.contains('/') && !STANDARD.contains(&name) && !is_huge_pages(name) {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, detail).bare());
    }
    errors.extend(broken.into_iter().map(|rule| FieldError::invalid(path, name, rule).bare()));
}

/// The name of a resource that a quota is about.
pub(in crate::registry) fn of_quota(errors: &mut Errors, path: &str, resource: &str) {
    name(errors, path, resource);
    if !resource.contains('/') && !is_standard_for_quota(resource) {
        let detail = "must be a standard resource for quota";
        errors.push(FieldError::invalid(path, resource, detail).bare());
    }
}

/// Whether a quota knows the resource by name.
pub(in crate::registry) fn is_standard_for_quota(resource: &str) -> bool {
    resource != "storage" && STANDARD.contains(&resource) || is_huge_pages(resource)
}

/// The name of a resource that containers may have.
pub(in crate::registry) fn of_container(errors: &mut Errors, path: &str, resource: &str) {
    name(errors, path, resource);
    let known = OF_CONTAINERS.contains(&resource) || resource.starts_with(HUGE_PAGES);
    if !resource.contains('/') && !known {
        let detail = "must be a standard resource for containers";
        errors.push(FieldError::invalid(path, resource, detail).bare());
    }
}

/// Whether there are only whole numbers of the resource.
pub(in crate::registry) fn is_counted(resource: &str) -> bool {
    let extended = resource.contains('/') && !resource.contains("kubernetes.io/") && !resource.starts_with("requests.");
    COUNTED.contains(&resource) || extended
}
