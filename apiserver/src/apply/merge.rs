//! What an object is once a configuration is laid over it: what both state is as the configuration has it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::place::{Form, Items, Place};

/// Lays a configuration over an object. Nothing is taken away.
pub(super) fn merge(place: Place<'_>, live: &Value, config: &Value) -> Value {
    join(place, Some(live), Some(config)).unwrap_or_default()
}

fn join(place: Place<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
    let leading = config.filter(|value| !value.is_null()).or(live).or(config)?;
    match place.form(leading) {
        Form::Whole => config.or(live).cloned(),
        Form::Fields | Form::Items(_) if is_empty(live) && is_empty(config) => config.or(live).cloned(),
        Form::Fields => {
            Some(Value::Object(fields(place, live.and_then(Value::as_object), config.and_then(Value::as_object))))
        }
        Form::Items(items) => Some(Value::Array(join_items(place, items, list(live), list(config)))),
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn fields(
    place: Place<'_>,
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut joined = Map::new();
    let names: BTreeSet<&String> =
        live.into_iter().flat_map(Map::keys).chain(config.into_iter().flat_map(Map::keys)).collect();
    for name in names {
        let side = |fields: Option<&'_ Map<String, Value>>| fields.and_then(|fields| fields.get(name)).cloned();
        let value = match place.child(name) {
            Some(child) => {
                join(child.place, live.and_then(|fields| fields.get(name)), config.and_then(|fields| fields.get(name)))
            }
            // What the type lacks was refused before: only an older state of the object could hold it.
            None => side(config).or_else(|| side(live)),
        };
        if let Some(value) = value {
            joined.insert(name.clone(), value);
        }
    }
    joined
}

/// Items in the order of the object, but where the configuration has another, in that.
fn join_items(place: Place<'_>, items: Items<'_>, live: &[Value], config: &[Value]) -> Vec<Value> {
    let element = |item: &Value| items.element(item).unwrap_or_default();
    let left: Vec<(String, &Value)> = live.iter().map(|item| (element(item), item)).collect();
    let right: Vec<(String, &Value)> = config.iter().map(|item| (element(item), item)).collect();
    // What stands twice in the object is not merged with the configuration: it gives way to it.
    let mut in_live: BTreeMap<&str, Option<&Value>> = BTreeMap::new();
    for (element, item) in &left {
        in_live.entry(element).and_modify(|twice| *twice = None).or_insert(Some(item));
    }
    let in_config: BTreeSet<&str> = right.iter().map(|(element, _)| element.as_str()).collect();
    let mut shared = right.iter().map(|(element, _)| element.as_str()).filter(|e| in_live.contains_key(e)).peekable();
    let mut merged: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let item = place.item();
    let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let next = (l.peek().copied(), r.peek().copied());
        match next {
            (None, None) => return out,
            (Some((ours, _)), Some((theirs, config))) if ours == theirs => {
                merged.insert(ours);
                let live = in_live.get(ours.as_str()).copied().flatten();
                out.extend(join(item, live, Some(config)));
                l.next();
                r.next();
                shared.next();
                continue;
            }
            (Some((ours, _)), Some(_))
                if in_config.contains(ours.as_str()) && shared.peek().is_some_and(|next| *next != ours.as_str()) =>
            {
                // It is in both, but its turn comes later.
                l.next();
                continue;
            }
            (Some((ours, live)), _) if !in_config.contains(ours.as_str()) => {
                out.extend(join(item, Some(live), None));
                l.next();
                continue;
            }
            (Some((ours, _)), _) if merged.contains(ours.as_str()) => {
                l.next();
            }
            _ => {}
        }
        let Some((theirs, config)) = r.next() else { continue };
        merged.insert(theirs);
        let live = in_live.get(theirs.as_str()).copied().flatten();
        out.extend(join(item, live, Some(config)));
        if shared.peek().is_some_and(|next| *next == theirs.as_str()) {
            shared.next();
        }
    }
}
