//! The `scale` subresource: a workload seen as a number of replicas.
//!
//! It reads and writes the object's own fields and keeps nothing itself.

use coracle_api::field::FieldError;
use coracle_api::selector::Selector;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::registry::Unparsable;
use crate::schema;

/// Name of the root schema of a Scale.
pub const SCHEMA: &str = "io.k8s.api.autoscaling.v1.Scale";

/// The metadata that a Scale has of its object.
const METADATA: [&str; 5] = ["creationTimestamp", "name", "namespace", "resourceVersion", "uid"];

/// The Scale of an object.
#[must_use]
pub fn of(object: &Value) -> Value {
    let own = object.get("metadata").and_then(Value::as_object);
    let metadata: Map<String, Value> = own
        .into_iter()
        .flatten()
        .filter(|(field, _)| METADATA.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let selector = object.pointer("/spec/selector").and_then(selector_of);
    let selector = selector.and_then(|s| Selector::from_structured(&s).ok()).map(|s| s.to_string());
    json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": metadata,
        "spec": replicas(number("/spec/replicas")),
        "status": {"replicas": number("/status/replicas"), "selector": selector.unwrap_or_default()},
    })
}

/// A selector, or the plain labels by which ReplicationControllers select.
fn selector_of(selector: &Value) -> Option<LabelSelector> {
    let plain = selector.as_object()?.values().all(Value::is_string);
    let labels = || serde_json::from_value(selector.clone()).ok();
    if plain {
        Some(LabelSelector { match_labels: labels(), ..LabelSelector::default() })
    } else {
        LabelSelector::deserialize(selector).ok()
    }
}

/// Upstream leaves a zero out.
fn replicas(number: i64) -> Value {
    if number == 0 { json!({}) } else { json!({"replicas": number}) }
}

/// Reads a Scale that a client sent, without what it does not have.
///
/// # Errors
/// What is not a Scale, in a form fit for a 400.
pub fn parse(scale: Value) -> Result<Value, Unparsable> {
    let scale = schema::builtin().mend(SCHEMA, scale).map_err(Unparsable)?;
    let scale = Scale::deserialize(scale).map_err(|e| Unparsable(e.to_string()))?;
    serde_json::to_value(scale).map_err(|e| Unparsable(e.to_string()))
}

fn wanted(scale: &Value) -> i64 {
    scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0)
}

/// The rules for a Scale.
#[must_use]
pub fn validate(scale: &Value) -> Vec<FieldError> {
    let replicas = wanted(scale);
    if replicas >= 0 {
        return Vec::new();
    }
    vec![FieldError::invalid("spec.replicas", replicas, "must be greater than or equal to 0")]
}

/// Writes the number of replicas into the object.
pub fn apply(object: &mut Value, scale: &Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".to_owned(), wanted(scale).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(replicas: i64) -> Value {
        json!({
            "metadata": {"name": "d", "namespace": "n", "uid": "u", "resourceVersion": "1", "labels": {"a": "b"}},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "x"}}},
            "status": {"replicas": 1},
        })
    }

    #[test]
    fn a_scale_shows_what_its_object_has() {
        expect_test::expect![[r#"{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d","namespace":"n","resourceVersion":"1","uid":"u"},"spec":{"replicas":2},"status":{"replicas":1,"selector":"app=x"}}"#]]
            .assert_eq(&of(&deployment(2)).to_string());
        assert_eq!(of(&deployment(0))["spec"], json!({}));
    }

    #[test]
    fn a_scale_is_checked_and_applied() {
        let scale = |spec: Value| parse(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": spec}));
        assert!(
            scale(json!({"replicas": "x"})).is_err_and(|e| e.0.starts_with("spec.replicas: must be a whole number"))
        );
        let negative: Vec<String> =
            validate(&scale(json!({"replicas": -1})).unwrap()).iter().map(ToString::to_string).collect();
        assert_eq!(negative, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]);
        let mut object = deployment(2);
        apply(&mut object, &scale(json!({"replicas": 5})).unwrap());
        assert_eq!(object["spec"]["replicas"], json!(5));
    }
}
