//! CSIStorageCapacity: how much storage a driver has left, and where.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use serde_json::Value;

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, CREATED, NAME};
use crate::registry::check::immutable;
use crate::registry::check::labels::selector;
use crate::registry::check::names::{self, require};
use crate::registry::check::numbers::quantity_not_negative;
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, CREATED];

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        singular: "csistoragecapacity",
        short_names: &[],
        categories: &[],
        scope: Scope::Namespaced,
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
    type Object = CSIStorageCapacity;

    const SCHEMA: &'static str = "io.k8s.api.storage.v1.CSIStorageCapacity";

    fn validate(object: &CSIStorageCapacity) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(topology) = &object.node_topology {
            selector(&mut errors, "nodeTopology", topology);
        }
        require(&mut errors, "storageClassName", &object.storage_class_name, names::subdomain);
        for (field, quantity) in [("capacity", &object.capacity), ("maximumVolumeSize", &object.maximum_volume_size)] {
            if let Some(quantity) = quantity {
                quantity_not_negative(&mut errors, field.to_owned(), quantity);
            }
        }
        errors
    }

    fn validate_update(new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> Vec<FieldError> {
        let mut errors = Self::validate(new);
        immutable(&mut errors, "nodeTopology", &new.node_topology, &old.node_topology);
        immutable(&mut errors, "storageClassName", &new.storage_class_name, &old.storage_class_name);
        errors
    }

    fn cells(object: &CSIStorageCapacity, _now: Timestamp) -> Vec<Value> {
        vec![cells::name(&object.metadata), cells::created(&object.metadata)]
    }
}
