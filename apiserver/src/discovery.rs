//! What clients can find out: groups, versions, resources, schemas.
//!
//! Everything is told from the registry's rows; nothing is stated twice.

pub(crate) mod openapi;
pub(crate) mod openid;
pub(crate) mod version;

mod aggregated;
mod legacy;
mod order;
mod resource;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use coracle_api::failure::Failure;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::answer::{self, Answer, Form, Refused, accept};
use crate::chain::dispatch::no_such_page;
use crate::health;
use crate::machine::Machine;
use crate::registry::Row;
use crate::request::ResourcePath;

/// Paths that are there beside groups and health.
const PATHS: [&str; 7] = [
    "/.well-known/openid-configuration",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openapi/v3/",
    "/openid/v1/jwks",
    "/version",
];

/// What discovery needs beside the registry.
pub(crate) struct Discovery {
    /// Where clients reach this server.
    address: SocketAddr,
    openapi: openapi::Documents,
}

impl Discovery {
    /// Of a server at this address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, openapi: openapi::Documents::default() }
    }
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
    groups.sort_by(|a, b| order::of_group(a.name).cmp(&order::of_group(b.name)));
    for group in &mut groups {
        group.versions.sort_by(|(a, _), (b, _)| order::of_version(a).cmp(&order::of_version(b)));
    }
    groups
}

/// The path of a group and version below the root: `api/v1`, `apis/apps/v1`.
pub(crate) fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `/`: which paths there are.
pub(crate) async fn index(State(machine): State<Arc<Machine>>, head: Parts) -> Response {
    let mut paths: Vec<String> = ["/api", "/apis", "/apis/"].iter().chain(&PATHS).map(|p| (*p).to_owned()).collect();
    for group in groups(&machine) {
        if !group.name.is_empty() {
            paths.push(format!("/apis/{}", group.name));
        }
        paths.extend(group.versions.iter().map(|(version, _)| format!("/{}", base(group.name, version))));
    }
    paths.extend(health::paths());
    paths.sort();
    respond(show(&head, &json!({"paths": paths})))
}

/// `/api`: the versions of the core group, or all its resources at once.
pub(crate) async fn api(State(machine): State<Arc<Machine>>, head: Parts) -> Response {
    let groups = groups(&machine);
    let core = groups.iter().filter(|g| g.name.is_empty());
    if wants_aggregated(&head.headers) {
        return etagged(&head.headers, &aggregated::list(core));
    }
    respond(show(&head, &legacy::api_versions(core, machine.discovery.address)))
}

/// `/apis`: the other groups, or all their resources at once.
pub(crate) async fn apis(State(machine): State<Arc<Machine>>, head: Parts) -> Response {
    let groups = groups(&machine);
    let named = groups.iter().filter(|g| !g.name.is_empty());
    if wants_aggregated(&head.headers) {
        return etagged(&head.headers, &aggregated::list(named));
    }
    respond(show(&head, &legacy::group_list(named)))
}

/// `/apis/group` and `/apis/group/version`, `/api/v1`: what is no resource.
pub(crate) fn group(machine: &Machine, head: &Parts) -> Answer {
    let path = head.uri.path();
    let mut parts = path.trim_matches('/').split('/');
    let (name, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("api"), Some(version), None, None) => ("", Some(version)),
        (Some("apis"), Some(group), version, None) if !group.is_empty() => (group, version),
        _ => return Ok(no_such_page()),
    };
    let groups = groups(machine);
    let Some(group) = groups.iter().find(|g| g.name == name) else { return Ok(no_such_page()) };
    let told = match version {
        None => legacy::group(group, legacy::Standing::Alone),
        Some(version) => match group.versions.iter().find(|(v, _)| *v == version) {
            Some((version, rows)) => legacy::resources(name, version, rows),
            None => return Err(Failure::NoSuchPath.into()),
        },
    };
    show(head, &told)
}

/// A resource that is not there: of a known group a `Status`, else no page at all.
pub(crate) fn no_such_resource(machine: &Machine, path: &ResourcePath) -> Answer {
    let known = machine.registry.rows().iter().any(|row| row.group == path.group);
    if known { Err(Failure::NoSuchPath.into()) } else { Ok(no_such_page()) }
}

/// What is answered to another method than GET where there is a document and nothing else.
pub(crate) async fn only_read() -> Response {
    Refused::from(Failure::MethodNotAllowed).into_response()
}

/// A document as the client wants it encoded.
pub(crate) fn show(head: &Parts, document: &Value) -> Answer {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Failure::MethodNotAllowed.into());
    }
    let wanted = accept::wanted(&head.headers, head.uri.query().unwrap_or(""))?;
    match wanted.form {
        Form::Object => Ok(answer::value(StatusCode::OK, document, wanted.encoding)),
        Form::Table(_) | Form::Metadata | Form::MetadataList => Err(accept::not_acceptable(&head.headers).into()),
    }
}

fn respond(answer: Answer) -> Response {
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// Whether the client asks for aggregated discovery.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let mut ranges = accept::ranges(accept).into_iter();
    ranges.find(|r| r.is_discovery() || r.is_plain_json()).is_some_and(|r| r.is_discovery())
}

/// An aggregated document with its hash, or that it has not changed.
fn etagged(headers: &HeaderMap, document: &Value) -> Response {
    let bytes = Bytes::from(document.to_string());
    let tag = format!("\"{}\"", hash(&bytes));
    let known = knows(headers, &tag);
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { answer::json(StatusCode::OK, bytes) };
    let headers = response.headers_mut();
    if !known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(aggregated::MEDIA_TYPE));
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    response
}

/// Whether the client says that it has what this tag names.
fn knows(headers: &HeaderMap, tag: &str) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

/// A short name for content.
fn hash(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02X}")).collect()
}
