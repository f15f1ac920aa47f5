//! Strategic merge patch: a merge patch that knows which lists merge by key.
//!
//! Source of the rules: `k8s.io/apimachinery/pkg/util/strategicpatch`. A directive is obeyed, or refused, or dropped
//! with the object it stands in if that object is new.

mod lists;

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{PatchError, printed};
use crate::schema::{self, ListMerge, Merge, ObjectMerge, Schemas, Shape};

/// What shall happen with an object or an element: `delete`, `replace` or `merge`.
const PATCH: &str = "$patch";
/// In which order the elements of a list shall stand.
const SET_ELEMENT_ORDER: &str = "$setElementOrder";
/// Which scalars to take out of a list.
const DELETE_FROM: &str = "$deleteFromPrimitiveList";
/// Which fields alone an object shall keep.
const RETAIN_KEYS: &str = "$retainKeys";

/// The object that a strategic patch makes of another, of this schema.
pub(super) fn apply(target: &Value, patch: &Map<String, Value>, schema: &str) -> Result<Value, PatchError> {
    let schemas = schema::builtin();
    let target = target.as_object().cloned().unwrap_or_default();
    Merging { schemas }.object(schemas.root(schema), target, patch.clone()).map(Value::Object)
}

fn directive<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Directive(message.into()))
}

struct Merging<'a> {
    schemas: &'a Schemas,
}

impl Merging<'_> {
    fn object(
        &self,
        shape: &Shape,
        mut target: Map<String, Value>,
        mut patch: Map<String, Value>,
    ) -> Result<Map<String, Value>, PatchError> {
        if let Some(what) = patch.get(PATCH) {
            return match what.as_str() {
                Some("replace") => {
                    patch.remove(PATCH);
                    Ok(patch)
                }
                Some("delete") => Ok(Map::new()),
                _ => unknown(what, &patch),
            };
        }
        retain_keys(&mut target, &mut patch)?;
        self.ordered_lists(shape, &mut target, &mut patch)?;
        for (key, value) in patch {
            match parallel(&key, DELETE_FROM, "invalid patch format of primitive list")? {
                Some(field) => lists::take_out(&mut target, field, &value),
                None => self.field(shape, &mut target, key, value)?,
            }
        }
        Ok(target)
    }

    fn field(
        &self,
        shape: &Shape,
        target: &mut Map<String, Value>,
        key: String,
        value: Value,
    ) -> Result<(), PatchError> {
        let (below, merge) = self.below(shape, &key);
        let merged = match (target.remove(&key), value) {
            (_, Value::Null) => return Ok(()),
            (Some(Value::Object(_)), new) if merge.object == ObjectMerge::Replace => brought(new),
            (Some(Value::Object(old)), Value::Object(new)) => Some(Value::Object(self.object(&below, old, new)?)),
            (Some(Value::Array(old)), Value::Array(new)) => Some(Value::Array(self.list(&below, merge, old, new)?)),
            (_, new) => brought(new),
        };
        if let Some(merged) = merged {
            target.insert(key, merged);
        }
        Ok(())
    }

    /// The shape of a field, and how it merges.
    fn below(&self, shape: &Shape, key: &str) -> (Shape, Merge) {
        match shape {
            Shape::Object(id) => self
                .schemas
                .field(*id, key)
                .map_or((Shape::Any, Merge::default()), |field| (field.shape.clone(), field.merge)),
            Shape::Map(values) => (values.as_ref().clone(), Merge::default()),
            _ => (Shape::Any, Merge::default()),
        }
    }

    fn list(&self, shape: &Shape, merge: Merge, old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, PatchError> {
        if merge.list == ListMerge::Replace || old.is_empty() && new.is_empty() {
            return Ok(new);
        }
        let item = if let Shape::List(item) = shape { item.as_ref() } else { &Shape::Any };
        match (merge.list, lists::elements(&old, &new)?) {
            (ListMerge::ByKey(key), lists::Elements::Objects) => self.keyed(item, key, old, new),
            (_, lists::Elements::Scalars) => Ok(lists::union(old, new)),
            (_, lists::Elements::Objects) => directive("cannot merge lists without merge key"),
        }
    }

    /// Merges elements by their key; what only the patch has goes to the front.
    fn keyed(&self, item: &Shape, key: &str, mut old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, PatchError> {
        let sent = lists::sent(new, key)?;
        if sent.replaces {
            return Ok(sent.elements.into_iter().map(Value::Object).collect());
        }
        old.retain(|element| element.get(key).is_none_or(|own| !sent.deleted.contains(own)));
        let mut order = Vec::with_capacity(sent.elements.len());
        let was: Vec<Value> = old.iter().map(|element| lists::identity(element, Some(key))).collect();
        let mut places: HashMap<Value, usize> = HashMap::new();
        for (at, own) in was.iter().enumerate() {
            places.entry(own.clone()).or_insert(at);
        }
        let mut merged = old;
        for element in sent.elements {
            let own = lists::merge_key(&element, key)?.clone();
            order.push(own.clone());
            let found = places.get(&own).and_then(|at| merged.get_mut(*at));
            if let Some(Value::Object(found)) = found {
                *found = self.object(item, std::mem::take(found), element)?;
            } else {
                places.insert(own, merged.len());
                merged.extend(brought(Value::Object(element)));
            }
        }
        Ok(lists::arrange(merged, &order, &was, Some(key)))
    }

    /// Obeys `$setElementOrder`, which speaks about a list of the object and the list of the patch together.
    fn ordered_lists(
        &self,
        shape: &Shape,
        target: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
        for name in directives {
            let order = patch.remove(&name).unwrap_or_default();
            let Value::Array(order) = order else { return not_a_list(&order) };
            let Some(field) = parallel(&name, SET_ELEMENT_ORDER, "invalid patch format of setElementOrder list")?
            else {
                continue;
            };
            let (old, new) = (listed(target.remove(field))?, listed(patch.remove(field))?);
            let (below, merge) = self.below(shape, field);
            let key = match merge.list {
                ListMerge::ByKey(key) => Some(key),
                ListMerge::Union | ListMerge::Replace => None,
            };
            lists::check_order(new.as_deref().unwrap_or_default(), &order, key)?;
            let was: Vec<Value> = old.iter().flatten().map(|element| lists::identity(element, key)).collect();
            let merged = match (old, new) {
                (Some(old), None) => old,
                (None, Some(new)) => new.into_iter().filter_map(brought).collect(),
                (Some(old), Some(new)) => self.list(&below, merge, old, new)?,
                (None, None) => continue,
            };
            let order: Vec<Value> = order.iter().map(|element| lists::identity(element, key)).collect();
            target.insert(field.to_owned(), lists::arrange(merged, &order, &was, key).into());
        }
        Ok(())
    }
}

/// The field that a directive of the form `$directive/field` is about; nothing if the key is no such directive.
fn parallel<'a>(key: &'a str, prefix: &str, malformed: &str) -> Result<Option<&'a str>, PatchError> {
    let Some(rest) = key.strip_prefix(prefix) else { return Ok(None) };
    let field = rest.strip_prefix('/').ok_or_else(|| PatchError::Malformed(malformed.to_owned()))?;
    Ok(Some(field))
}

fn listed(value: Option<Value>) -> Result<Option<Vec<Value>>, PatchError> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => not_a_list(&other),
    }
}

fn not_a_list<T>(value: &Value) -> Result<T, PatchError> {
    let go = match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    directive(format!("expected a []interface {{}}, but received a {go}"))
}

fn unknown<T>(what: &Value, element: &Map<String, Value>) -> Result<T, PatchError> {
    directive(format!("unknown patch type: {} in map: {}", printed::value(what), printed::map(element)))
}

fn retain_keys(target: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let malformed = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(malformed()) };
    let kept = |key: &str| keys.iter().any(|k| k == key);
    let parallel = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ELEMENT_ORDER);
    let fits = |(key, value): (&String, &Value)| value.is_null() || parallel(key) || kept(key);
    if !patch.iter().all(fits) {
        return Err(malformed());
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

/// A value that comes new into the object: without nulls, which ask for nothing here, and without objects that are
/// themselves a directive.
fn brought(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(PATCH) => None,
        Value::Object(fields) => {
            let plain = |(name, value): (String, Value)| (!value.is_null()).then(|| Some((name, brought(value)?)))?;
            Some(Value::Object(fields.into_iter().filter_map(plain).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(brought).collect())),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Some(scalar),
    }
}

#[cfg(test)]
mod tests;
