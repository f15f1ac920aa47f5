//! Values in messages about patches, as upstream prints them there.
//!
//! Source of the form: Go's verb `%v`. It is for people only; nothing reads it back.

use std::fmt::Write;

use serde_json::{Map, Value};

/// `map[a:1 b:[x y]]`.
pub(super) fn map(map: &Map<String, Value>) -> String {
    let mut text = String::new();
    write_map(&mut text, map);
    text
}

/// A list: `[x y]`.
pub(super) fn list(items: &[Value]) -> String {
    let mut text = String::new();
    write_list(&mut text, items);
    text
}

/// A value.
pub(super) fn value(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

/// The JSON type of a value.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("<nil>"),
        Value::String(value) => text.push_str(value),
        Value::Array(items) => write_list(text, items),
        Value::Object(fields) => write_map(text, fields),
        // Writing to a text does not fail.
        scalar @ (Value::Bool(_) | Value::Number(_)) => drop(write!(text, "{scalar}")),
    }
}

fn write_list(text: &mut String, items: &[Value]) {
    text.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        write_value(text, item);
    }
    text.push(']');
}

fn write_map(text: &mut String, fields: &Map<String, Value>) {
    text.push_str("map[");
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(name);
        text.push(':');
        write_value(text, value);
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        let given = json!({"b": [1, "x y", null], "a": {"c": true}});
        assert_eq!(value(&given), "map[a:map[c:true] b:[1 x y <nil>]]");
    }
}
