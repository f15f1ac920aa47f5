//! Kinds as types: a [`Kind`] speaks of `k8s_openapi` structs, and [`Typed`] makes a [`Strategy`] of JSON out of it.
//!
//! Invariant: what leaves [`Strategy::default`] has passed through the type, so it holds no field that the kind does
//! not have, and every value has its type. That is the only place where a wrong type is met.

use std::borrow::Cow;
use std::marker::PhantomData;

use coracle_api::field::FieldError;
use coracle_api::quantity::InvalidQuantity;
use jiff::Timestamp;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use super::{Completed, Strategy, Subresource, TableRow, Unparsable, Verdict, quantity};
use crate::schema::{self, Schemas, Shape};
use crate::store::Conversion;

/// What is particular to a built-in kind. Each has a file in `kinds`, all of one shape.
pub(super) trait Kind: Send + Sync + 'static {
    /// The type of its objects.
    type Object: Serialize + DeserializeOwned + Default + JsonSchema + Send + Sync;

    /// Name of its root schema.
    const SCHEMA: &'static str;

    /// How its objects become those of the version in which they are kept, if that is another.
    const CONVERSION: Option<Conversion> = None;

    /// What every client of the kind is told, if it is on its way out.
    const DEPRECATION: Option<&'static str> = None;

    /// Fields that upstream writes as `null` when there is nothing to write, by their dotted paths; `[]` after a name
    /// means each item of a list.
    const NULLS: &'static [&'static str] = &[];

    /// Fields that must be there, by their dotted paths, and whose type cannot tell that they are not.
    const STATED: &'static [&'static str] = &[];

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

    /// See [`Strategy::prepare_for_part_update`]. By default nothing may change.
    fn prepare_for_part_update(_part: Subresource, new: &mut Value, old: &Value) {
        new.clone_from(old);
    }

    /// The rules for a new object.
    fn validate(object: &Self::Object) -> Vec<FieldError>;

    /// The rules for a change.
    fn validate_update(new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Self::validate(new)
    }

    /// The rules for a new object of a kind with [`Kind::STATED`] fields: `stated` is the object as JSON.
    fn validate_stated(object: &Self::Object, _stated: &Value) -> Vec<FieldError> {
        Self::validate(object)
    }

    /// The same for a change.
    fn validate_update_stated(new: &Self::Object, old: &Self::Object, _stated: &Value) -> Vec<FieldError> {
        Self::validate_update(new, old)
    }

    /// The rules for a change of the status.
    fn validate_status_update(_new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// The rules for a change by a subresource other than `status`.
    fn validate_part_update(_part: Subresource, _new: &Self::Object, _old: &Self::Object) -> Vec<FieldError> {
        Vec::new()
    }

    /// What is allowed but odd.
    fn warnings(_object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// What is allowed but odd about a change: by default the same as about a new object.
    fn update_warnings(new: &Self::Object, _old: &Self::Object) -> Vec<String> {
        Self::warnings(new)
    }

    /// The cells of its row in a Table.
    fn cells(object: &Self::Object, now: Timestamp) -> Vec<Value>;

    /// Whether it has come to its end, which a Table tells of its row.
    fn completed(_object: &Self::Object) -> Option<Completed> {
        None
    }
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
    fn conversion(&self) -> Option<Conversion> {
        K::CONVERSION
    }

    fn deprecation(&self) -> Option<&'static str> {
        K::DEPRECATION
    }

    fn default(&self, object: Value) -> Result<Value, Unparsable> {
        let unstated: Vec<&str> = K::STATED.iter().copied().filter(|path| !is_stated(&object, path)).collect();
        let mut typed = match K::Object::deserialize(&object) {
            Ok(typed) => typed,
            Err(error) => {
                let mended = schema::builtin().mend(K::SCHEMA, object).map_err(Unparsable)?;
                K::Object::deserialize(mended).map_err(|_| Unparsable(error.to_string()))?
            }
        };
        K::default(&mut typed);
        let mut object = serde_json::to_value(&typed).map_err(|e| Unparsable(e.to_string()))?;
        let schemas = schema::builtin();
        tidy(schemas, schemas.root(K::SCHEMA), &mut object)?;
        K::NULLS.iter().for_each(|path| state_null(&mut object, path));
        unstated.into_iter().for_each(|path| remove(&mut object, path));
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

    fn prepare_for_part_update(&self, part: Subresource, new: &mut Value, old: &Value) {
        K::prepare_for_part_update(part, new, old);
    }

    // An object is made a type once for all that is asked of it: for a pod, that costs as much as its rules.
    fn judge(&self, object: &Value) -> Verdict {
        let typed = parsed(object);
        Verdict { errors: K::validate_stated(&typed, object), warnings: K::warnings(&typed) }
    }

    fn judge_update(&self, new: &Value, old: &Value) -> Verdict {
        let (typed, before) = (parsed(new), parsed(old));
        Verdict {
            errors: K::validate_update_stated(&typed, &before, new),
            warnings: K::update_warnings(&typed, &before),
        }
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        K::validate_status_update(&parsed(new), &parsed(old))
    }

    fn validate_part_update(&self, part: Subresource, new: &Value, old: &Value) -> Vec<FieldError> {
        K::validate_part_update(part, &parsed(new), &parsed(old))
    }

    fn table_row(&self, object: &[u8], now: Timestamp) -> TableRow {
        let object: K::Object = serde_json::from_slice(object).unwrap_or_default();
        TableRow { cells: K::cells(&object, now), completed: K::completed(&object) }
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

/// Writes an object as upstream does: without empty lists and maps, quantities in their canonical form, and null where
/// a time is stated though there is none. Objects with known fields stay when they are empty, because they mean
/// something: `emptyDir: {}`.
fn tidy(schemas: &Schemas, shape: &Shape, value: &mut Value) -> Result<(), Unparsable> {
    match (shape, &mut *value) {
        (Shape::Object(id), Value::Object(fields)) => {
            for (name, value) in fields.iter_mut() {
                if let Some(field) = schemas.field(*id, name) {
                    tidy(schemas, &field.shape, value)?;
                }
            }
            fields.retain(|name, value| match value {
                Value::Array(items) => !items.is_empty() || is_any(schemas.field(*id, name)),
                Value::Object(inner) if inner.is_empty() => {
                    !schemas.field(*id, name).is_some_and(|field| matches!(field.shape, Shape::Map(_)))
                }
                _ => true,
            });
            for name in schemas.null_times(*id) {
                fields.entry(name.as_ref()).or_insert(Value::Null);
            }
            Ok(())
        }
        (Shape::Map(shape), Value::Object(entries)) if **shape == Shape::Quantity => {
            entries.values_mut().try_for_each(|value| rewrite(value, quantity::canonical_amount))
        }
        (Shape::Map(shape), Value::Object(entries)) if !is_flat(shape) => {
            entries.values_mut().try_for_each(|value| tidy(schemas, shape, value))
        }
        (Shape::List(shape), Value::Array(items)) if !is_flat(shape) => {
            items.iter_mut().try_for_each(|value| tidy(schemas, shape, value))
        }
        (Shape::Quantity, value) => rewrite(value, quantity::canonical),
        _ => Ok(()),
    }
}

/// Whether values of the shape hold nothing to tidy.
fn is_flat(shape: &Shape) -> bool {
    !matches!(shape, Shape::Object(_) | Shape::Map(_) | Shape::List(_) | Shape::Quantity)
}

fn is_any(field: Option<&schema::Field>) -> bool {
    field.is_none_or(|field| field.shape == Shape::Any)
}

/// Whether an object has a value in a field.
pub(super) fn is_stated(object: &Value, path: &str) -> bool {
    path.split('.').try_fold(object, |value, name| value.get(name)).is_some_and(|value| !value.is_null())
}

fn remove(object: &mut Value, path: &str) {
    let (holder, field) = path.rsplit_once('.').map_or((None, path), |(holder, field)| (Some(holder), field));
    let mut names = holder.into_iter().flat_map(|path| path.split('.'));
    if let Some(Value::Object(fields)) = names.try_fold(object, |value, name| value.get_mut(name)) {
        fields.remove(field);
    }
}

/// Lets a field be `null` if it is absent and what holds it is there; `[]` after a name means each item of a list.
fn state_null(object: &mut Value, path: &str) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Value::Object(fields) = object else { return };
    match (name.strip_suffix("[]"), rest) {
        (None, None) => {
            fields.entry(name).or_insert(Value::Null);
        }
        (None, Some(rest)) => {
            if let Some(value) = fields.get_mut(name) {
                state_null(value, rest);
            }
        }
        (Some(list), rest) => {
            let items = fields.get_mut(list).and_then(Value::as_array_mut);
            items.into_iter().flatten().for_each(|item| state_null(item, rest.unwrap_or_default()));
        }
    }
}

/// How a quantity is written.
type Writing = fn(&str) -> Result<Cow<'_, str>, InvalidQuantity>;

fn rewrite(value: &mut Value, writing: Writing) -> Result<(), Unparsable> {
    if let Value::String(text) = value
        && let Cow::Owned(written) = writing(text).map_err(|e| Unparsable(e.to_string()))?
    {
        *text = written;
    }
    Ok(())
}
