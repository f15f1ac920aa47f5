//! Objects as JSON in the one form by which two of the same meaning are the same.

use serde::Serialize;
use serde_json::Value;

/// The object as JSON without what is empty: an absent list and an empty one say the same.
pub(crate) fn canonical(object: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, v| !is_empty_list_or_null(v));
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An empty object is kept: `emptyDir: {}` says something.
fn is_empty_list_or_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
