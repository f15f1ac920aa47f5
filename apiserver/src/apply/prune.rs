//! What goes when a manager no longer applies a field that it applied before: the field, unless somebody else owns it.

use serde_json::Value;

use super::element;
use super::fields::{FieldSet, Node, Part};
use super::owned;
use super::place::{Form, Place, Role};

/// Takes out of a merged object what was applied before and is managed by nobody any more.
pub(super) fn prune(place: Place<'_>, merged: Value, last: &FieldSet, managed: &FieldSet) -> Value {
    let mut let_go = last.clone();
    let_go.subtract(managed);
    if let_go.is_empty() {
        return merged;
    }
    let last = with_fields(place, last.clone());
    let mut keep = with_fields(place, managed.clone());
    let before = with_fields(place, owned::all(place, &merged));
    let pruned = remove(place, &merged, last.whole());
    keep.add(with_fields(place, owned::all(place, &pruned)));
    let mut unmanaged = before.clone();
    unmanaged.subtract(&keep);
    let pruned = remove(place, &merged, unmanaged.whole());
    let mut gone = before;
    gone.subtract(&with_fields(place, owned::all(place, &pruned)));
    remove(place, &merged, gone.intersection(&last).whole())
}

/// The set with the fields of types that have a member below them.
fn with_fields(place: Place<'_>, set: FieldSet) -> FieldSet {
    named(Some(place), set).set()
}

fn named(place: Option<Place<'_>>, set: FieldSet) -> Node {
    let mut node = Node::default();
    for (element, member, below) in set.into_elements() {
        let (child, role) = match (place, element::field_of(&element)) {
            (Some(place), Some(name)) => match place.child(name) {
                Some(child) => (Some(child.place), child.role),
                None => (None, Role::Entry),
            },
            (Some(place), None) => (Some(place.item()), Role::Entry),
            (None, _) => (None, Role::Entry),
        };
        let inner = !below.is_empty();
        let mut below = named(child, below);
        below.member = member || inner && role == Role::Field;
        node.put(element, below);
    }
    node
}

/// The value without the members of the set; null if nothing is left of it.
fn remove(place: Place<'_>, value: &Value, set: Part<'_>) -> Value {
    match (place.form(value), value) {
        (Form::Fields, Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let element = element::field(name);
                let child = place.child(name).map(|child| child.place);
                left(child, value, &element, set).map(|value| (name.clone(), value))
            });
            let kept: serde_json::Map<String, Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        (Form::Items(items), Value::Array(list)) => {
            let kept = list.iter().filter_map(|item| match items.element(item) {
                Ok(element) => left(Some(place.item()), item, &element, set),
                Err(_) => Some(item.clone()),
            });
            let kept: Vec<Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { Value::Array(kept) }
        }
        _ => value.clone(),
    }
}

fn left(place: Option<Place<'_>>, value: &Value, element: &str, set: Part<'_>) -> Option<Value> {
    if set.has(element) {
        return None;
    }
    Some(match (place, set.below(element)) {
        (Some(place), Some(below)) => remove(place, value, below),
        _ => value.clone(),
    })
}
