//! What the containers of a pod ask for together.
//!
//! Containers and sidecars run at the same time; an init container runs when only the sidecars before it do.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::is_sidecar;
use super::resources::{Quantities, value};
use crate::registry::quantity;

/// An amount, and how it is written: as the first that was added.
#[derive(Debug, Clone, Default)]
pub(super) struct Amount {
    /// In billionths.
    pub(super) value: i128,
    like: String,
}

impl Amount {
    fn add(&mut self, other: &Self) {
        if self.value == 0 {
            self.like.clone_from(&other.like);
        }
        self.value += other.value;
    }

    /// As a quantity is written.
    pub(super) fn written(&self) -> String {
        quantity::written(self.value, &self.like)
    }
}

/// Amounts by the name of the resource.
pub(super) type Amounts = BTreeMap<String, Amount>;

fn add(sums: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        sums.entry(name.clone()).or_default().add(amount);
    }
}

fn raise(most: &mut Amounts, amounts: &Amounts) {
    for (name, amount) in amounts {
        match most.get_mut(name) {
            Some(known) if known.value >= amount.value => {}
            Some(known) => known.clone_from(amount),
            None => {
                most.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn amounts(quantities: Option<&Quantities>) -> Amounts {
    let amount = |q: &Quantity| Amount { value: value(q), like: q.0.clone() };
    quantities.into_iter().flatten().map(|(name, q)| (name.clone(), amount(q))).collect()
}

/// The requests of all containers together.
pub(super) fn requests(spec: &PodSpec) -> Amounts {
    together(spec, |c| amounts(c.resources.as_ref().and_then(|r| r.requests.as_ref())))
}

/// The limits of all containers together.
pub(super) fn limits(spec: &PodSpec) -> Amounts {
    together(spec, |c| amounts(c.resources.as_ref().and_then(|r| r.limits.as_ref())))
}

fn together(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut sums = Amounts::new();
    for container in &spec.containers {
        add(&mut sums, &of(container));
    }
    let (mut sidecars, mut before) = (Amounts::new(), Amounts::new());
    for container in spec.init_containers.iter().flatten() {
        let mut own = of(container);
        if is_sidecar(container) {
            add(&mut sums, &own);
            add(&mut sidecars, &own);
            own.clone_from(&sidecars);
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut before, &own);
    }
    raise(&mut sums, &before);
    sums
}
