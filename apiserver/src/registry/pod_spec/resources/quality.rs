//! The quality of service of a pod: what happens to it when its node runs short.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

use super::{Quantities, is_of_pods, value};

/// `Guaranteed` if every container has limits of CPU and memory that equal its requests, `BestEffort` if none has any,
/// `Burstable` otherwise. What the pod asks for as a whole goes before what its containers ask for.
pub(in crate::registry) fn quality_of_service(spec: &PodSpec) -> &'static str {
    let of_pod = spec.resources.as_ref().filter(|r| {
        let names = |map: &Option<Quantities>| map.iter().flatten().any(|(name, _)| is_of_pods(name));
        names(&r.requests) || names(&r.limits)
    });
    let mut sums = Sums { all_limited: true, ..Sums::default() };
    match of_pod {
        Some(resources) => {
            sums.add_requests(resources);
            if resources.limits.as_ref().is_some_and(|limits| !limits.is_empty()) {
                sums.add_limits(resources);
            }
        }
        None => {
            for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
                let Some(resources) = &container.resources else {
                    sums.all_limited = false;
                    continue;
                };
                sums.add_requests(resources);
                sums.add_limits(resources);
            }
        }
    }
    if sums.requests.is_empty() && sums.limits.is_empty() {
        "BestEffort"
    } else if sums.all_limited && sums.requests == sums.limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[derive(Default)]
struct Sums<'a> {
    requests: BTreeMap<&'a str, i128>,
    limits: BTreeMap<&'a str, i128>,
    all_limited: bool,
}

impl<'a> Sums<'a> {
    fn add_requests(&mut self, resources: &'a ResourceRequirements) {
        add(&mut self.requests, resources.requests.as_ref());
    }

    fn add_limits(&mut self, resources: &'a ResourceRequirements) {
        self.all_limited &= add(&mut self.limits, resources.limits.as_ref()) == 2;
    }
}

/// Adds what counts, and tells how many resources that are.
fn add<'a>(sums: &mut BTreeMap<&'a str, i128>, amounts: Option<&'a Quantities>) -> usize {
    let counted = amounts.into_iter().flatten().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory"));
    let mut count = 0;
    for (name, amount) in counted.map(|(name, q)| (name, value(q))).filter(|(_, amount)| *amount > 0) {
        *sums.entry(name).or_default() += amount;
        count += 1;
    }
    count
}
