//! ConfigMap: settings as texts or bytes.

use std::sync::Arc;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::ALL_VERBS;
use crate::registry::cells::{self, AGE, NAME, text};
use crate::registry::check::Errors;
use crate::registry::check::names::{self, require};
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed};
use crate::registry::{Column, Generation, Row, Scope};
use crate::store::Durability;

/// All values together: upstream's 1 MiB, which leaves room for the rest under the limit of an object.
const DATA_BYTES_MAX: usize = 1024 * 1024;

const COLUMNS: &[Column] = &[NAME, text("Data", "How many entries it has."), AGE];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
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
    type Object = ConfigMap;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.ConfigMap";

    fn validate(object: &ConfigMap) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut size = 0;
        for (key, value) in object.data.iter().flatten() {
            require(&mut errors, &format!("data[{key}]"), key, names::config_key);
            if object.binary_data.as_ref().is_some_and(|binary| binary.contains_key(key)) {
                let detail = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid(format!("data[{key}]"), key.as_str(), detail));
            }
            size += value.len();
        }
        for (key, value) in object.binary_data.iter().flatten() {
            require(&mut errors, &format!("binaryData[{key}]"), key, names::config_key);
            size += value.0.len();
        }
        if size > DATA_BYTES_MAX {
            errors.push(FieldError::too_long("", DATA_BYTES_MAX));
        }
        errors
    }

    fn validate_update(new: &ConfigMap, old: &ConfigMap) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if old.immutable == Some(true) {
            let mut fixed = |changed: bool, field: &str| sealed(&mut errors, changed, field);
            fixed(new.immutable != Some(true), "immutable");
            fixed(new.data != old.data, "data");
            fixed(new.binary_data != old.binary_data, "binaryData");
        }
        errors.extend(Self::validate(new));
        errors
    }

    fn cells(object: &ConfigMap, now: Timestamp) -> Vec<Value> {
        let count = object.data.as_ref().map_or(0, |d| d.len()) + object.binary_data.as_ref().map_or(0, |d| d.len());
        vec![cells::name(&object.metadata), count.into(), cells::age(&object.metadata, now)]
    }
}

/// What may not change once `immutable` is set; Secrets have the same rule.
pub(super) fn sealed(errors: &mut Errors, changed: bool, field: &str) {
    if changed {
        errors.push(FieldError::forbidden(field, "field is immutable when `immutable` is set"));
    }
}
