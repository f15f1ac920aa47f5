//! Decoding that tells what a lenient decoder would swallow: fields that the kind does not have, and fields that
//! stand twice.
//!
//! One pass over the bytes gives the value and the problems in the order of the document, in upstream's words.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Schemas, Shape, builtin};

/// How many problems are told at most: nobody reads more, and a hostile body could hold a million.
const PROBLEMS_MAX: usize = 100;

/// The shape of what no schema knows.
const ANY: &Shape = &Shape::Any;

/// A decoded document.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// What it says.
    pub value: Value,
    /// `unknown field "spec.foo"`, `duplicate field "data.a"`.
    pub problems: Vec<String>,
}

/// Decodes a JSON document. With a schema (`io.k8s.api.core.v1.Pod`), unknown fields are problems too.
///
/// # Errors
/// What `serde_json` says of a text that is not JSON.
pub fn decode(body: &[u8], schema: Option<&str>) -> Result<Decoded, serde_json::Error> {
    let problems = RefCell::new(Vec::new());
    let (schemas, root) = match schema {
        Some(name) => (Some(builtin()), builtin().root(name)),
        None => (None, ANY),
    };
    let place = Place { schemas, shape: root, path: &Path::Root, problems: &problems };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = place.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(Decoded { value, problems: problems.into_inner() })
}

/// The way from the root to a value, without allocating.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Item(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// A place in the document, where a value is about to be read.
#[derive(Clone, Copy)]
struct Place<'a> {
    schemas: Option<&'a Schemas>,
    shape: &'a Shape,
    path: &'a Path<'a>,
    problems: &'a RefCell<Vec<String>>,
}

impl Place<'_> {
    fn problem(&self, what: &str, path: &Path<'_>) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < PROBLEMS_MAX {
            let problem = format!("{what} field \"{path}\"");
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }

    /// The shape of a field here. An unknown one is told, once, and nothing below it.
    fn field(&self, name: &str, path: &Path<'_>) -> &Shape {
        match (self.shape, self.schemas) {
            (Shape::Object(id), Some(schemas)) => schemas.field(*id, name).map_or_else(
                || {
                    self.problem("unknown", path);
                    ANY
                },
                |field| &field.shape,
            ),
            (Shape::Map(values), _) => values,
            _ => ANY,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
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
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let shape = if let Shape::List(item) = self.shape { item } else { ANY };
        let mut items = Vec::new();
        loop {
            let path = Path::Item(self.path, items.len());
            match access.next_element_seed(Place { shape, path: &path, ..self })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let path = Path::Field(self.path, &name);
            let shape = self.field(&name, &path);
            if map.contains_key(&name) {
                self.problem("duplicate", &path);
            }
            let value = access.next_value_seed(Place { shape, path: &path, ..self })?;
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

impl Schemas {
    /// The fields of an object that its kind does not have: `unknown field "spec.foo"`.
    #[must_use]
    pub fn unknown_fields(&self, schema: &str, object: &Value) -> Vec<String> {
        let problems = RefCell::new(Vec::new());
        let root = self.root(schema);
        walk(Place { schemas: Some(self), shape: root, path: &Path::Root, problems: &problems }, object);
        problems.into_inner()
    }
}

fn walk(place: Place<'_>, value: &Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = Path::Field(place.path, name);
                let shape = place.field(name, &path);
                walk(Place { shape, path: &path, ..place }, value);
            }
        }
        Value::Array(items) => {
            let shape = if let Shape::List(item) = place.shape { item } else { ANY };
            for (at, item) in items.iter().enumerate() {
                walk(Place { shape, path: &Path::Item(place.path, at), ..place }, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
    const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

    fn problems(schema: Option<&str>, body: &str) -> Vec<String> {
        decode(body.as_bytes(), schema).unwrap().problems
    }

    #[test]
    fn unknown_fields_are_told_in_the_order_of_the_document() {
        let body = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x","labels":{"any":"thing"}},
            "spec":{"template":{"spec":{"containers":[{"name":"c","bar":{"deep":1},"ports":[{"baz":2}]}]}},"foo":1}}"#;
        expect_test::expect![[r#"
            unknown field "spec.template.spec.containers[0].bar"
            unknown field "spec.template.spec.containers[0].ports[0].baz"
            unknown field "spec.foo""#]]
        .assert_eq(&problems(Some(DEPLOYMENT), body).join("\n"));
        assert_eq!(problems(None, body), Vec::<String>::new());
    }

    #[test]
    fn names_are_told_apart_by_case() {
        assert_eq!(problems(Some(CONFIG_MAP), r#"{"Data":{"a":"b"}}"#), [r#"unknown field "Data""#]);
    }

    #[test]
    fn the_last_of_two_fields_wins_and_is_told() {
        let decoded = decode(br#"{"data":{"a":"1","a":"2"}}"#, Some(CONFIG_MAP)).unwrap();
        assert_eq!(decoded.problems, [r#"duplicate field "data.a""#]);
        assert_eq!(decoded.value, serde_json::json!({"data": {"a": "2"}}));
    }

    #[test]
    fn a_problem_is_told_once() {
        let body = r#"{"data":{"a":"1","a":"2","a":"3"},"nope":1,"nope":{}}"#;
        let expected = [r#"duplicate field "data.a""#, r#"unknown field "nope""#, r#"duplicate field "nope""#];
        assert_eq!(problems(Some(CONFIG_MAP), body), expected);
    }

    #[test]
    fn a_hostile_document_is_refused_or_bounded() {
        assert!(decode("[".repeat(10_000).as_bytes(), None).is_err());
        let many: Vec<String> = (0..1000).map(|i| format!("\"x{i}\":1")).collect();
        assert_eq!(problems(Some(CONFIG_MAP), &format!("{{{}}}", many.join(","))).len(), PROBLEMS_MAX);
        assert!(decode(b"{} {}", None).is_err());
    }

    #[test]
    fn a_patched_object_is_checked_without_its_text() {
        let object = serde_json::json!({"metadata": {"nope": 1}, "spec": {"replicas": 1, "foo": {}}});
        let found = builtin().unknown_fields(DEPLOYMENT, &object);
        assert_eq!(found, [r#"unknown field "metadata.nope""#, r#"unknown field "spec.foo""#]);
    }

    proptest::proptest! {
        #[test]
        fn it_reads_what_serde_json_reads(text in r#"[\[\]{}",:0-9a-z .\-\\]{0,40}"#) {
            let ours = decode(text.as_bytes(), None).ok().map(|d| d.value);
            let theirs: Option<Value> = serde_json::from_str(&text).ok();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }
}
