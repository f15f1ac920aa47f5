//! OpenAPI: what can be done and with what, for `explain`, `diff`, `apply` and validation; version 3 as an index and a
//! document a group and version, version 2 as one document.
//!
//! A document is some megabytes while it is made, so one is made at a time, when somebody asks who does not have it yet;
//! only the hashes are kept.

mod gnostic;
mod operations;
mod parameters;
mod v2;
mod v3;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use coracle_api::failure::Failure;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use super::{groups, hash, hex, knows};
use crate::answer::{Refused, accept, json as json_answer};
use crate::chain::dispatch::no_such_page;
use crate::machine::Machine;
use crate::registry::Row;
use crate::request::parameter;
use crate::schema::Definitions;

/// What the documents are about.
const TITLE: &str = "Kubernetes";

/// How an object is sent.
const OBJECT_MEDIA: &[&str] = &["application/json", "application/yaml"];

/// How a list or the events of a watch are sent.
const STREAM_MEDIA: &[&str] = &["application/json", "application/json;stream=watch", "application/yaml"];

/// How a log is sent.
const LOG_MEDIA: &[&str] = &["text/plain"];

/// How a patch is sent.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// In which client-go asks for version 2, and the one that its parser takes for the answer.
const PROTOBUF_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// What is known about the documents. While the lock is held, one is made.
#[derive(Default)]
pub(crate) struct Documents(Mutex<Option<Known>>);

/// The hashes of the documents of some rows.
struct Known {
    rows: Arc<[Arc<Row>]>,
    /// Of version 3, by path.
    v3: BTreeMap<String, String>,
    /// Of version 2, by encoding.
    v2: BTreeMap<Encoding, String>,
}

/// How a document is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Encoding {
    Json,
    Protobuf,
}

/// `/openapi/v3`: which documents there are.
pub(crate) async fn index(State(machine): State<Arc<Machine>>, headers: HeaderMap) -> Response {
    aside(move || {
        let paths: Map<String, Value> = with_known(&machine, |known| {
            let url = |(path, hash): (&String, &String)| {
                (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
            };
            known.v3.iter().map(url).collect()
        });
        let bytes = Bytes::from(json!({"paths": paths}).to_string());
        let tag = hash(&bytes);
        tagged(&headers, &tag, Encoding::Json, || bytes)
    })
    .await
}

/// `/openapi/v3/apis/apps/v1`: one document. A client that names its hash may keep it for ever; one that names an old
/// hash is sent to the new one.
pub(crate) async fn document(
    State(machine): State<Arc<Machine>>,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let asked = parameter(query.as_deref().unwrap_or(""), "hash").filter(|hash| !hash.is_empty());
    aside(move || {
        let path = path.trim_matches('/');
        let Some(current) = with_known(&machine, |known| known.v3.get(path).cloned()) else { return no_such_page() };
        if asked.as_ref().is_some_and(|hash| *hash != current) {
            let moved = Redirect::permanent(&format!("/openapi/v3/{path}?hash={current}"));
            return (StatusCode::MOVED_PERMANENTLY, moved.into_response().headers().clone()).into_response();
        }
        if encoding(&headers) != Some(Encoding::Json) {
            return not_acceptable();
        }
        let mut response = tagged(&headers, &current, Encoding::Json, || {
            with_known(&machine, |_| make_v3(&machine, path)).unwrap_or_default()
        });
        if asked.is_some() {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        response
    })
    .await
}

/// `/openapi/v2`: everything in one document, as JSON or in Protocol Buffers.
pub(crate) async fn v2(State(machine): State<Arc<Machine>>, headers: HeaderMap) -> Response {
    let Some(encoding) = encoding(&headers) else { return not_acceptable() };
    aside(move || {
        let mut made = None;
        let tag = with_known(&machine, |known| match known.v2.get(&encoding) {
            Some(tag) => tag.clone(),
            None => {
                let bytes = make_v2(&machine, encoding);
                let tag = hash(&bytes);
                made = Some(bytes);
                known.v2.insert(encoding, tag.clone());
                tag
            }
        });
        tagged(&headers, &tag, encoding, || {
            made.unwrap_or_else(|| with_known(&machine, |_| make_v2(&machine, encoding)))
        })
    })
    .await
}

/// Does it where it keeps nobody waiting.
async fn aside(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(make)
        .await
        .unwrap_or_else(|error| Refused::from(Failure::Internal(error.to_string())).into_response())
}

/// Looks at what is known, after it has been brought up to date with the registry.
fn with_known<T>(machine: &Machine, look: impl FnOnce(&mut Known) -> T) -> T {
    let mut known = machine.discovery.openapi.0.lock().unwrap_or_else(PoisonError::into_inner);
    let rows = machine.registry.rows();
    if known.as_ref().is_none_or(|known| !Arc::ptr_eq(&known.rows, &rows)) {
        *known = None;
    }
    look(known.get_or_insert_with(|| {
        let definitions = Definitions::of(&rows);
        let documents = operations::documents(&groups(machine));
        let hashed = documents.iter().filter_map(|(path, paths)| {
            let mut digest = Hashing(Sha512::new());
            v3::write(paths, &definitions, &mut digest).ok()?;
            Some((path.clone(), hex(&digest.0.finalize())))
        });
        Known { v3: hashed.collect(), v2: BTreeMap::new(), rows }
    }))
}

/// What is written is hashed and not kept.
struct Hashing(Sha512);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn make_v3(machine: &Machine, path: &str) -> Option<Bytes> {
    let documents = operations::documents(&groups(machine));
    let (_, paths) = documents.iter().find(|(at, _)| at == path)?;
    let mut bytes = Vec::new();
    v3::write(paths, &Definitions::of(&machine.registry.rows()), &mut bytes).ok()?;
    Some(Bytes::from(bytes))
}

fn make_v2(machine: &Machine, encoding: Encoding) -> Bytes {
    let paths: Vec<_> = operations::documents(&groups(machine)).into_iter().flat_map(|(_, paths)| paths).collect();
    let document = v2::document(&paths, Definitions::of(&machine.registry.rows()));
    match encoding {
        Encoding::Json => Bytes::from(document.to_string()),
        Encoding::Protobuf => Bytes::from(gnostic::encode(&document)),
    }
}

/// The first encoding that a client takes.
fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.trim().is_empty() {
        return Some(Encoding::Json);
    }
    accept::ranges(accept).iter().find_map(|range| {
        if matches!(range.media(), PROTOBUF_ASKED | PROTOBUF) {
            return Some(Encoding::Protobuf);
        }
        range.is_plain_json().then_some(Encoding::Json)
    })
}

fn not_acceptable() -> Response {
    StatusCode::NOT_ACCEPTABLE.into_response()
}

/// A document under its tag, or that the client has it.
fn tagged(headers: &HeaderMap, tag: &str, encoding: Encoding, make: impl FnOnce() -> Bytes) -> Response {
    let tag = format!("\"{tag}\"");
    let mut response = if knows(headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = json_answer(StatusCode::OK, make());
        if encoding == Encoding::Protobuf {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        }
        response
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn version() -> String {
    super::version::spoken()
}
