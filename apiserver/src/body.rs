//! Bodies of requests: read up to a limit, decoded from JSON, YAML or Protocol Buffers, checked to be the kind they are sent as.

pub(crate) mod yaml;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use coracle_api::failure::Failure;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::answer::Refused;
use crate::options::write::FieldValidation;
use crate::proto;
use crate::registry::Row;
use crate::schema;

/// The largest body of a request: upstream's limit, twice the largest object.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// How much of a body is read only to be dropped.
const DRAINED_BYTES_MAX: usize = 256 * 1024;

/// The largest excerpt of a body that an error shows.
const EXCERPT_BYTES_MAX: usize = 128;

/// Reads a whole body.
pub(crate) async fn read(body: axum::body::Body) -> Result<Bytes, Refused> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let why = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            Err(Failure::TooLarge(why).into())
        }
        Err(error) => Err(Refused::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// A refusal before the body was read: what is left of it is read and dropped, since a connection with an unread body
/// cannot be used again. A large one is not worth it.
pub(crate) async fn refuse(sent: axum::body::Body, refused: Refused) -> Response {
    let _ = Limited::new(sent, DRAINED_BYTES_MAX).collect().await;
    refused.into_response()
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Yaml,
    Protobuf,
}

fn media(headers: &HeaderMap) -> Result<Media, Refused> {
    let stated = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    match stated.split(';').next().unwrap_or("").trim() {
        "" | "application/json" => Ok(Media::Json),
        "application/yaml" => Ok(Media::Yaml),
        proto::MEDIA_TYPE => Ok(Media::Protobuf),
        _ => {
            let accepted = format!("application/json, application/yaml, {}", proto::MEDIA_TYPE);
            Err(Failure::UnsupportedMediaType(accepted).into())
        }
    }
}

/// A body that has been decoded.
#[derive(Debug, Clone)]
pub(crate) struct Decoded {
    /// The object.
    pub(crate) object: Value,
    /// What is odd about it, as warnings.
    pub(crate) warnings: Vec<String>,
}

/// What a body must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// `apps/v1`.
    pub(crate) api_version: &'a str,
    /// `Deployment`.
    pub(crate) kind: &'a str,
    /// The name of its schema, for checking fields.
    pub(crate) schema: Option<&'a str>,
}

/// Decodes an object of a kind.
pub(crate) fn object(
    bytes: &Bytes,
    headers: &HeaderMap,
    expected: &Expected<'_>,
    validation: FieldValidation,
) -> Result<Decoded, Refused> {
    let json = match media(headers)? {
        Media::Json => bytes.clone(),
        Media::Yaml => yaml(bytes, expected.kind)?,
        Media::Protobuf => protobuf(bytes, expected.api_version, expected.kind)?,
    };
    let schema = expected.schema.filter(|_| validation != FieldValidation::Ignore);
    let decoded = schema::decode(&json, schema).map_err(|e| unrecognized(expected.kind, &json, &e.to_string()))?;
    let (object, problems) = (decoded.value, decoded.problems);
    if !object.is_object() {
        return Err(unrecognized(expected.kind, &json, "the body is not an object"));
    }
    let object = check_kind(object, expected)?;
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(unhandled(expected.kind, expected, &strict_problems(&problems)))
        }
        FieldValidation::Ignore => Ok(Decoded { object, warnings: Vec::new() }),
        FieldValidation::Strict | FieldValidation::Warn => Ok(Decoded { object, warnings: problems }),
    }
}

/// Unknown and duplicate fields in one sentence.
pub(crate) fn strict_problems(problems: &[String]) -> String {
    format!("strict decoding error: {}", problems.join(", "))
}

/// A refusal because a body is not of the kind.
pub(crate) fn unparsable(row: &Row, why: &str) -> Refused {
    let expected = Expected { api_version: row.version, kind: row.kind, schema: None };
    unhandled(row.kind, &expected, why)
}

/// Decodes an option body such as `DeleteOptions`; nothing if the body is empty.
pub(crate) fn options(bytes: &Bytes, headers: &HeaderMap, kind: &str) -> Result<Option<Value>, Refused> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let json = match media(headers)? {
        Media::Json => bytes.clone(),
        Media::Yaml => yaml(bytes, kind)?,
        Media::Protobuf => protobuf(bytes, "v1", kind)?,
    };
    let undecodable = |e| Refused::unclassified(format!("couldn't get version/kind; json parse error: {e}"));
    let value: Value = serde_json::from_slice(&json).map_err(undecodable)?;
    let stated = value.get("kind").and_then(Value::as_str).unwrap_or(kind);
    if stated != kind {
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or("");
        return Err(Refused::unclassified(format!("no kind {stated:?} is registered for version {version:?}")));
    }
    Ok(Some(value))
}

fn yaml(bytes: &Bytes, kind: &str) -> Result<Bytes, Refused> {
    match yaml::parse(bytes) {
        Ok(value) => Ok(value.to_string().into()),
        Err(error) => Err(unrecognized(kind, bytes, &format!("yaml: {error}"))),
    }
}

fn protobuf(bytes: &Bytes, api_version: &str, kind: &str) -> Result<Bytes, Refused> {
    match proto::decode(bytes, api_version, kind) {
        Ok(value) => Ok(value.to_string().into()),
        Err(error) => Err(unrecognized(kind, &Bytes::new(), &error.to_string())),
    }
}

fn check_kind(mut object: Value, expected: &Expected<'_>) -> Result<Value, Refused> {
    for (field, wanted) in [("apiVersion", expected.api_version), ("kind", expected.kind)] {
        let stated = object.get(field).and_then(Value::as_str).unwrap_or("");
        if stated.is_empty() {
            object.as_object_mut().map(|o| o.insert(field.to_owned(), wanted.into()));
        } else if stated != wanted {
            let (version, kind) = (object.get("apiVersion"), object.get("kind"));
            let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or("").to_owned();
            let (version, kind) = (text(version), text(kind));
            let why = format!("no kind {kind:?} is registered for version {version:?} here");
            let sent = Expected { api_version: &version, ..*expected };
            return Err(unhandled(&kind, &sent, &why));
        }
    }
    Ok(object)
}

fn unhandled(stated: &str, expected: &Expected<'_>, why: &str) -> Refused {
    let version = expected.api_version.rsplit('/').next().unwrap_or_default();
    let kind = expected.kind;
    Refused::bad_request(format!("{stated} in version {version:?} cannot be handled as a {kind}: {why}"))
}

fn unrecognized(kind: &str, bytes: &Bytes, why: &str) -> Refused {
    let excerpt = if bytes.is_empty() {
        "<empty>".to_owned()
    } else {
        String::from_utf8_lossy(bytes.get(..EXCERPT_BYTES_MAX).unwrap_or(bytes)).into_owned()
    };
    let head = format!("the object provided is unrecognized (must be of type {kind})");
    Refused::bad_request(format!("{head}: couldn't get version/kind; json parse error: {why} ({excerpt})"))
}
