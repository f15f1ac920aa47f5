//! The rules for resources, of a container and of a pod, and the quality of service that follows from them.

mod quality;

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::field::FieldError;
use coracle_api::quantity::{nanos, units};
use k8s_openapi::api::core::v1::{PodSpec, ResourceClaim, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::aggregate;
use crate::registry::check::Errors;
use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::{label, require};
use crate::registry::check::path::Path;

pub(in crate::registry) use quality::quality_of_service;

/// Amounts by the name of the resource.
pub(super) type Quantities = BTreeMap<String, Quantity>;

/// Huge pages of some size: `hugepages-2Mi`.
const HUGE_PAGES: &str = "hugepages-";
/// The group that names without one belong to.
const NATIVE: &str = "kubernetes.io/";
/// How quotas name what is asked for.
const REQUESTS: &str = "requests.";

/// Resources that a container may have, besides huge pages and those with a group.
const OF_CONTAINERS: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

/// Names without a group that mean something: to containers, volumes or quotas.
const STANDARD: [&str; 20] = [
    "configmaps",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
    "requests.storage",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
    "storage",
];

/// Names without a group of what is counted.
const COUNTED: [&str; 9] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];

/// Resources that a pod as a whole may have, besides huge pages.
const OF_PODS: [&str; 3] = ["cpu", HUGE_PAGES, "memory"];

/// Whether a resource is one of Kubernetes' own.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains(NATIVE)
}

/// Whether requests may be below limits: not for huge pages and devices.
pub(super) fn overcommits(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE_PAGES)
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with(REQUESTS) && qualified_name(&format!("{REQUESTS}{name}")).is_empty()
}

/// Whether a resource can be asked for by a pod as a whole.
pub(super) fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(HUGE_PAGES)
}

pub(super) fn value(quantity: &Quantity) -> i128 {
    nanos(&quantity.0).unwrap_or(0)
}

/// The rule for a name: of a container's or of a pod's resource.
type NameRule = fn(&mut Errors, Path<'_>, &str);

fn known(errors: &mut Errors, path: Path<'_>, name: &str) -> bool {
    let before = errors.len();
    let broken = qualified_name(name);
    errors.extend(broken.into_iter().map(|rule| FieldError::invalid(path, name, rule).bare()));
    let huge = name.starts_with(HUGE_PAGES) || name.strip_prefix(REQUESTS).is_some_and(|n| n.starts_with(HUGE_PAGES));
    if errors.len() == before && !name.contains('/') && !STANDARD.contains(&name) && !huge {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, detail).bare());
    }
    errors.len() == before
}

fn of_container(errors: &mut Errors, path: Path<'_>, name: &str) {
    known(errors, path, name);
    let detail = if !name.contains('/') {
        let fits = OF_CONTAINERS.contains(&name) || name.starts_with(HUGE_PAGES);
        (!fits).then_some("must be a standard resource for containers")
    } else {
        (!is_native(name) && !is_extended(name)).then_some("doesn't follow extended resource name standard")
    };
    if let Some(detail) = detail {
        errors.push(FieldError::invalid(path, name, detail).bare());
    }
}

fn of_pod(errors: &mut Errors, path: Path<'_>, name: &str) {
    if known(errors, path, name) && !is_of_pods(name) {
        errors.push(FieldError::not_supported(path, name, &OF_PODS).bare());
    }
}

/// The rules for a container's resources; `claims` are the names of the pod's.
pub(super) fn validate(errors: &mut Errors, path: Path<'_>, resources: &ResourceRequirements, claims: &BTreeSet<&str>) {
    requirements(errors, path, resources, of_container);
    claimed(errors, path.field("claims"), resources.claims.as_deref().unwrap_or_default(), claims);
}

/// The rules for what a pod costs beside its containers: those for limits.
pub(super) fn validate_overhead(errors: &mut Errors, path: Path<'_>, overhead: &Quantities) {
    let limits = ResourceRequirements { limits: Some(overhead.clone()), ..ResourceRequirements::default() };
    requirements(errors, path, &limits, of_container);
}

/// The rules for the resources of a pod as a whole.
pub(super) fn validate_pod_level(
    errors: &mut Errors,
    path: Path<'_>,
    resources: &ResourceRequirements,
    spec: &PodSpec,
    claims: &BTreeSet<&str>,
) {
    let claimed_here = resources.claims.as_deref();
    if claimed_here.is_some() {
        let detail = "claims cannot be set for Resources at pod-level";
        errors.push(FieldError::forbidden(path.field("claims"), detail));
    }
    requirements(errors, path, resources, of_pod);
    claimed(errors, path.field("claims"), claimed_here.unwrap_or_default(), claims);
    let none = Quantities::new();
    let requests = resources.requests.as_ref().unwrap_or(&none);
    let list = path.field("requests");
    for (name, sum) in aggregate::requests(spec) {
        let own = requests.get(&name).map_or("0", |q| q.0.as_str());
        if sum.value > nanos(own).unwrap_or(0) {
            let detail = format!("must be greater than or equal to aggregate container requests of {}", sum.written());
            errors.push(FieldError::invalid(list.key(&name), own, detail));
        }
    }
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let list = path.field("containers");
    for (index, container) in spec.containers.iter().enumerate() {
        let path = list.index(index);
        for (name, limit) in container.resources.iter().flat_map(|r| r.limits.iter().flatten()) {
            if let Some(most) = limits.get(name).filter(|most| value(limit) > value(most)) {
                let place = path.key(name);
                let detail = format!("must be less than or equal to pod limits of {}", most.0);
                errors.push(FieldError::invalid(place.field("limits"), limit.0.as_str(), detail));
            }
        }
    }
}

fn requirements(errors: &mut Errors, path: Path<'_>, resources: &ResourceRequirements, rule: NameRule) {
    let none = Quantities::new();
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let requests = resources.requests.as_ref().unwrap_or(&none);
    let list = path.field("limits");
    for (name, quantity) in limits {
        amount(errors, list.key(name), name, quantity, rule);
        huge_pages(errors, list.key(name), name, quantity);
    }
    let (list, limit_list) = (path.field("requests"), list);
    for (name, quantity) in requests {
        amount(errors, list.key(name), name, quantity, rule);
        let shown = quantity.0.as_str();
        match limits.get(name) {
            Some(limit) if !overcommits(name) && value(quantity) != value(limit) => {
                let detail = format!("must be equal to {name} limit of {}", limit.0);
                errors.push(FieldError::invalid(list, shown, detail));
            }
            Some(limit) if value(quantity) > value(limit) => {
                let detail = format!("must be less than or equal to {name} limit of {}", limit.0);
                errors.push(FieldError::invalid(list, shown, detail));
            }
            None if !overcommits(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(limit_list, detail));
            }
            Some(_) | None => {}
        }
        huge_pages(errors, list.key(name), name, quantity);
    }
    let has = |asked: fn(&str) -> bool| limits.keys().chain(requests.keys()).any(|name| asked(name));
    if has(|name| name.starts_with(HUGE_PAGES)) && !has(|name| matches!(name, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

fn amount(errors: &mut Errors, path: Path<'_>, name: &str, quantity: &Quantity, rule: NameRule) {
    rule(errors, path, name);
    if value(quantity) < 0 {
        errors.push(FieldError::invalid(path, quantity.0.as_str(), "must be greater than or equal to 0"));
    }
    let whole = i128::from(units(&quantity.0).unwrap_or(0)) * 1_000_000_000 == value(quantity);
    if !whole && (COUNTED.contains(&name) || is_extended(name)) {
        errors.push(FieldError::invalid(path, quantity.0.as_str(), "must be an integer"));
    }
}

fn huge_pages(errors: &mut Errors, path: Path<'_>, name: &str, quantity: &Quantity) {
    let Some(size) = name.strip_prefix(HUGE_PAGES) else { return };
    let fits = match (nanos(size), units(size), units(&quantity.0)) {
        (Ok(exact), Ok(size), Ok(asked)) => {
            size > 0 && exact == i128::from(size) * 1_000_000_000 && asked.checked_rem(size) == Some(0)
        }
        _ => false,
    };
    if !fits {
        let detail = format!("{} is not positive integer multiple of {name}", quantity.0);
        errors.push(FieldError::invalid(path, quantity.0.as_str(), detail));
    }
}

/// The rules for what a container takes of the pod's claims: all of one, or some requests of it.
fn claimed(errors: &mut Errors, path: Path<'_>, claims: &[ResourceClaim], known: &BTreeSet<&str>) {
    let (mut whole, mut parts) = (BTreeSet::new(), BTreeMap::<&str, BTreeSet<&str>>::new());
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let name = claim.name.as_str();
        if name.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        let request = claim.request.as_deref().unwrap_or_default();
        if whole.contains(name) {
            errors.push(FieldError::duplicate(path, name));
        } else if request.is_empty() {
            for _ in parts.get(name).into_iter().flatten() {
                errors.push(FieldError::duplicate(path, name));
            }
            whole.insert(name);
        } else {
            require(errors, path.field("request"), request, label);
            if !parts.entry(name).or_default().insert(request) {
                errors.push(FieldError::duplicate(path, format!("{name}/{request}")));
            }
        }
        if !known.contains(name) {
            let mut error = FieldError::not_found(path, name);
            let names: Vec<&str> = known.iter().copied().collect();
            let told = if names.is_empty() { " which is empty".to_owned() } else { format!(": {}", names.join(", ")) };
            error.detail = format!("must be one of the names in pod.spec.resourceClaims{told}");
            errors.push(error);
        }
    }
}
