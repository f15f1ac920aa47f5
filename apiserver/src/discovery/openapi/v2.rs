//! Version 2: one document of everything, which older clients ask for.

use serde_json::{Map, Value, json};

use super::operations::{Body, Operation, Path, Shown};
use super::parameters::Parameter;
use super::{LOG_MEDIA, OBJECT_MEDIA, PATCHES, STREAM_MEDIA, TITLE, version};
use crate::schema::Definitions;

const DEFINITIONS: &str = "#/definitions/";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// The document of these paths.
pub(super) fn document(paths: &[Path], definitions: Definitions) -> Value {
    let mut shared = Map::new();
    let told: Map<String, Value> = paths.iter().map(|p| (p.at.clone(), path(p, &mut shared))).collect();
    let told = Value::Object(told);
    let mut schemas = definitions.into_reached(&told);
    schemas.values_mut().for_each(older);
    let mut told = json!({
        "swagger": "2.0",
        "info": {"title": TITLE, "version": version()},
        "paths": told,
        "definitions": schemas,
        "parameters": shared,
        "securityDefinitions": {"BearerToken":
            {"type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}},
        "security": [{"BearerToken": []}],
    });
    older_references(&mut told);
    told
}

/// Parameters of the query are stated once in the document, and referred to.
fn path(path: &Path, shared: &mut Map<String, Value>) -> Value {
    let common = path.common();
    let mut refer = |parameter: &Parameter| {
        let told = self::parameter(parameter);
        if parameter.name == "name" {
            return told;
        }
        let name = format!("{}-{}", parameter.name, parameter.place);
        let reference = json!({"$ref": format!("#/parameters/{name}")});
        shared.insert(name, told);
        reference
    };
    let mut told = Map::new();
    for operation in &path.operations {
        let own = operation.parameters.iter().filter(|p| !common.contains(p)).map(&mut refer).collect();
        told.insert(operation.method.to_owned(), self::operation(operation, own));
    }
    if !common.is_empty() {
        told.insert("parameters".to_owned(), common.into_iter().map(refer).collect());
    }
    Value::Object(told)
}

fn operation(operation: &Operation, own: Vec<Value>) -> Value {
    let (produces, schema) = shown(&operation.shown);
    let responses: Map<String, Value> = operation
        .codes
        .iter()
        .map(|(code, words)| (code.to_string(), json!({"description": words, "schema": schema})))
        .chain([("401".to_owned(), json!({"description": "Unauthorized"}))])
        .collect();
    let mut told = Map::new();
    told.insert("tags".to_owned(), json!([operation.tag]));
    told.insert("schemes".to_owned(), json!(["https"]));
    told.insert("description".to_owned(), operation.description.as_str().into());
    told.insert("operationId".to_owned(), operation.id.as_str().into());
    let consumes: &[&str] = if operation.body == Body::Patch { PATCHES } else { &["*/*"] };
    told.insert("consumes".to_owned(), json!(consumes));
    told.insert("produces".to_owned(), json!(produces));
    let parameters: Vec<Value> = body(&operation.body).into_iter().chain(own).collect();
    if !parameters.is_empty() {
        told.insert("parameters".to_owned(), Value::Array(parameters));
    }
    told.insert("responses".to_owned(), Value::Object(responses));
    if let Some(action) = operation.action {
        told.insert("x-kubernetes-action".to_owned(), action.into());
    }
    if let Some((group, version, kind)) = operation.kind {
        let kind = json!({"group": group, "version": version, "kind": kind});
        told.insert("x-kubernetes-group-version-kind".to_owned(), kind);
    }
    Value::Object(told)
}

fn parameter(parameter: &Parameter) -> Value {
    let mut told = json!({
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "type": parameter.kind,
        "uniqueItems": true,
    });
    if parameter.place == "path" {
        crate::object::map_mut(&mut told).insert("required".to_owned(), true.into());
    }
    told
}

/// A reference as the definitions hold it; it is turned into one of this version with all others.
fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn body(body: &Body) -> Option<Value> {
    let of = |schema: &str| json!({"name": "body", "in": "body", "schema": reference(schema)});
    let required = |mut told: Value| {
        crate::object::map_mut(&mut told).insert("required".to_owned(), true.into());
        told
    };
    match body {
        Body::None => None,
        Body::Object(schema) => Some(required(of(schema))),
        Body::Options => Some(of(DELETE_OPTIONS)),
        Body::Patch => Some(required(of(PATCH))),
    }
}

fn shown(shown: &Shown) -> (&'static [&'static str], Value) {
    match shown {
        Shown::Object(schema) => (OBJECT_MEDIA, reference(schema)),
        Shown::Stream(schema) => (STREAM_MEDIA, reference(schema)),
        Shown::Json(schema) => (&["application/json"], reference(schema)),
        Shown::Raw => (&["*/*"], json!({"type": "string"})),
        Shown::Log => (LOG_MEDIA, json!({"type": "string"})),
    }
}

/// A schema as this version has it: without defaults and alternatives, and a reference may have words beside it.
fn older(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    map.remove("default");
    if map.remove("oneOf").is_some() {
        map.insert("type".to_owned(), "string".into());
    }
    if let Some(Value::Array(of)) = map.remove("allOf") {
        of.into_iter()
            .filter_map(|part| part.get("$ref").cloned())
            .for_each(|r| drop(map.insert("$ref".to_owned(), r)));
    }
    for key in ["items", "additionalProperties"] {
        map.get_mut(key).into_iter().for_each(older);
    }
    let properties = map.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(|p| p.values_mut()).for_each(older);
}

fn older_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(name) = reference.strip_prefix("#/components/schemas/")
            {
                *reference = format!("{DEFINITIONS}{name}");
            }
            map.values_mut().for_each(older_references);
        }
        Value::Array(items) => items.iter_mut().for_each(older_references),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
