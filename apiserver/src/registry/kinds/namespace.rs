//! Namespace: a room for objects. Its `kubernetes` finalizer keeps it until it is empty.

use std::sync::Arc;

use coracle_api::field::FieldError;
use coracle_api::wellknown::{FINALIZER_KUBERNETES, LABEL_METADATA_NAME};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use serde_json::{Value, json};

use crate::registry::cells::{self, AGE, NAME, or, text};
use crate::registry::check::item;
use crate::registry::check::labels::qualified_name;
use crate::registry::meta::NameRule;
use crate::registry::typed::{Kind, Typed, keep};
use crate::registry::{Column, Generation, Row, Scope, Subresource};
use crate::store::Durability;

const COLUMNS: &[Column] = &[NAME, text("Status", "Whether it is in use or on its way out."), AGE];

/// Not `deletecollection`: nobody deletes all rooms at once.
const VERBS: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];

pub(super) fn row() -> Row {
    Row {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        categories: &[],
        scope: Scope::Cluster,
        verbs: VERBS,
        subresources: &[Subresource::Finalize, Subresource::Status],
        schema: Strategy::SCHEMA,
        columns: COLUMNS,
        fields: &["status.phase"],
        name_rule: NameRule::Label,
        generation: Generation::Never,
        durability: Durability::Durable,
        strategy: Arc::new(Typed::<Strategy>::new()),
    }
}

struct Strategy;

impl Kind for Strategy {
    type Object = Namespace;

    const SCHEMA: &'static str = "io.k8s.api.core.v1.Namespace";

    fn default(object: &mut Namespace) {
        if let Some(name) = object.metadata.name.clone().filter(|name| !name.is_empty()) {
            object.metadata.labels.get_or_insert_default().insert(LABEL_METADATA_NAME.to_owned(), name);
        }
        object.spec.get_or_insert_default();
        let status = object.status.get_or_insert_default();
        if status.phase.as_deref().is_none_or(str::is_empty) {
            status.phase = Some("Active".to_owned());
        }
    }

    fn prepare_for_create(object: &mut Value) {
        let Some(map) = object.as_object_mut() else { return };
        map.insert("status".to_owned(), json!({"phase": "Active"}));
        let given = map.get("spec").and_then(|s| s.get("finalizers")).and_then(Value::as_array);
        let mut finalizers = given.cloned().unwrap_or_default();
        if !finalizers.iter().any(|f| f == FINALIZER_KUBERNETES) {
            finalizers.push(FINALIZER_KUBERNETES.into());
        }
        map.insert("spec".to_owned(), json!({"finalizers": finalizers}));
    }

    fn prepare_for_update(new: &mut Value, old: &Value) {
        keep(new, old, "status");
        keep(new, old, "spec");
    }

    fn prepare_for_part_update(_finalize: Subresource, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    fn validate(object: &Namespace) -> Vec<FieldError> {
        finalizers(object).flat_map(|name| broken("spec.finalizers", name)).collect()
    }

    /// What it waits for is not changed by an update.
    fn validate_update(_new: &Namespace, _old: &Namespace) -> Vec<FieldError> {
        Vec::new()
    }

    fn validate_status_update(new: &Namespace, _old: &Namespace) -> Vec<FieldError> {
        let phase = new.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let (fits, detail) = match new.metadata.deletion_timestamp {
            None => (phase == "Active", "may only be 'Active' if `deletionTimestamp` is empty"),
            Some(_) => (phase == "Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
        };
        if fits { Vec::new() } else { vec![FieldError::invalid("status.Phase", phase, detail)] }
    }

    fn validate_part_update(_finalize: Subresource, new: &Namespace, _old: &Namespace) -> Vec<FieldError> {
        let named = finalizers(new).enumerate();
        named.flat_map(|(index, name)| broken(&item("spec", "finalizers", index), name)).collect()
    }

    fn cells(object: &Namespace, now: Timestamp) -> Vec<Value> {
        let phase = or(object.status.as_ref().and_then(|s| s.phase.as_deref()), "");
        vec![cells::name(&object.metadata), phase.into(), cells::age(&object.metadata, now)]
    }
}

fn finalizers(object: &Namespace) -> impl Iterator<Item = &str> {
    object.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).map(String::as_str)
}

/// What is wrong with the name of a finalizer.
fn broken(path: &str, name: &str) -> Vec<FieldError> {
    let mut rules = qualified_name(name);
    if rules.is_empty() && !name.contains('/') && name != FINALIZER_KUBERNETES {
        rules.push("name is neither a standard finalizer name nor is it fully qualified".to_owned());
    }
    rules.into_iter().map(|rule| FieldError::invalid(path, name, rule)).collect()
}
