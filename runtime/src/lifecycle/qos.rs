//! A pod's quality-of-service class, from its requests and limits.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// `Guaranteed`, `Burstable` or `BestEffort`.
#[must_use]
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let containers = || spec.init_containers.iter().flatten().chain(&spec.containers);
    if !containers().any(asks_anything) {
        "BestEffort"
    } else if containers().all(is_guaranteed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(c: &Container, resource: &str, of: Amount) -> Option<i128> {
    let resources = c.resources.as_ref()?;
    let map = match of {
        Amount::Request => resources.requests.as_ref(),
        Amount::Limit => resources.limits.as_ref(),
    };
    coracle_api::quantity::nanos(&map?.get(resource)?.0).ok().filter(|n| *n > 0)
}

#[derive(Clone, Copy)]
enum Amount {
    Request,
    Limit,
}

const RESOURCES: [&str; 2] = ["cpu", "memory"];

fn asks_anything(c: &Container) -> bool {
    RESOURCES.iter().any(|r| amount(c, r, Amount::Request).or(amount(c, r, Amount::Limit)).is_some())
}

fn is_guaranteed(c: &Container) -> bool {
    RESOURCES.iter().all(|r| {
        let limit = amount(c, r, Amount::Limit);
        limit.is_some() && amount(c, r, Amount::Request).is_none_or(|request| Some(request) == limit)
    })
}
