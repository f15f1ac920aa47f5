//! OpenAPI v3: an index of documents, and a document a group and version, for `explain`, `diff` and validation.
//!
//! Documents are made once, on first need, out of the registry's rows and their schemas.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::{groups, hash};
use crate::answer;
use crate::chain::dispatch::no_such_page;
use crate::machine::Machine;
use crate::registry::{Row, Scope};
use crate::schema;

/// A document, encoded, with its hash.
#[derive(Debug)]
pub(crate) struct Document {
    bytes: Bytes,
    hash: String,
}

/// `/openapi/v3`: which documents there are.
pub(crate) async fn index(State(machine): State<Arc<Machine>>) -> Response {
    let paths: Map<String, Value> = documents(&machine)
        .iter()
        .map(|(path, document)| {
            (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", document.hash)}))
        })
        .collect();
    answer::json(StatusCode::OK, json!({"paths": paths}).to_string())
}

/// `/openapi/v3/apis/apps/v1`: one document. A client that names its hash may keep it for ever.
pub(crate) async fn document(State(machine): State<Arc<Machine>>, Path(path): Path<String>) -> Response {
    let Some(document) = documents(&machine).get(path.trim_matches('/')) else { return no_such_page() };
    let mut response = answer::json(StatusCode::OK, document.bytes.clone());
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(CACHE_CONTROL, forever);
    response
}

/// The media type in which client-go asks for v2, and the one that its parser takes for the answer.
const V2_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const V2_ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v2`: a document without paths and definitions; all there is to say is in v3. kubectl asks for it before it
/// says that a kind does not exist, and takes its absence for a broken server.
pub(crate) async fn v2(headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let asked = |range: &str| range.trim().starts_with(V2_ASKED) || range.trim().starts_with(V2_ANSWERED);
    if accept.split(',').any(asked) {
        // In protobuf, a document with nothing set has no bytes.
        return ([(CONTENT_TYPE, V2_ANSWERED)], Bytes::new()).into_response();
    }
    let version = format!("v{}", env!("CARGO_PKG_VERSION"));
    let document = json!({"swagger": "2.0", "info": {"title": "Coracle", "version": version}, "paths": {}});
    answer::json(StatusCode::OK, document.to_string())
}

fn documents(machine: &Machine) -> &BTreeMap<String, Document> {
    machine.discovery.documents.get_or_init(|| {
        let groups = groups(machine);
        let versions = groups.iter().flat_map(|g| g.versions.iter().map(|(v, rows)| (g.name, *v, rows)));
        versions
            .map(|(group, version, rows)| {
                let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
                let bytes = Bytes::from(describe(&path, rows).to_string());
                let hash = hash(&bytes);
                (path, Document { bytes, hash })
            })
            .collect()
    })
}

fn describe(base: &str, rows: &[Arc<Row>]) -> Value {
    let mut paths = Map::new();
    for row in rows {
        describe_row(&format!("/{base}"), row, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.37.0"},
        "paths": paths,
        "components": {"schemas": schema::builtin().components_for(rows)},
    })
}

fn describe_row(base: &str, row: &Row, paths: &mut Map<String, Value>) {
    let collection = match row.scope {
        Scope::Namespaced => format!("{base}/namespaces/{{namespace}}/{}", row.plural),
        Scope::Cluster => format!("{base}/{}", row.plural),
    };
    if row.scope == Scope::Namespaced {
        paths.insert(format!("{base}/{}", row.plural), path(row, &[("get", "list")], Named::All));
    }
    let whole = [("get", "list"), ("post", "post"), ("delete", "deletecollection")];
    paths.insert(collection.clone(), path(row, &whole, Named::Collection));
    let one = [("get", "get"), ("put", "put"), ("patch", "patch"), ("delete", "delete")];
    paths.insert(format!("{collection}/{{name}}"), path(row, &one, Named::Object));
    for subresource in row.subresources {
        let operations: Vec<(&str, &str)> = subresource
            .verbs()
            .iter()
            .map(|verb| match *verb {
                "update" => ("put", "put"),
                "patch" => ("patch", "patch"),
                "create" => ("post", "connect"),
                _ => ("get", "get"),
            })
            .collect();
        let at = format!("{collection}/{{name}}/{}", subresource.name());
        paths.insert(at, path(row, &operations, Named::Object));
    }
}

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The collections of all namespaces.
    All,
    /// One collection.
    Collection,
    /// One object.
    Object,
}

fn path(row: &Row, operations: &[(&str, &str)], named: Named) -> Value {
    let mut told = Map::new();
    for (method, action) in operations {
        told.insert((*method).to_owned(), operation(row, method, action));
    }
    let mut parameters = Vec::new();
    if named == Named::Object {
        parameters.push(parameter("name", "path", "string"));
    }
    if row.scope == Scope::Namespaced && named != Named::All {
        parameters.push(parameter("namespace", "path", "string"));
    }
    told.insert("parameters".to_owned(), Value::Array(parameters));
    Value::Object(told)
}

fn operation(row: &Row, method: &str, action: &str) -> Value {
    let body = json!({"$ref": format!("#/components/schemas/{}", row.schema)});
    let answer = if action == "list" { json!({"type": "object"}) } else { body.clone() };
    let mut told = json!({
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": row.group, "version": row.version, "kind": row.kind},
    });
    let map = crate::object::map_mut(&mut told);
    let query: &[(&str, &str)] = match method {
        "post" | "put" | "patch" => &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")],
        "delete" => &[
            ("dryRun", "string"),
            ("gracePeriodSeconds", "integer"),
            ("orphanDependents", "boolean"),
            ("propagationPolicy", "string"),
        ],
        _ => &[],
    };
    if !query.is_empty() {
        let query = query.iter().map(|(name, kind)| parameter(name, "query", kind)).collect();
        map.insert("parameters".to_owned(), Value::Array(query));
    }
    let content = match method {
        "post" | "put" => Some(json!({"application/json": {"schema": body}, "application/yaml": {"schema": body}})),
        "patch" => {
            let any = json!({"schema": {"type": "object"}});
            Some(json!({"application/json-patch+json": {"schema": {"type": "array", "items": {"type": "object"}}},
                "application/merge-patch+json": any, "application/strategic-merge-patch+json": any}))
        }
        _ => None,
    };
    if let Some(content) = content {
        map.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
    }
    told
}

fn parameter(name: &str, place: &str, kind: &str) -> Value {
    let mut told = json!({"name": name, "in": place, "schema": {"type": kind, "uniqueItems": true}});
    if place == "path" {
        crate::object::map_mut(&mut told).insert("required".to_owned(), true.into());
    }
    told
}
