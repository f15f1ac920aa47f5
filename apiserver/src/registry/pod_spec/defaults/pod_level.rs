//! What a pod asks for as a whole where it says so in part: the rest follows from its containers.

use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::registry::pod_spec::aggregate::{self, Amount};
use crate::registry::pod_spec::resources::{Quantities, is_of_pods, overcommits};

/// Fills it in. The containers have been before.
pub(super) fn fill(spec: &mut PodSpec) {
    if spec.resources.is_none() {
        return;
    }
    huge_page_limits(spec);
    requests(spec);
    limits(spec);
}

/// A pod's requests or limits.
type Side = fn(&mut PodSpec) -> &mut Option<Quantities>;

fn requests_of(spec: &mut PodSpec) -> &mut Option<Quantities> {
    &mut spec.resources.get_or_insert_default().requests
}

fn limits_of(spec: &mut PodSpec) -> &mut Option<Quantities> {
    &mut spec.resources.get_or_insert_default().limits
}

fn has(spec: &mut PodSpec, side: Side) -> bool {
    side(spec).iter().flatten().any(|(name, _)| is_of_pods(name))
}

fn add(spec: &mut PodSpec, side: Side, amounts: impl Iterator<Item = (String, Quantity)>) {
    for (name, amount) in amounts {
        side(spec).get_or_insert_default().entry(name).or_insert(amount);
    }
}

fn written((name, amount): (String, Amount)) -> (String, Quantity) {
    (name, Quantity(amount.written()))
}

/// The limit of huge pages is what the containers may have, unless the pod says what it asks for.
fn huge_page_limits(spec: &mut PodSpec) {
    if !has(spec, requests_of) && !has(spec, limits_of) {
        return;
    }
    let asked = requests_of(spec).clone().unwrap_or_default();
    let of_containers = aggregate::limits(spec);
    let huge = of_containers.into_iter().filter(|(name, _)| is_of_pods(name) && !overcommits(name));
    add(spec, limits_of, huge.filter(|(name, _)| !asked.contains_key(name)).map(written));
}

/// What a pod with limits asks for: what its containers do, or else its limits.
fn requests(spec: &mut PodSpec) {
    let limits = limits_of(spec).clone().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let of_containers = aggregate::requests(spec);
    let shared = of_containers.into_iter().filter(|(name, _)| is_of_pods(name) && overcommits(name));
    add(spec, requests_of, shared.map(written));
    add(spec, requests_of, limits.into_iter().filter(|(name, _)| is_of_pods(name)));
}

/// The limits of a pod that only says what it asks for: what its containers may have, if all of them are limited.
fn limits(spec: &mut PodSpec) {
    if has(spec, limits_of) || !has(spec, requests_of) {
        return;
    }
    let of_containers = aggregate::limits(spec);
    let limited = |name: &str| {
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        containers.all(|c| {
            c.resources.as_ref().and_then(|r| r.limits.as_ref()).is_some_and(|limits| limits.contains_key(name))
        })
    };
    let shared: Vec<_> = of_containers
        .into_iter()
        .filter(|(name, _)| is_of_pods(name) && overcommits(name) && limited(name))
        .map(written)
        .collect();
    add(spec, limits_of, shared.into_iter());
}
