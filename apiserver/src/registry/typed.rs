//! Kinds as types: a [`Kind`] speaks of `k8s_openapi` structs, and [`Typed`] makes a [`Strategy`] of JSON out of it.
//!
//! Invariant: what leaves [`Strategy::default`] has passed through the type, so it holds no field that the kind does
//! not have, and every value has its type. That is the only place where a wrong type is met.

use std::borrow::Cow;
use std::marker::PhantomData;

use coracle_api::field::FieldError;
use jiff::Timestamp;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::{Strategy, Unparsable, quantity};
use crate::schema;

/// What is particular to a built-in kind. Each has a file in `kinds`, all of one shape.
pub(super) trait Kind: Send + Sync + 'static {
    /// The type of its objects.
    type Object: Serialize + DeserializeOwned + Default + JsonSchema + Send + Sync;

    /// Name of its root schema.
    const SCHEMA: &'static str;

    /// Fills in what is absent.
    fn default(_object: &mut Self::Object) {}

    /// See [`Strategy::prepare_for_create`].
    fn prepare_for_create(_object: &mut Value) {}

    /// See [`Strategy::prepare_for_update`]. By default what has a status keeps it.
    fn prepare_for_update(new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    /// See [`Strategy::prepare_for_status_update`]. By default all but the status stays.
    fn prepare_for_status_update(new: &mut Value, old: &Value) {
        keep_all_but_status(new, old);
    }

    /// The rules for a new object.
    fn validate(object: &Self::Object) -> Vec<FieldError>;

    /// The rules for a change.
    fn validate_update(new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Self::validate(new)
    }

    /// The rules for a change of the status.
    fn validate_status_update(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is allowed but odd.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// The cells of its row in a Table.
    fn cells(object: &Self::Object, now: Timestamp) -> Vec<Value>;
}

/// The strategy of a kind.
pub(super) struct Typed<K>(PhantomData<fn() -> K>);

impl<K> Typed<K> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// An object that has passed through [`Strategy::default`] before, so that it parses; if somebody skipped that,
/// it counts as empty and fails the rules.
fn parsed<T: DeserializeOwned + Default>(object: &Value) -> T {
    T::deserialize(object).unwrap_or_default()
}

impl<K: Kind> Strategy for Typed<K> {
    fn default(&self, object: Value) -> Result<Value, Unparsable> {
        let mut typed = match K::Object::deserialize(&object) {
            Ok(typed) => typed,
            Err(error) => {
                let mended = schema::builtin().mend(K::SCHEMA, object).map_err(Unparsable)?;
                K::Object::deserialize(mended).map_err(|_| Unparsable(error.to_string()))?
            }
        };
        K::default(&mut typed);
        let mut object = serde_json::to_value(&typed).map_err(|e| Unparsable(e.to_string()))?;
        tidy(&mut object)?;
        Ok(object)
    }

    fn prepare_for_create(&self, object: &mut Value) {
        K::prepare_for_create(object);
    }

    fn prepare_for_update(&self, new: &mut Value, old: &Value) {
        K::prepare_for_update(new, old);
    }

    fn prepare_for_status_update(&self, new: &mut Value, old: &Value) {
        K::prepare_for_status_update(new, old);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        K::validate(&parsed(object))
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        K::validate_update(&parsed(new), &parsed(old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        K::validate_status_update(&parsed(new), &parsed(old))
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        K::warnings(&parsed(object))
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        K::cells(&parsed(object), now)
    }

    fn describe(&self, generator: &mut SchemaGenerator) {
        generator.subschema_for::<K::Object>();
    }
}

/// Lets `field` be in `new` what it is in `old`.
pub(super) fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(value) => new.insert(field.to_owned(), value.clone()),
        None => new.remove(field),
    };
}

/// Lets all but `metadata` and `status` be in `new` what it is in `old`.
pub(super) fn keep_all_but_status(new: &mut Value, old: &Value) {
    let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) else { return };
    new.retain(|field, _| matches!(field.as_str(), "metadata" | "status"));
    for (field, value) in old.iter().filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status")) {
        new.insert(field.clone(), value.clone());
    }
}

/// Maps that upstream leaves out when they are empty. Other empty objects mean something: `emptyDir: {}`.
const MAPS: [&str; 6] = ["annotations", "binaryData", "data", "labels", "matchLabels", "nodeSelector"];

/// Maps whose values are quantities.
const QUANTITIES: [&str; 6] = ["allocatable", "allocatedResources", "capacity", "limits", "overhead", "requests"];

/// Fields that are quantities by themselves.
const QUANTITY: [&str; 2] = ["divisor", "sizeLimit"];

/// Writes an object as upstream does: without empty lists and maps, quantities in their canonical form.
fn tidy(object: &mut Value) -> Result<(), Unparsable> {
    match object {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if QUANTITIES.contains(&key.as_str()) {
                    value.as_object_mut().into_iter().flat_map(|map| map.values_mut()).try_for_each(canonicalise)?;
                } else if QUANTITY.contains(&key.as_str()) {
                    canonicalise(value)?;
                } else if !MAPS.contains(&key.as_str()) {
                    tidy(value)?;
                }
            }
            map.retain(|key, value| match value {
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) if fields.is_empty() => {
                    !MAPS.contains(&key.as_str()) && !QUANTITIES.contains(&key.as_str())
                }
                _ => true,
            });
        }
        Value::Array(items) => {
            for item in items {
                tidy(item)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn canonicalise(value: &mut Value) -> Result<(), Unparsable> {
    if let Value::String(text) = value
        && let Cow::Owned(canonical) = quantity::canonical(text).map_err(|e| Unparsable(e.to_string()))?
    {
        *text = canonical;
    }
    Ok(())
}
