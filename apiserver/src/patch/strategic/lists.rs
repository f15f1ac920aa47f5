//! The order of merged lists.
//!
//! Elements that the patch speaks of stand in its order, the others in theirs; where both orders leave it open,
//! those of the patch come first.

use serde_json::{Map, Value};

use super::PatchError;

/// The scalars of both lists, each once.
pub(super) fn union(old: Vec<Value>, new: &[Value]) -> Vec<Value> {
    let was = old.clone();
    let mut merged = old;
    for value in new {
        if !merged.contains(value) {
            merged.push(value.clone());
        }
    }
    arrange(merged, new, &was, Value::clone)
}

/// Takes scalars out of a list.
pub(super) fn take_out(target: &mut Map<String, Value>, field: &str, values: &Value) {
    if let (Some(Value::Array(list)), Value::Array(values)) = (target.get_mut(field), values) {
        list.retain(|value| !values.contains(value));
    }
}

/// Puts elements in order: those named in `order` as it says, the others as they stood in `was`.
pub(super) fn arrange(
    elements: Vec<Value>,
    order: &[Value],
    was: &[Value],
    identity: impl Fn(&Value) -> Value,
) -> Vec<Value> {
    let place = |list: &[Value], element: &Value| list.iter().position(|o| *o == identity(element));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        elements.into_iter().partition(|element| place(order, element).is_some());
    named.sort_by_key(|element| place(order, element));
    others.sort_by_key(|element| place(was, element).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for element in named {
        let own = place(was, &element);
        while let Some(other) = others.peek() {
            match (place(was, other), own) {
                (Some(other), Some(own)) if other < own => arranged.extend(others.next()),
                _ => break,
            }
        }
        arranged.push(element);
    }
    arranged.extend(others);
    arranged
}

/// Whether what the patch has in its list stands in the order that it asks for.
pub(super) fn check_order(
    new: &[Value],
    order: &[Value],
    identity: impl Fn(&Value) -> Value,
) -> Result<(), PatchError> {
    let deleted = |value: &&Value| value.get(super::PATCH).is_some_and(|what| what == "delete");
    let mut rest = order.iter();
    let in_order = new.iter().filter(|v| !deleted(v)).all(|value| rest.any(|o| identity(o) == identity(value)));
    if in_order {
        return Ok(());
    }
    let shown = |list: &[Value]| Value::from(list.to_vec()).to_string();
    super::directive(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        shown(new),
        shown(order)
    ))
}
