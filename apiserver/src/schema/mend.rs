//! Second look at an object that is not of its kind's type: mends what upstream takes as well, and says where and
//! why the rest is wrong.
//!
//! It is asked only after the typed decoder has refused, so it costs nothing on the good path.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use coracle_api::quantity;
use serde_json::Value;

use super::{Schemas, Shape};

impl Schemas {
    /// The object with numbers as texts where a quantity is meant, and with the zero of the type for nulls inside lists and maps.
    ///
    /// # Errors
    /// Where the first value of a wrong type stands, and what it should be.
    pub fn mend(&self, schema: &str, mut object: Value) -> Result<Value, String> {
        self.mend_at(self.root(schema), &mut object, &mut String::new())?;
        Ok(object)
    }

    fn mend_at(&self, shape: &Shape, value: &mut Value, path: &mut String) -> Result<(), String> {
        match (shape, &mut *value) {
            (Shape::Any, _) | (_, Value::Null) => Ok(()),
            (Shape::Object(id), Value::Object(map)) => {
                for (name, value) in map.iter_mut() {
                    if let Some(field) = self.field(*id, name) {
                        below(path, &format!(".{name}"), |path| self.mend_at(&field.shape, value, path))?;
                    }
                }
                Ok(())
            }
            (Shape::Map(values), Value::Object(map)) => {
                map.values_mut().filter(|value| value.is_null()).for_each(|value| *value = zero(values));
                map.retain(|_, value| !value.is_null());
                for (name, value) in map.iter_mut() {
                    below(path, &format!("[{name}]"), |path| self.mend_at(values, value, path))?;
                }
                Ok(())
            }
            (Shape::List(shape), Value::Array(items)) => {
                items.iter_mut().filter(|item| item.is_null()).for_each(|item| *item = zero(shape));
                items.retain(|item| !item.is_null());
                for (at, item) in items.iter_mut().enumerate() {
                    below(path, &format!("[{at}]"), |path| self.mend_at(shape, item, path))?;
                }
                Ok(())
            }
            (Shape::Quantity, Value::Number(number)) => {
                *value = Value::String(number.to_string());
                Ok(())
            }
            (shape, value) => scalar(shape, value, path),
        }
    }
}

fn below(path: &mut String, part: &str, look: impl FnOnce(&mut String) -> Result<(), String>) -> Result<(), String> {
    let before = path.len();
    path.push_str(if before == 0 { part.trim_start_matches('.') } else { part });
    let found = look(path);
    path.truncate(before);
    found
}

/// What upstream makes of a null in a list or map: the zero of the type. Null if it has none.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Bytes => "".into(),
        Shape::Quantity => "0".into(),
        Shape::Integer | Shape::Number | Shape::IntOrString => 0.into(),
        Shape::Boolean => false.into(),
        Shape::Object(_) | Shape::Map(_) => serde_json::Map::new().into(),
        Shape::Any | Shape::Time | Shape::List(_) => Value::Null,
    }
}

fn scalar(shape: &Shape, value: &Value, path: &str) -> Result<(), String> {
    match (shape, value) {
        (Shape::Bytes, Value::String(text)) => base64_problem(text),
        (Shape::Time, Value::String(text)) => text.parse::<jiff::Timestamp>().map(drop).map_err(|_| {
            format!("{path}: parsing time {text:?}: must be RFC 3339, for example \"2006-01-02T15:04:05Z\"")
        }),
        (Shape::Quantity, Value::String(text)) => quantity::nanos(text).map(drop).map_err(|e| e.to_string()),
        (Shape::Text, Value::String(_))
        | (Shape::IntOrString, Value::String(_) | Value::Number(_))
        | (Shape::Number, Value::Number(_))
        | (Shape::Boolean, Value::Bool(_)) => Ok(()),
        (Shape::Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
        (shape, value) => Err(format!("{path}: must be {}, not {}", wanted(shape), found(value))),
    }
}

/// Upstream's words about a text that is not base64.
fn base64_problem(text: &str) -> Result<(), String> {
    let at = match STANDARD.decode(text) {
        Ok(_) => return Ok(()),
        Err(base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _)) => at,
        Err(base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding) => text.len(),
    };
    Err(format!("illegal base64 data at input byte {at}"))
}

fn wanted(shape: &Shape) -> &'static str {
    match shape {
        Shape::Any => "any value",
        Shape::Text => "a string",
        Shape::Bytes => "a string of base64",
        Shape::Time => "a time as a string",
        Shape::Quantity => "a quantity (a number, or a string such as \"100m\" or \"64Mi\")",
        Shape::IntOrString => "a number or a string",
        Shape::Integer => "a whole number",
        Shape::Number => "a number",
        Shape::Boolean => "true or false",
        Shape::Object(_) | Shape::Map(_) => "an object",
        Shape::List(_) => "a list",
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::schema::builtin;

    fn problem(schema: &str, object: serde_json::Value) -> String {
        builtin().mend(schema, object).unwrap_err()
    }

    #[test]
    fn the_place_and_the_type_are_told() {
        const POD: &str = "io.k8s.api.core.v1.Pod";
        const SECRET: &str = "io.k8s.api.core.v1.Secret";
        for (schema, object, expected) in [
            (POD, json!({"spec": {"containers": "x"}}), "spec.containers: must be a list, not a string"),
            (
                POD,
                json!({"spec": {"containers": [{"name": 5}]}}),
                "spec.containers[0].name: must be a string, not a number",
            ),
            (POD, json!({"metadata": {"labels": {"a": 5}}}), "metadata.labels[a]: must be a string, not a number"),
            (SECRET, json!({"data": {"a": "!!"}}), "illegal base64 data at input byte 0"),
            (POD, json!([]), ": must be an object, not a list"),
        ] {
            assert_eq!(problem(schema, object), expected);
        }
    }

    #[test]
    fn a_number_may_stand_for_a_quantity() {
        let mended = builtin().mend(
            "io.k8s.api.core.v1.ResourceRequirements",
            json!({"limits": {"cpu": 2, "memory": "1Gi", "gone": null}}),
        );
        assert_eq!(mended, Ok(json!({"limits": {"cpu": "2", "memory": "1Gi", "gone": "0"}})));
    }
}
