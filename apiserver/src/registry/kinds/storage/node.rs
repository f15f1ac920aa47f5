//! CSINode: which storage drivers a node has.

use std::collections::BTreeSet;
use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};
use serde_json::Value;

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, AGE, NAME, integer};
use crate::registry::check::labels::qualified_name;
use crate::registry::check::names::require;
use crate::registry::check::{Errors, at, domains, item};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, integer("Drivers", "How many drivers the node has."), AGE];

/// The longest name that a driver may have for a node.
const NODE_ID_MAX: usize = 256;

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "CSINode",
        plural: "csinodes",
        singular: "csinode",
        short_names: &[],
        categories: &[],
        scope: Scope::Cluster,
        verbs: ALL_VERBS,
        subresources: &[],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &[],
        name_rule: NameRule::Subdomain,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = CSINode;

    const SCHEMA: &'static str = "io.k8s.api.storage.v1.CSINode";

    const NULLS: &'static [&'static str] = &["spec.drivers"];

    fn validate(object: &CSINode) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        for (index, driver) in object.spec.drivers.iter().enumerate() {
            let path = item("spec", "drivers", index);
            validate_driver(&mut errors, &path, driver);
            if !names.insert(driver.name.as_str()) {
                errors.push(FieldError::duplicate(at(&path, "name"), driver.name.as_str()));
            }
        }
        errors
    }

    fn validate_update(new: &CSINode, old: &CSINode) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for driver in &new.spec.drivers {
            let before = old.spec.drivers.iter().find(|before| before.name == driver.name);
            let same = |before: &CSINodeDriver| {
                (&before.node_id, &before.topology_keys) == (&driver.node_id, &driver.topology_keys)
            };
            if before.is_some_and(|before| !same(before)) {
                let value = serde_json::to_value(driver).unwrap_or_default();
                errors.push(FieldError::invalid("CSINodeDrivers", value, "field is immutable"));
            }
        }
        errors.extend(Self::validate(new));
        errors
    }

    fn cells(object: &CSINode, now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), object.spec.drivers.len().into(), cells::age(&object.metadata, now)]
    }
}

fn validate_driver(errors: &mut Errors, path: &str, driver: &CSINodeDriver) {
    domains::driver(errors, &at(path, "name"), &driver.name);
    if driver.node_id.is_empty() {
        errors.push(FieldError::required(at(path, "nodeID"), ""));
    } else if driver.node_id.len() > NODE_ID_MAX {
        let detail = format!("must be {NODE_ID_MAX} characters or less");
        errors.push(FieldError::invalid(at(path, "nodeID"), driver.node_id.as_str(), detail));
    }
    if let Some(count) = driver.allocatable.as_ref().and_then(|a| a.count).filter(|count| *count < 0) {
        let path = at(path, "allocatable.count");
        errors.push(FieldError::invalid(path, count, "must be greater than or equal to 0"));
    }
    let mut seen = BTreeSet::new();
    let path = at(path, "topologyKeys");
    for key in driver.topology_keys.iter().flatten() {
        if key.is_empty() {
            errors.push(FieldError::required(path.as_str(), ""));
        }
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(path.as_str(), key.as_str()));
        }
        require(errors, &path, key, qualified_name);
    }
}
