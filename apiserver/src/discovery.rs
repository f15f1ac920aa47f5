//! What clients can find out: groups, versions, resources, schemas.
//!
//! Everything is told from the registry's rows; nothing is stated twice.

pub(crate) mod aggregated;
pub(crate) mod legacy;
pub(crate) mod openapi;
pub(crate) mod version;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::OnceLock;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use coracle_api::failure::Failure;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};

use crate::answer::{self, Answer, Encoding};
use crate::chain::dispatch::{no_such_page, wants_aggregated};
use crate::machine::Machine;
use crate::registry::Row;
use crate::request::ResourcePath;

/// What has been worked out once, on first need.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    documents: OnceLock<BTreeMap<String, openapi::Document>>,
}

/// A group with its versions, the preferred one first, and their rows.
pub(crate) struct Group {
    /// Its name; empty for the core group.
    pub(crate) name: &'static str,
    /// Its versions.
    pub(crate) versions: Vec<(&'static str, Vec<Arc<Row>>)>,
}

/// The groups in the order in which they are told.
pub(crate) fn groups(machine: &Machine) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for row in machine.registry.rows().iter() {
        let at = groups.iter().position(|g| g.name == row.group).unwrap_or_else(|| {
            groups.push(Group { name: row.group, versions: Vec::new() });
            groups.len() - 1
        });
        let Some(group) = groups.get_mut(at) else { continue };
        match group.versions.iter_mut().find(|(version, _)| *version == row.version) {
            Some((_, rows)) => rows.push(Arc::clone(row)),
            None => group.versions.push((row.version, vec![Arc::clone(row)])),
        }
    }
    groups
}

/// `/api`: the versions of the core group, or all its resources at once.
pub(crate) async fn api(State(machine): State<Arc<Machine>>, request: Request) -> Response {
    if wants_aggregated(request.headers()) {
        let groups = groups(&machine);
        return etagged(request.headers(), &aggregated::list(groups.iter().filter(|g| g.name.is_empty())));
    }
    answer::value(StatusCode::OK, &legacy::api_versions(), Encoding::Json)
}

/// `/apis`: the other groups, or all their resources at once.
pub(crate) async fn apis(State(machine): State<Arc<Machine>>, request: Request) -> Response {
    let groups = groups(&machine);
    let named = groups.iter().filter(|g| !g.name.is_empty());
    if wants_aggregated(request.headers()) {
        return etagged(request.headers(), &aggregated::list(named));
    }
    answer::value(StatusCode::OK, &legacy::group_list(named), Encoding::Json)
}

/// `/apis/group` and `/apis/group/version`, `/api/v1`: what is no resource.
pub(crate) fn group(machine: &Machine, method: &Method, path: &str) -> Answer {
    let mut parts = path.trim_matches('/').split('/');
    let (name, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some(version), None, None) => ("", Some(version)),
        (Some("api"), None, None, None) => ("", None),
        (Some("apis"), Some(group), version, None) => (group, version),
        _ => return Ok(no_such_page()),
    };
    let groups = groups(machine);
    let Some(group) = groups.iter().find(|g| g.name == name) else { return Ok(no_such_page()) };
    if *method != Method::GET && *method != Method::HEAD {
        return Err(Failure::MethodNotAllowed.into());
    }
    let told = match version {
        None if name.is_empty() => legacy::api_versions(),
        None => legacy::group(group, legacy::Standing::Alone),
        Some(version) => match group.versions.iter().find(|(v, _)| *v == version) {
            Some((version, rows)) => legacy::resources(name, version, rows),
            None => return Err(Failure::NoSuchPath.into()),
        },
    };
    Ok(answer::value(StatusCode::OK, &told, Encoding::Json))
}

/// A resource that is not there: of a known group a `Status`, else no page at all.
pub(crate) fn no_such_resource(machine: &Machine, path: &ResourcePath) -> Answer {
    let known = machine.registry.rows().iter().any(|row| row.group == path.group);
    if known { Err(Failure::NoSuchPath.into()) } else { Ok(no_such_page()) }
}

/// An aggregated document with its hash, or that it has not changed.
fn etagged(headers: &HeaderMap, document: &serde_json::Value) -> Response {
    let bytes = Bytes::from(document.to_string());
    let tag = format!("\"{}\"", hash(&bytes));
    let known = headers.get(IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes());
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { answer::json(StatusCode::OK, bytes) };
    let headers = response.headers_mut();
    if !known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(aggregated::MEDIA_TYPE));
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// A short name for content.
pub(crate) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02X}")).collect()
}
