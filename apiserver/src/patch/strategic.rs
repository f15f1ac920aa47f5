//! Strategic merge patch: a merge patch that knows which lists merge by key.
//!
//! Source of the rules: `k8s.io/apimachinery/pkg/util/strategicpatch`. Directives never reach the object: each is
//! obeyed or refused.

mod lists;

use serde_json::{Map, Value};

use super::{PatchError, read};
use crate::schema::{self, ListMerge, Merge, Schemas, Shape};

/// What shall happen with an object or an element: `delete`, `replace` or `merge`.
const PATCH: &str = "$patch";
/// In which order the elements of a list shall stand.
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
/// Which scalars to take out of a list.
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
/// Which fields alone an object shall keep.
const RETAIN_KEYS: &str = "$retainKeys";

/// Applies a strategic merge patch to an object of this schema.
///
/// # Errors
/// [`PatchError`]: what is no JSON object, or has directives that make no sense.
pub fn strategic(target: &Value, patch: &[u8], schema: &str) -> Result<Value, PatchError> {
    let Value::Object(patch) = read(patch)? else {
        return Err(PatchError::Undecodable("a strategic merge patch is an object".to_owned()));
    };
    let schemas = schema::builtin();
    let target = target.as_object().cloned().unwrap_or_default();
    Merging { schemas }.object(&schemas.root(schema), target, patch).map(Value::Object)
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
        if let Some(what) = patch.remove(PATCH) {
            return match what.as_str() {
                Some("replace") => Ok(without_directives_in(patch)),
                Some("delete") => Ok(Map::new()),
                _ => {
                    patch.insert(PATCH.to_owned(), what.clone());
                    unknown(&what, &patch)
                }
            };
        }
        retain_keys(&mut target, &mut patch)?;
        self.ordered_lists(shape, &mut target, &mut patch)?;
        for (key, value) in patch {
            if let Some(field) = key.strip_prefix(DELETE_FROM) {
                lists::take_out(&mut target, field, &value);
            } else {
                self.field(shape, &mut target, key, value)?;
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
            (Some(Value::Object(old)), Value::Object(new)) => Some(Value::Object(self.object(&below, old, new)?)),
            (Some(Value::Array(old)), Value::Array(new)) => Some(Value::Array(self.list(&below, merge, old, new)?)),
            (_, new) => without_directives(new),
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
        let item = if let Shape::List(item) = shape { item.as_ref() } else { &Shape::Any };
        match merge.list {
            ListMerge::Replace => Ok(new),
            ListMerge::Union => Ok(lists::union(old, &new)),
            ListMerge::ByKey(key) => self.keyed(item, key, old, new),
        }
    }

    /// Merges elements by their key; what only the patch has goes to the front.
    fn keyed(&self, item: &Shape, key: &str, old: Vec<Value>, new: Vec<Value>) -> Result<Vec<Value>, PatchError> {
        let mut old = old;
        let mut elements = Vec::new();
        let mut replace = false;
        for element in new {
            let Value::Object(element) = element else {
                return directive(format!("a list that merges by {key:?} has objects, not {element}"));
            };
            match element.get(PATCH).map(|what| (what, what.as_str())) {
                None => elements.push(element),
                Some((_, Some("replace"))) => replace = true,
                Some((_, Some("delete"))) => {
                    let gone = merge_key(&element, key)?;
                    old.retain(|o| o.get(key) != Some(gone));
                }
                Some((_, Some("merge"))) => return directive("merging lists cannot yet be specified in the patch"),
                Some((what, _)) => return unknown(what, &element),
            }
        }
        if replace {
            return Ok(elements.into_iter().map(|e| Value::Object(without_directives_in(e))).collect());
        }
        let order: Vec<Value> = elements.iter().map(|e| e.get(key).cloned().unwrap_or_default()).collect();
        let was: Vec<Value> = old.iter().map(|o| o.get(key).cloned().unwrap_or_default()).collect();
        let mut merged = old;
        for element in elements {
            let own = merge_key(&element, key)?.clone();
            match merged.iter_mut().find(|o| o.get(key) == Some(&own)) {
                Some(Value::Object(found)) => *found = self.object(item, std::mem::take(found), element)?,
                Some(_) | None => merged.push(Value::Object(without_directives_in(element))),
            }
        }
        Ok(lists::arrange(merged, &order, &was, |element| element.get(key).cloned().unwrap_or_default()))
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
            let Some(Value::Array(order)) = patch.remove(&name) else {
                return directive(format!("invalid patch format of {name}"));
            };
            let field = name.strip_prefix(SET_ELEMENT_ORDER).unwrap_or_default();
            let (below, merge) = self.below(shape, field);
            let key = match merge.list {
                ListMerge::ByKey(key) => Some(key),
                ListMerge::Union | ListMerge::Replace => None,
            };
            let identity = |value: &Value| match key {
                Some(key) => value.get(key).cloned().unwrap_or_default(),
                None => value.clone(),
            };
            let mut old = None;
            let old_list = match target.remove(field) {
                Some(Value::Array(list)) => list,
                other => {
                    old = other;
                    Vec::new()
                }
            };
            let new = match patch.remove(field) {
                Some(Value::Array(new)) => new,
                Some(other) => {
                    // Null, or no list at all: there is nothing to put in order.
                    target.extend(old.map(|o| (field.to_owned(), o)));
                    patch.insert(field.to_owned(), other);
                    continue;
                }
                None => Vec::new(),
            };
            lists::check_order(&new, &order, identity)?;
            let was: Vec<Value> = old_list.iter().map(identity).collect();
            let merged = self.list(&below, merge, old_list, new)?;
            let order: Vec<Value> = order.iter().map(identity).collect();
            let merged = lists::arrange(merged, &order, &was, identity);
            if !merged.is_empty() {
                target.insert(field.to_owned(), Value::Array(merged));
            }
        }
        Ok(())
    }
}

fn merge_key<'a>(element: &'a Map<String, Value>, key: &str) -> Result<&'a Value, PatchError> {
    match element.get(key) {
        Some(value) => Ok(value),
        None => {
            let shown = Value::Object(element.clone());
            directive(format!("map: {shown} does not contain declared merge key: {key}"))
        }
    }
}

fn unknown<T>(what: &Value, element: &Map<String, Value>) -> Result<T, PatchError> {
    let what = what.as_str().map_or_else(|| what.to_string(), str::to_owned);
    directive(format!("unknown patch type: {what} in map: {}", Value::Object(element.clone())))
}

fn retain_keys(target: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    const BAD: &str = "invalid patch format of retainKeys";
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return directive(BAD) };
    let kept = |key: &str| keys.iter().any(|k| k == key);
    let fits = |(key, value): (&String, &Value)| value.is_null() || key.starts_with('$') || kept(key);
    if !patch.iter().all(fits) {
        return directive(BAD);
    }
    target.retain(|key, _| kept(key));
    Ok(())
}

/// A value that comes new into the object: without directives, and without nulls, which ask for nothing here.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(map) if map.get(PATCH).is_some_and(|what| what == "delete") => None,
        Value::Object(map) => Some(Value::Object(without_directives_in(map))),
        Value::Array(items) => {
            let only_directive = |item: &Value| item.as_object().is_some_and(|m| m.len() == 1 && m.contains_key(PATCH));
            let plain = |item: Value| if item.is_null() { Some(item) } else { without_directives(item) };
            Some(Value::Array(items.into_iter().filter(|i| !only_directive(i)).filter_map(plain).collect()))
        }
        scalar @ (Value::Bool(_) | Value::Number(_) | Value::String(_)) => Some(scalar),
    }
}

fn without_directives_in(map: Map<String, Value>) -> Map<String, Value> {
    let plain = |key: &str| {
        !matches!(key, PATCH | RETAIN_KEYS) && !key.starts_with(SET_ELEMENT_ORDER) && !key.starts_with(DELETE_FROM)
    };
    map.into_iter().filter(|(k, _)| plain(k)).filter_map(|(k, v)| Some((k, without_directives(v)?))).collect()
}

#[cfg(test)]
pub(super) mod tests;
