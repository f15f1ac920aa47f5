//! Whether an applied configuration is of its type: it says less than an object, but nothing that the type lacks.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::element;
use super::place::{Form, Items, Place};
use crate::schema::Shape;

/// What is wrong, and where: `.spec.replicas: expected numeric (int or float), got string`.
///
/// # Errors
/// Upstream's words, one line for each problem.
pub(super) fn check(place: Place<'_>, value: &Value) -> Result<(), String> {
    let mut problems = Vec::new();
    look(place, value, "", &mut problems);
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn look(place: Place<'_>, value: &Value, path: &str, problems: &mut Vec<String>) {
    let mut wrong = |what: String| {
        problems.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    match (place.shape(), value) {
        (_, Value::Null) => {}
        (Shape::Any | Shape::Object(_) | Shape::Map(_), Value::Object(fields)) => {
            look_at_fields(place, fields, path, problems);
        }
        (Shape::Any, _) => {}
        (Shape::List(_), Value::Array(items)) => look_at_items(place, value, items, path, problems),
        (Shape::Object(_) | Shape::Map(_), other) => wrong(format!("expected map, got &{{{}}}", printed(other))),
        (Shape::List(_), other) => wrong(format!("expected list, got &{{{}}}", printed(other))),
        (Shape::Text | Shape::Bytes, Value::String(_)) => {}
        (Shape::Text | Shape::Bytes, other) => {
            wrong(format!("expected string, got &value.valueUnstructured{{Value:{}}}", printed(other)));
        }
        (Shape::Integer | Shape::Number, Value::Number(_)) => {}
        (Shape::Integer | Shape::Number, other) => {
            wrong(format!("expected numeric (int or float), got {}", type_of(other)));
        }
        (Shape::Boolean, Value::Bool(_)) => {}
        (Shape::Boolean, other) => wrong(format!("expected boolean, got &{{{}}}", printed(other))),
        (Shape::Time | Shape::Quantity | Shape::IntOrString, Value::Object(_) | Value::Array(_)) => {
            wrong(format!("expected any scalar, got &{{{}}}", printed(value)));
        }
        (Shape::Time | Shape::Quantity | Shape::IntOrString, _) => {}
    }
}

fn look_at_fields(place: Place<'_>, fields: &Map<String, Value>, path: &str, problems: &mut Vec<String>) {
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match place.child(name) {
            Some(child) => look(child.place, value, &path, problems),
            None => {
                problems.push(format!("{path}: field not declared in schema"));
                return;
            }
        }
    }
}

fn look_at_items(place: Place<'_>, list: &Value, items: &[Value], path: &str, problems: &mut Vec<String>) {
    let told_apart: Option<Items<'_>> = match place.form(list) {
        Form::Items(items) => Some(items),
        Form::Whole | Form::Fields => None,
    };
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let here = match told_apart.map(|by| by.element(item)) {
            None => format!("[{at}]"),
            Some(Ok(element)) => {
                let shown = element::shown(&element);
                if !seen.insert(element) {
                    problems.push(format!("{path}: duplicate entries for key {shown}"));
                }
                shown
            }
            Some(Err(why)) => {
                problems.push(format!("{path}: element {at}: {why}"));
                return;
            }
        };
        look(place.item(), item, &format!("{path}{here}"), problems);
    }
}

/// A value as Go prints it.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{}", printed(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

/// A value's type as Go names it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
