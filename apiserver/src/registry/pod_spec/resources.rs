//! The rules for a container's resources, and the quality of service that follows from them.

use std::collections::BTreeMap;

use coracle_api::field::FieldError;
use coracle_api::quantity::{nanos, units};
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::require;
use crate::registry::check::{Errors, at};

type Quantities = BTreeMap<String, Quantity>;

/// Resources that every container may have.
const STANDARD: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];

/// The rules for a container's resources.
pub(super) fn validate(errors: &mut Errors, path: &str, resources: &ResourceRequirements) {
    let none = Quantities::new();
    let limits = resources.limits.as_ref().unwrap_or(&none);
    let requests = resources.requests.as_ref().unwrap_or(&none);
    for (name, quantity) in limits {
        one(errors, &at(path, &format!("limits[{name}]")), name, quantity);
    }
    for (name, quantity) in requests {
        one(errors, &at(path, &format!("requests[{name}]")), name, quantity);
        match limits.get(name) {
            Some(limit) if !overcommits(name) && value(quantity) != value(limit) => {
                let detail = format!("must be equal to {name} limit of {}", limit.0);
                errors.push(FieldError::invalid(at(path, "requests"), quantity.0.as_str(), detail));
            }
            Some(limit) if value(quantity) > value(limit) => {
                let detail = format!("must be less than or equal to {name} limit of {}", limit.0);
                errors.push(FieldError::invalid(at(path, "requests"), quantity.0.as_str(), detail));
            }
            None if !overcommits(name) => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(at(path, "limits"), detail));
            }
            Some(_) | None => {}
        }
    }
}

fn value(quantity: &Quantity) -> i128 {
    nanos(&quantity.0).unwrap_or(0)
}

/// Whether requests may be below limits: not for huge pages and devices.
fn overcommits(name: &str) -> bool {
    !name.contains('/') && !name.starts_with("hugepages-") || name.starts_with("kubernetes.io/")
}

fn one(errors: &mut Errors, path: &str, name: &str, quantity: &Quantity) {
    require(errors, path, name, qualified_name);
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.push(FieldError::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(FieldError::invalid(path, name, "must be a standard resource for containers"));
    }
    let value = value(quantity);
    if value < 0 {
        errors.push(FieldError::invalid(path, quantity.0.as_str(), "must be greater than or equal to 0"));
    }
    if name.contains('/') && i128::from(units(&quantity.0).unwrap_or(0)) * 1_000_000_000 != value {
        errors.push(FieldError::invalid(path, quantity.0.as_str(), "must be an integer"));
    }
}

/// The quality of service of a pod: `Guaranteed` if every container has limits of CPU and memory that equal its
/// requests, `BestEffort` if none has any, `Burstable` otherwise.
pub(in crate::registry) fn quality_of_service(spec: &PodSpec) -> &'static str {
    let containers = || spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let amounts = |map: Option<&Quantities>| -> BTreeMap<String, i128> {
        let counted = map.into_iter().flatten().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
        counted.map(|(name, q)| (name.clone(), value(q))).filter(|(_, v)| *v > 0).collect()
    };
    let (mut any, mut all) = (false, true);
    for container in containers() {
        let resources = container.resources.as_ref();
        let limits = amounts(resources.and_then(|r| r.limits.as_ref()));
        let requests = amounts(resources.and_then(|r| r.requests.as_ref()));
        any |= !limits.is_empty() || !requests.is_empty();
        all &= limits.len() == 2 && (requests.is_empty() || requests == limits);
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
