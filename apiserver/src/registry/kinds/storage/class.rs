//! StorageClass: a kind of storage that claims may ask for.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use super::super::ALL_VERBS;
use super::GROUP;
use crate::registry::cells::{self, AGE, NAME, or, text};
use crate::registry::check::labels::qualified_name;
use crate::registry::check::{immutable, one_of, one_of_if_any};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

const COLUMNS: &[Column] = &[
    NAME,
    text("Provisioner", "Who makes its volumes."),
    text("ReclaimPolicy", "What becomes of a volume when nobody claims it any more."),
    text("VolumeBindingMode", "When a volume is made and bound."),
    text("AllowVolumeExpansion", "Whether volumes may grow."),
    AGE,
];

/// How many parameters there may be, and how many bytes of them.
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// Annotations that make a class the one of claims that name none.
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(in crate::registry::kinds) fn row() -> Row {
    Row {
        group: GROUP,
        version: "v1",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short_names: &["sc"],
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
    type Object = StorageClass;

    const SCHEMA: &'static str = "io.k8s.api.storage.v1.StorageClass";

    fn default(object: &mut StorageClass) {
        object.reclaim_policy.get_or_insert_with(|| "Delete".to_owned());
        object.volume_binding_mode.get_or_insert_with(|| "Immediate".to_owned());
    }

    fn validate(object: &StorageClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let provisioner = object.provisioner.as_str();
        if provisioner.is_empty() {
            errors.push(FieldError::required("provisioner", ""));
        } else {
            let broken = qualified_name(&provisioner.to_lowercase());
            errors.extend(broken.into_iter().map(|rule| FieldError::invalid("provisioner", provisioner, rule)));
        }
        let parameters = object.parameters.iter().flatten();
        let (mut count, mut size) = (0, 0);
        for (key, value) in parameters {
            count += 1;
            size += key.len() + value.len();
            if key.is_empty() {
                errors.push(FieldError::invalid("parameters", key.as_str(), "field can not be empty."));
            }
        }
        if count > PARAMETERS_MAX {
            errors.push(FieldError::too_long("parameters", PARAMETERS_MAX));
        } else if size > PARAMETERS_BYTES_MAX {
            errors.push(FieldError::too_long("parameters", PARAMETERS_BYTES_MAX));
        }
        let policies = ["Delete", "Retain"];
        one_of_if_any(&mut errors, "reclaimPolicy".to_owned(), object.reclaim_policy.as_deref(), &policies);
        let modes = ["Immediate", "WaitForFirstConsumer"];
        one_of(&mut errors, "volumeBindingMode".to_owned(), object.volume_binding_mode.as_deref(), &modes);
        errors
    }

    fn validate_update(new: &StorageClass, old: &StorageClass) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (field, changed) in [
            ("parameters", new.parameters != old.parameters),
            ("provisioner", new.provisioner != old.provisioner),
            ("reclaimPolicy", new.reclaim_policy != old.reclaim_policy),
        ] {
            if changed {
                errors.push(FieldError::forbidden(field, format!("updates to {field} are forbidden.")));
            }
        }
        immutable(&mut errors, "volumeBindingMode", &new.volume_binding_mode, &old.volume_binding_mode);
        errors
    }

    fn cells(object: &StorageClass, now: Timestamp) -> Vec<Value> {
        let mut name = object.metadata.name.clone().unwrap_or_default();
        let annotations = object.metadata.annotations.iter().flatten();
        if annotations.into_iter().any(|(key, value)| IS_DEFAULT.contains(&key.as_str()) && value == "true") {
            name.push_str(" (default)");
        }
        vec![
            name.into(),
            object.provisioner.as_str().into(),
            or(object.reclaim_policy.as_deref(), "Delete").into(),
            or(object.volume_binding_mode.as_deref(), "Immediate").into(),
            object.allow_volume_expansion.unwrap_or(false).into(),
            cells::age(&object.metadata, now),
        ]
    }
}
