//! The rules by example: a fragment of a pod, and what is told of it, in the words and the order of upstream.

mod containers;
mod placement;
mod pods;
mod security;
mod volumes;
mod warnings;

use expect_test::Expect;
use serde_json::{Value, json};

use crate::registry::{Registry, Row};

fn row(kind: &str) -> std::sync::Arc<Row> {
    Registry::builtin().rows().iter().find(|r| r.kind == kind).cloned().unwrap()
}

/// A pod as it is created; what the fragment does not say is that of a plain pod.
fn pod(spec: Value) -> Value {
    let mut all = json!({"containers": [{"name": "c", "image": "i:1"}]});
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    created(json!({"metadata": {"name": "x", "namespace": "n"}, "spec": all}))
}

fn created(mut object: Value) -> Value {
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("Pod");
    let strategy = &row("Pod").strategy;
    let mut object = strategy.default(object).unwrap();
    strategy.prepare_for_create(&mut object);
    object
}

/// What is told of a pod with this spec.
fn check(spec: Value, expected: Expect) {
    told(&pod(spec), expected);
}

/// What is told of a pod with a container of these fields.
fn check_container(fields: Value, expected: Expect) {
    check(json!({"containers": [container(fields)], "volumes": [{"name": "v"}]}), expected);
}

fn container(fields: Value) -> Value {
    let mut all = json!({"name": "c", "image": "i:1"});
    all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    all
}

fn told(object: &Value, expected: Expect) {
    let errors = row("Pod").strategy.validate(object);
    expected.assert_eq(&errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

/// The default at a place of a pod with this spec.
fn filled(spec: Value, pointer: &str, expected: Expect) {
    expected.assert_eq(&pod(spec).pointer(pointer).cloned().unwrap_or_default().to_string());
}
