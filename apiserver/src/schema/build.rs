//! Builds the schemas out of the types of `k8s-openapi`.
//!
//! What `schemars` says in JSON becomes a compact tree without descriptions; the JSON is dropped at once. Which types
//! there are is not said here: each kind names its own.

use std::collections::HashMap;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, ListMeta, Patch, Status, WatchEvent,
};
use k8s_openapi::apimachinery::pkg::version::Info;
use k8s_openapi::schemars::SchemaGenerator;
use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::facts::Fact;
use super::{Field, MapKey, Owned, Schemas, Shape, Type, TypeId, Zero, facts};
use crate::registry::Registry;

/// Where references point to.
pub(super) const REFERENCE: &str = "#/components/schemas/";

/// The schemas as JSON, by name.
pub(super) fn definitions() -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    for row in Registry::builtin().rows().iter() {
        row.strategy.describe(&mut generator);
    }
    others(&mut generator);
    generator.take_definitions(true)
}

/// What requests and answers are made of beside the kinds.
fn others(g: &mut SchemaGenerator) {
    g.subschema_for::<APIGroup>();
    g.subschema_for::<APIGroupList>();
    g.subschema_for::<APIResourceList>();
    g.subschema_for::<APIVersions>();
    g.subschema_for::<Binding>();
    g.subschema_for::<DeleteOptions>();
    g.subschema_for::<Eviction>();
    g.subschema_for::<Info>();
    g.subschema_for::<ListMeta>();
    g.subschema_for::<Patch>();
    g.subschema_for::<Scale>();
    g.subschema_for::<Status>();
    g.subschema_for::<TokenRequest>();
    g.subschema_for::<WatchEvent<Binding>>();
}

/// The schemas of all built-in kinds.
pub(super) fn builtin() -> Schemas {
    let definitions = definitions();
    let objects: Vec<(&String, &Map<String, Value>)> =
        definitions.iter().filter_map(|(name, schema)| Some((name, schema.get("properties")?.as_object()?))).collect();
    let by_name: HashMap<Box<str>, TypeId> =
        (0_u32..).zip(&objects).map(|(at, (name, _))| (name.as_str().into(), TypeId(at))).collect();
    let builder = Builder { definitions: &definitions, by_name: &by_name };
    let types = objects.iter().map(|(name, properties)| builder.object(name, properties)).collect();
    let by_name = by_name.into_iter().map(|(name, id)| (name, Shape::Object(id))).collect();
    Schemas { types, by_name }
}

struct Builder<'a> {
    definitions: &'a Map<String, Value>,
    by_name: &'a HashMap<Box<str>, TypeId>,
}

impl Builder<'_> {
    fn object(&self, name: &str, properties: &Map<String, Value>) -> Type {
        let field = |(field, schema): (&String, &Value)| Field {
            name: field.as_str().into(),
            shape: self.shape(schema),
            merge: facts::merge(name, field),
            owned: self.owned(name, field, schema),
            zero: zero(name, properties, field),
        };
        let mut fields: Vec<Field> = properties.iter().map(field).collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let is_null_time = |field: &&Field| field.shape == Shape::Time && field.zero == Zero::Null;
        let null_times = fields.iter().filter(is_null_time).map(|field| field.name.clone()).collect();
        Type { fields, null_times, whole: facts::is_atomic(name) }
    }

    fn owned(&self, name: &str, field: &str, schema: &Value) -> Owned {
        match facts::of(name, field) {
            None | Some(Fact::RetainKeys | Fact::Replaced) => Owned::ByType,
            Some(Fact::Atomic | Fact::AtomicForApply(_) | Fact::AtomicMap) => Owned::Whole,
            Some(Fact::GranularMap) => Owned::Parts,
            Some(Fact::Set | Fact::SetForApply) => Owned::Set,
            Some(Fact::Keyed(keys) | Fact::KeyedRetaining(keys) | Fact::KeyedForApply(keys)) => {
                let item = schema.get("items").and_then(reference).and_then(|name| self.definitions.get(name));
                let mut keys: Vec<MapKey> =
                    keys.iter().map(|key| MapKey { name: (*key).into(), default: key_default(item, key) }).collect();
                keys.sort_by(|a, b| a.name.cmp(&b.name));
                Owned::Keyed(keys.into())
            }
        }
    }

    fn shape(&self, schema: &Value) -> Shape {
        if let Some(name) = reference(schema) {
            return self.named(name);
        }
        let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "string" if text("format") == "byte" => Shape::Bytes,
            "string" if text("format") == "date-time" => Shape::Time,
            "string" => Shape::Text,
            "integer" => Shape::Integer,
            "number" => Shape::Number,
            "boolean" => Shape::Boolean,
            "array" => Shape::List(Box::new(schema.get("items").map_or(Shape::Any, |items| self.shape(items)))),
            "object" => match schema.get("additionalProperties") {
                Some(values) if values.is_object() => Shape::Map(Box::new(self.shape(values))),
                _ => Shape::Any,
            },
            _ => Shape::Any,
        }
    }

    fn named(&self, name: &str) -> Shape {
        match name.rsplit('.').next() {
            Some("Quantity") => Shape::Quantity,
            Some("IntOrString") => Shape::IntOrString,
            _ => match (self.by_name.get(name), self.definitions.get(name)) {
                (Some(id), _) => Shape::Object(*id),
                (None, Some(schema)) => self.shape(schema),
                (None, None) => Shape::Any,
            },
        }
    }
}

/// What a key of a list's items is where it is left out: upstream's schemas have the zero of the type as the default of
/// what is required.
fn key_default(item: Option<&Value>, key: &str) -> Option<Value> {
    if key == "protocol" {
        return Some("TCP".into());
    }
    let item = item?;
    let required = item.get("required").and_then(Value::as_array)?;
    let kind = item.get("properties")?.get(key)?.get("type").and_then(Value::as_str);
    required.iter().any(|r| r == key).then(|| if kind == Some("integer") { 0.into() } else { "".into() })
}

/// What an object of a type holds in a field that it was not given.
fn zero(name: &str, properties: &Map<String, Value>, field: &str) -> Zero {
    let content = matches!(field, "metadata" | "spec" | "status") && properties.contains_key("metadata");
    if content { Zero::Object } else { facts::zero(name, field) }
}

/// The name that a schema refers to, if it is a reference.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema.get("$ref").and_then(Value::as_str);
    let wrapped = || schema.pointer("/allOf/0/$ref").and_then(Value::as_str);
    direct.or_else(wrapped)?.strip_prefix(REFERENCE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ListMerge, builtin};

    #[test]
    fn fields_have_their_shapes() {
        let schemas = builtin();
        let shape = |root: &str, path: &[&str]| {
            let mut shape = schemas.root(root).clone();
            for name in path {
                let id = match &shape {
                    Shape::Object(id) => *id,
                    Shape::List(item) => match item.as_ref() {
                        Shape::Object(id) => *id,
                        other => panic!("{name} in {other:?}"),
                    },
                    other => panic!("{name} in {other:?}"),
                };
                shape = schemas.field(id, name).unwrap_or_else(|| panic!("no {name}")).shape.clone();
            }
            shape
        };
        let pod = "io.k8s.api.core.v1.Pod";
        let text = || Box::new(Shape::Text);
        assert_eq!(shape(pod, &["metadata", "labels"]), Shape::Map(text()));
        assert_eq!(shape(pod, &["metadata", "creationTimestamp"]), Shape::Time);
        assert_eq!(shape(pod, &["spec", "containers", "command"]), Shape::List(text()));
        assert_eq!(shape(pod, &["spec", "containers", "ports", "containerPort"]), Shape::Integer);
        assert_eq!(shape(pod, &["spec", "containers", "livenessProbe", "httpGet", "port"]), Shape::IntOrString);
        assert_eq!(shape(pod, &["spec", "containers", "resources", "limits"]), Shape::Map(Box::new(Shape::Quantity)));
        assert_eq!(shape(pod, &["metadata", "managedFields", "fieldsV1"]), Shape::Any);
        assert_eq!(shape("io.k8s.api.core.v1.Secret", &["data"]), Shape::Map(Box::new(Shape::Bytes)));
        assert_eq!(shape("io.k8s.api.coordination.v1.Lease", &["spec", "renewTime"]), Shape::Time);
    }

    #[test]
    fn lists_know_how_they_merge() {
        let schemas = builtin();
        let merge = |name: &str, field: &str| match schemas.root(name) {
            Shape::Object(id) => schemas.field(*id, field).map(|f| f.merge),
            other => panic!("{name} is {other:?}"),
        };
        let list = |name: &str, field: &str| merge(name, field).map(|m| m.list);
        assert_eq!(list("io.k8s.api.core.v1.PodSpec", "containers"), Some(ListMerge::ByKey("name")));
        assert_eq!(list("io.k8s.api.core.v1.PodSpec", "tolerations"), Some(ListMerge::Replace));
        assert_eq!(list("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers"), Some(ListMerge::Union));
        assert!(merge("io.k8s.api.apps.v1.DeploymentSpec", "strategy").is_some_and(|m| m.retain_keys));
    }

    #[test]
    fn every_kind_names_its_types() {
        for row in Registry::builtin().rows().iter() {
            assert!(
                matches!(builtin().root(row.schema), Shape::Object(_)),
                "{} has no schema {}",
                row.kind,
                row.schema
            );
        }
    }

    #[test]
    fn every_fact_is_about_a_field_that_exists() {
        let schemas = builtin();
        for (name, field) in facts::subjects() {
            let Shape::Object(id) = schemas.root(name) else { panic!("no type {name}") };
            assert!(schemas.field(*id, field).is_some(), "no field {field} in {name}");
        }
    }
}
