//! Version 3: a document of some paths, with the schemas that they reach.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::operations::{Body, Operation, Path, Shown};
use super::parameters::Parameter;
use super::{PATCHES, TITLE, version};
use crate::schema::Definitions;

const SCHEMAS: &str = "#/components/schemas/";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Writes the document of these paths.
pub(super) fn write(
    paths: &[Path],
    definitions: &Definitions,
    to: impl std::io::Write,
) -> Result<(), serde_json::Error> {
    let told: Map<String, Value> = paths.iter().map(|p| (p.at.clone(), path(p))).collect();
    let told = Value::Object(told);
    let schemas = definitions.reached(&told);
    let document = Document {
        openapi: "3.0.0",
        info: json!({"title": TITLE, "version": version()}),
        paths: &told,
        components: Components {
            schemas,
            security_schemes: json!({"BearerToken": {
                "type": "apiKey", "in": "header", "name": "authorization", "description": "Bearer Token authentication"}}),
        },
    };
    serde_json::to_writer(to, &document)
}

#[derive(Serialize)]
struct Document<'a> {
    openapi: &'static str,
    info: Value,
    paths: &'a Value,
    components: Components<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components<'a> {
    schemas: BTreeMap<&'a str, &'a Value>,
    security_schemes: Value,
}

fn path(path: &Path) -> Value {
    let common = path.common();
    let mut told: Map<String, Value> = path
        .operations
        .iter()
        .map(|operation| (operation.method.to_owned(), self::operation(operation, &common)))
        .collect();
    if !common.is_empty() {
        told.insert("parameters".to_owned(), common.into_iter().map(parameter).collect());
    }
    Value::Object(told)
}

fn operation(operation: &Operation, common: &[&Parameter]) -> Value {
    let responses: Map<String, Value> = operation
        .codes
        .iter()
        .map(|(code, words)| (code.to_string(), json!({"description": words, "content": shown(&operation.shown)})))
        .chain([("401".to_owned(), json!({"description": "Unauthorized"}))])
        .collect();
    let mut told = Map::new();
    told.insert("tags".to_owned(), json!([operation.tag]));
    told.insert("description".to_owned(), operation.description.as_str().into());
    told.insert("operationId".to_owned(), operation.id.as_str().into());
    let own: Vec<Value> = operation.parameters.iter().filter(|p| !common.contains(p)).map(parameter).collect();
    if !own.is_empty() {
        told.insert("parameters".to_owned(), Value::Array(own));
    }
    if let Some(body) = body(&operation.body) {
        told.insert("requestBody".to_owned(), body);
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
        "schema": {"type": parameter.kind, "uniqueItems": true},
    });
    if parameter.place == "path" {
        crate::object::map_mut(&mut told).insert("required".to_owned(), true.into());
    }
    told
}

fn reference(name: &str) -> Value {
    json!({"schema": {"$ref": format!("{SCHEMAS}{name}")}})
}

fn body(body: &Body) -> Option<Value> {
    match body {
        Body::None => None,
        Body::Object(schema) => Some(json!({"content": {"*/*": reference(schema)}, "required": true})),
        Body::Options => Some(json!({"content": {"*/*": reference(DELETE_OPTIONS)}})),
        Body::Patch => {
            let content: Map<String, Value> =
                PATCHES.iter().map(|media| ((*media).to_owned(), reference(PATCH))).collect();
            Some(json!({"content": content, "required": true}))
        }
    }
}

fn shown(shown: &Shown) -> Value {
    let of = |media: &[&str], what: Value| -> Value {
        media.iter().map(|media| ((*media).to_owned(), what.clone())).collect::<Map<_, _>>().into()
    };
    match shown {
        Shown::Object(schema) => of(super::OBJECT_MEDIA, reference(schema)),
        Shown::Stream(schema) => of(super::STREAM_MEDIA, reference(schema)),
        Shown::Json(schema) => of(&["application/json"], reference(schema)),
        Shown::Raw => of(&["*/*"], json!({"schema": {"type": "string"}})),
        Shown::Log => of(super::LOG_MEDIA, json!({"schema": {"type": "string"}})),
    }
}
