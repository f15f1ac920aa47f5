//! Amounts of resources: what a pod asks for and what a node has.
//!
//! What does not parse counts as nothing: the API server has refused it long before.

use std::collections::BTreeMap;

use coracle_api::names::NamespacedName;
use coracle_api::quantity;
use coracle_api::storage::claims_of;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a container without a CPU request counts for when nodes are compared (upstream's `DefaultMilliCPURequest`).
const CPU_IF_UNSAID: i64 = 100;

/// What a container without a memory request counts for when nodes are compared (upstream's `DefaultMemoryRequest`).
const MEMORY_IF_UNSAID: i64 = 200 * 1024 * 1024;

/// Amounts by resource name: CPU in thousandths, all others in whole units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amounts(BTreeMap<String, i64>);

/// What a pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Requests {
    /// As it says: what must fit.
    pub(crate) said: Amounts,
    /// With a guess where it says nothing: how nodes are compared.
    pub(crate) guessed: Amounts,
    /// The claims that it uses.
    pub(crate) claims: Vec<NamespacedName>,
}

impl Amounts {
    /// Reads a resource list.
    #[must_use]
    pub fn read(list: Option<&BTreeMap<String, Quantity>>) -> Self {
        let value =
            |name: &str, q: &Quantity| if name == "cpu" { quantity::millis(&q.0) } else { quantity::units(&q.0) };
        let pairs = list.into_iter().flatten();
        Self(pairs.map(|(name, q)| (name.clone(), value(name, q).unwrap_or(0))).collect())
    }

    /// The amount of one resource, zero if absent.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All that is more than zero.
    pub fn positive(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().filter(|(_, n)| **n > 0).map(|(name, n)| (name.as_str(), *n))
    }

    /// Adds `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, n) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*n);
        }
    }

    /// Takes `other` away.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for (name, n) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*n);
        }
    }

    fn raise_to(&mut self, other: &Self) {
        for (name, n) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*n);
        }
    }
}

impl Requests {
    /// What the pod asks for, by upstream's rule: containers and sidecars together, or what one step of the
    /// initialization needs if that is more; and the overhead.
    pub(crate) fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let said = |c: &Container| Amounts::read(c.resources.as_ref().and_then(|r| r.requests.as_ref()));
        let guessed = |c: &Container| {
            let mut amounts = said(c);
            amounts.0.entry("cpu".to_owned()).or_insert(CPU_IF_UNSAID);
            amounts.0.entry("memory".to_owned()).or_insert(MEMORY_IF_UNSAID);
            amounts
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claims = claims_of(pod).into_iter().map(|used| NamespacedName::new(namespace, used.name)).collect();
        Self { said: total(spec, said), guessed: total(spec, guessed), claims }
    }
}

fn total(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut sum = Amounts::default();
    spec.containers.iter().for_each(|container| sum.add(&of(container)));
    let mut sidecars = Amounts::default();
    let mut peak = Amounts::default();
    for container in spec.init_containers.iter().flatten() {
        let mut step = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&step);
            step = sidecars.clone();
        } else {
            step.add(&sidecars);
        }
        peak.raise_to(&step);
    }
    sum.add(&sidecars);
    sum.raise_to(&peak);
    let whole = Amounts::read(spec.resources.as_ref().and_then(|r| r.requests.as_ref()));
    sum.0.extend(whole.0);
    sum.add(&Amounts::read(spec.overhead.as_ref()));
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn requests(spec: &Value) -> (i64, i64) {
        let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let said = Requests::of(&pod).said;
        (said.get("cpu"), said.get("memory"))
    }

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn a_pod_asks_for_the_most_it_needs_at_once() {
        let sidecar = |cpu: &str| {
            let mut c = container(cpu, "0");
            c["restartPolicy"] = json!("Always");
            c
        };
        for (spec, expected) in [
            (json!({"containers": [container("100m", "1k"), container("1", "2k")]}), (1100, 3000)),
            (json!({"containers": [container("100m", "1k")], "initContainers": [container("1", "500")]}), (1000, 1000)),
            (
                json!({"containers": [container("1", "0")], "initContainers": [sidecar("200m"), container("1", "0")]}),
                (1200, 0),
            ),
            (json!({"containers": [container("1", "0")], "overhead": {"cpu": "50m"}}), (1050, 0)),
            (json!({"containers": [container("1", "1")], "resources": {"requests": {"cpu": "3"}}}), (3000, 1)),
            (json!({"containers": [{"name": "c"}]}), (0, 0)),
        ] {
            assert_eq!(requests(&spec), expected, "{spec}");
        }
    }
}
