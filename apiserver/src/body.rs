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

/// The largest excerpt of a body that an error shows: upstream's.
const EXCERPT_BYTES_MAX: usize = 30;

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
    drain(sent).await;
    refused.into_response()
}

/// Reads what is left of a body, to drop it.
pub(crate) async fn drain(sent: axum::body::Body) {
    let _ = Limited::new(sent, DRAINED_BYTES_MAX).collect().await;
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Media {
    Json,
    Yaml,
    Protobuf,
}

fn media(headers: &HeaderMap) -> Result<Media, Refused> {
    let stated = headers.get(CONTENT_TYPE).map_or(Some(""), |v| v.to_str().ok()).unwrap_or("?");
    let stated = stated.split(';').next().unwrap_or("").trim();
    let is = |media: &str| stated.eq_ignore_ascii_case(media);
    if stated.is_empty() || is("application/json") {
        Ok(Media::Json)
    } else if is("application/yaml") {
        Ok(Media::Yaml)
    } else if is(proto::MEDIA_TYPE) {
        Ok(Media::Protobuf)
    } else {
        let accepted = format!("application/json, application/yaml, {}", proto::MEDIA_TYPE);
        Err(Failure::UnsupportedMediaType(accepted).into())
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
    let mut problems = Vec::new();
    let json = match media(headers)? {
        Media::Json => bytes.clone(),
        Media::Yaml => {
            problems.extend(yaml::duplicate(bytes).filter(|_| validation != FieldValidation::Ignore));
            yaml(bytes).map_err(|why| unrecognized(expected.kind, bytes, &why))?
        }
        Media::Protobuf => protobuf(bytes, expected.api_version, expected.kind)?,
    };
    let schema = expected.schema.filter(|_| validation != FieldValidation::Ignore);
    let decoded = schema::decode(&json, schema).map_err(|e| uninterpreted(expected.kind, bytes, &syntax(&e)))?;
    problems.extend(decoded.problems);
    let object = match decoded.value {
        object @ Value::Object(_) => object,
        Value::Null => Value::Object(serde_json::Map::new()),
        other => return Err(uninterpreted(expected.kind, bytes, &no_object(&other))),
    };
    let object = check_kind(object, expected, bytes)?;
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            Err(unhandled(expected.kind, expected, &strict_problems(&problems)))
        }
        FieldValidation::Ignore => Ok(Decoded { object, warnings: Vec::new() }),
        FieldValidation::Strict | FieldValidation::Warn => {
            Ok(Decoded { object, warnings: problems.into_iter().map(yaml::as_warning).collect() })
        }
    }
}

/// What is wrong with a text that is no JSON.
fn syntax(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
}

/// Upstream's words for a body that is JSON but no object.
fn no_object(value: &Value) -> String {
    const TYPE: &str =
        r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
    format!("json: cannot unmarshal {} into Go value of type {TYPE}", json_type(value))
}

const fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
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
        Media::Yaml => yaml(bytes).map_err(Refused::unclassified)?,
        Media::Protobuf => protobuf(bytes, "v1", kind)?,
    };
    let undecodable = |e| Refused::unclassified(format!("couldn't get version/kind; json parse error: {}", syntax(&e)));
    let value: Value = serde_json::from_slice(&json).map_err(undecodable)?;
    let stated = value.get("kind").and_then(Value::as_str).unwrap_or(kind);
    if stated != kind {
        let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or("");
        return Err(Refused::unclassified(format!("no kind {stated:?} is registered for version {version:?}")));
    }
    Ok(Some(value))
}

/// A document in YAML as JSON: what reads the one reads the other.
fn yaml(bytes: &Bytes) -> Result<Bytes, String> {
    yaml::parse(bytes).map(|value| value.to_string().into()).map_err(|why| format!("yaml: {why}"))
}

fn protobuf(bytes: &Bytes, api_version: &str, kind: &str) -> Result<Bytes, Refused> {
    match proto::decode(bytes, api_version, kind) {
        Ok(value) => Ok(value.to_string().into()),
        Err(error) => Err(unrecognized(kind, bytes, &error.to_string())),
    }
}

fn check_kind(mut object: Value, expected: &Expected<'_>, bytes: &Bytes) -> Result<Value, Refused> {
    let Some(fields) = object.as_object_mut() else { return Ok(object) };
    let mut stated = [(String::new(), "apiVersion", expected.api_version), (String::new(), "kind", expected.kind)];
    for (text, name, wanted) in &mut stated {
        *text = match fields.get(*name) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            None | Some(Value::Null | Value::String(_)) => (*wanted).to_owned(),
            Some(other) => {
                let found = json_type(other);
                let why = format!("json: cannot unmarshal {found} into Go struct field .{name} of type string");
                return Err(uninterpreted(expected.kind, bytes, &why));
            }
        };
        fields.insert((*name).to_owned(), text.clone().into());
    }
    let [(version, _, wanted_version), (kind, _, wanted_kind)] = stated;
    if version == wanted_version && kind == wanted_kind {
        return Ok(object);
    }
    let why = format!("no kind {kind:?} is registered for version {version:?} here");
    Err(unhandled(&kind, &Expected { api_version: &version, ..*expected }, &why))
}

fn unhandled(stated: &str, expected: &Expected<'_>, why: &str) -> Refused {
    let version = expected.api_version.rsplit('/').next().unwrap_or_default();
    let kind = expected.kind;
    Refused::bad_request(format!("{stated} in version {version:?} cannot be handled as a {kind}: {why}"))
}

fn uninterpreted(kind: &str, bytes: &Bytes, why: &str) -> Refused {
    unrecognized(kind, bytes, &format!("couldn't get version/kind; json parse error: {why}"))
}

fn unrecognized(kind: &str, bytes: &Bytes, why: &str) -> Refused {
    let shown = excerpt(bytes);
    Refused::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({shown})"))
}

/// The beginning of a body: as text if it looks like JSON, else in hexadecimal digits.
fn excerpt(bytes: &[u8]) -> String {
    let (start, more) = match bytes.get(..EXCERPT_BYTES_MAX) {
        Some(start) if start.len() < bytes.len() => (start, " ..."),
        Some(_) | None => (bytes, ""),
    };
    match start.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned() + more,
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + more,
    }
}

#[cfg(test)]
mod tests;
