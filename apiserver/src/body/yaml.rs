//! YAML as upstream reads it: by the rules of YAML 1.1, and as JSON.
//!
//! What a plain scalar means is decided for keys as for values: the key `y` is the key `true`. Of several documents the
//! first counts. Aliases and depth are bounded by the parser.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{DuplicateKeyPolicy, options};

/// What a duplicate key is told under.
const UNMARSHAL_ERRORS: &str = "yaml: unmarshal errors:\n  ";

/// Reads the first document; of two equal keys the last one counts.
///
/// # Errors
/// What the parser says of a text that is no YAML.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    match read(bytes, DuplicateKeyPolicy::LastWins) {
        Ok(value) => Ok(value),
        // The first line of it: the rest shows the text.
        Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
    }
}

/// The first key that stands twice in a map, in upstream's words.
pub(crate) fn duplicate(bytes: &[u8]) -> Option<String> {
    match read(bytes, DuplicateKeyPolicy::Error) {
        Err(serde_saphyr::Error::DuplicateMappingKey { key, location }) => {
            let (line, key) = (location.line(), key.unwrap_or_default());
            Some(format!("{UNMARSHAL_ERRORS}line {line}: key {key:?} already set in map"))
        }
        Ok(_) | Err(_) => None,
    }
}

/// A problem as a warning tells it.
pub(super) fn as_warning(problem: String) -> String {
    problem.strip_prefix(UNMARSHAL_ERRORS).map(str::to_owned).unwrap_or(problem)
}

fn read(mut bytes: &[u8], duplicate_keys: DuplicateKeyPolicy) -> Result<Value, serde_saphyr::Error> {
    let options = options! { duplicate_keys: duplicate_keys, with_snippet: false };
    let first = serde_saphyr::read_with_options::<_, Json>(&mut bytes, options).next();
    first.map_or(Ok(Value::Null), |read| read.map(|json| json.0))
}

/// A value as JSON has it.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadValue).map(Self)
    }
}

struct ReadValue;

impl<'de> Visitor<'de> for ReadValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // A whole number is one, however it is written.
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        if value.fract() == 0.0 && value.abs() < 1e15 {
            return Ok((value as i64).into());
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((Json(key), Json(value))) = access.next_entry()? {
            let key = match key {
                Value::String(key) => key,
                key @ (Value::Bool(_) | Value::Number(_)) => key.to_string(),
                key => return Err(A::Error::custom(format!("unsupported map key {key}"))),
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_mean_what_they_mean_in_yaml_1_1() {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        assert_eq!(read("y: \"1\"\nno: x\n\"y\": 2\n3: z"), json!({"true": "1", "false": "x", "y": 2, "3": "z"}));
        assert_eq!(
            read("a: yes\nb: off\nc: ~\nd: 1.0\ne: 0x10\nf: \"on\"\ng: 1.5"),
            json!({"a": true, "b": false, "c": null, "d": 1, "e": 16, "f": "on", "g": 1.5})
        );
        assert_eq!(read("a: &x {b: 1}\nc: *x\n"), json!({"a": {"b": 1}, "c": {"b": 1}}));
        assert_eq!(read(r#"{"a": [1, {"b": null}]}"#), json!({"a": [1, {"b": null}]}));
        assert_eq!(read("a: 1\n---\nb: ["), json!({"a": 1}));
        assert_eq!(read(""), Value::Null);
        assert!(parse(b"a: [").is_err());
    }

    #[test]
    fn a_key_that_stands_twice_is_told_with_its_line() {
        assert_eq!(parse(b"a: 1\na: 2\n"), Ok(json!({"a": 2})));
        let told = duplicate(b"b: 1\na: 1\na: 2\n");
        assert_eq!(told.as_deref(), Some("yaml: unmarshal errors:\n  line 3: key \"a\" already set in map"));
        assert_eq!(duplicate(b"a: 1\n"), None);
    }
}
