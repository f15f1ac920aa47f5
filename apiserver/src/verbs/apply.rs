//! Server-side apply: making an object of a configuration, or merging it into one that is there.

use coracle_api::failure::{About, Failure};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::update::check_version;
use super::write::{self, Changed, Manner, OnConflict};
use super::{check_place, create};
use crate::admit::{self, Managed, Part, Source};
use crate::answer::{Answer, Refused, refused, warn};
use crate::apply::config::{self, ApplyError, Force};
use crate::apply::{Typed, Writer, conflict};
use crate::body::yaml;
use crate::machine::Call;
use crate::object::{self, text};
use crate::options::write::{FieldValidation, WriteOptions, parse_apply};
use crate::schema;
use crate::store::Entry;

/// The media type of a configuration: YAML, and so JSON too.
const MEDIA_TYPE: &str = "application/apply-patch+yaml";

/// How often an object is made or merged anew that comes and goes meanwhile.
const ATTEMPTS_MAX: usize = 64;

/// Whether a request is an apply.
pub(crate) fn is_apply(call: &Call) -> bool {
    let stated = call.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    stated.split(';').next().unwrap_or("").trim() == MEDIA_TYPE
}

/// What a client applies, and how.
pub(crate) struct Applied {
    /// The configuration.
    pub(crate) config: Value,
    /// How it is applied.
    pub(crate) options: WriteOptions,
}

impl Applied {
    /// Reads the configuration of a request, which must be of this version and kind.
    pub(crate) fn read(call: &Call, api_version: &str, kind: &str) -> Result<Self, Refused> {
        let options = parse_apply(&call.query)?;
        let config = decode(&call.body, options.validation)?;
        check_kind(&config, api_version, kind)?;
        if object::metadata(&config).and_then(|meta| meta.get("managedFields")).is_some_and(|m| !m.is_null()) {
            return Err(Refused::bad_request("metadata.managedFields must be nil"));
        }
        Ok(Self { config, options })
    }

    /// What comes of it.
    pub(crate) fn to(&self, typed: &Typed<'_>, live: Option<&Value>, writer: &Writer) -> Result<Value, Refused> {
        let force = self.options.force.unwrap_or(Force::No);
        config::apply(typed, live, &self.config, writer, force).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: ApplyError) -> Refused {
        match error {
            ApplyError::Untyped(why) => {
                let (namespace, name) = (text(&self.config, "namespace"), text(&self.config, "name"));
                let kind = kind_of(&self.config);
                Refused::unclassified(format!(
                    "failed to create typed patch object ({namespace}/{name}; {kind}): {why}"
                ))
            }
            ApplyError::Conflicts(conflicts) => {
                let sentence = conflict::message(&conflicts);
                let causes = conflict::causes(&conflicts);
                let failure = Failure::Conflict { about: About::default(), why: String::new(), causes };
                Refused::from(failure).saying(sentence)
            }
        }
    }
}

/// Applies a configuration to the object that the path names.
pub(crate) async fn apply(call: &Call, part: Part) -> Answer {
    let row = &call.row;
    let applied = Applied::read(call, &row.api_version(), row.kind)?;
    let writer = call.writer(&applied.options);
    let typed = Typed::of(row, &writer.subresource);
    for _ in 0..ATTEMPTS_MAX {
        let exists = call.store().get(&call.key(&call.path.name)).is_some();
        let done = match part {
            Part::Spec if !exists => make(call, &applied, &typed, &writer).await?,
            Part::Spec | Part::Status | Part::Below(_) => {
                Some((StatusCode::OK, change(call, &applied, &typed, &writer, part).await?))
            }
        };
        if let Some((code, Changed { written, warnings })) = done {
            return Ok(warn(call.show(code, &written.shown())?, &warnings));
        }
    }
    Err(Failure::modified(refused::about(row, &call.path.name)).into())
}

/// Makes the object. Nothing: somebody else did meanwhile.
async fn make(
    call: &Call,
    applied: &Applied,
    typed: &Typed<'_>,
    writer: &Writer,
) -> Result<Option<(StatusCode, Changed)>, Refused> {
    let mut object = applied.to(typed, None, writer)?;
    let (about, uid) = (refused::about(&call.row, &call.path.name), text(&object, "uid"));
    if !uid.is_empty() {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(Failure::Conflict { about, why, causes: Vec::new() }.into());
    }
    check_place(call, &object)?;
    object::metadata_mut(&mut object).remove("resourceVersion");
    match create::insert(call, object, applied.options.run, Managed::AsStated).await {
        Ok((written, warnings)) => Ok(Some((StatusCode::CREATED, Changed { written, warnings }))),
        Err(_) if call.store().get(&call.key(&call.path.name)).is_some() => Ok(None),
        Err(refused) => Err(refused),
    }
}

/// Merges the configuration into the object.
async fn change(
    call: &Call,
    applied: &Applied,
    typed: &Typed<'_>,
    writer: &Writer,
    part: Part,
) -> Result<Changed, Refused> {
    let transform = |entry: &Entry, old: &Value| {
        let new = applied.to(typed, Some(old), writer)?;
        check_place(call, &new)?;
        if text(&new, "resourceVersion") != text(old, "resourceVersion") {
            check_version(call, &new, entry)?;
        }
        Ok(new)
    };
    let admitted = admit::Manner { part, source: Source::Body, managed: Managed::AsStated };
    let manner = Manner { admitted, run: applied.options.run, on_conflict: OnConflict::Again };
    write::change(call, manner, &transform).await
}

/// Reads a configuration: mostly it is JSON.
fn decode(bytes: &[u8], validation: FieldValidation) -> Result<Value, Refused> {
    let undecodable = |why: &str| Refused::bad_request(format!("error decoding YAML: {why}"));
    let (config, twice) = match schema::decode(bytes, None) {
        Ok(decoded) => (decoded.value, !decoded.problems.is_empty()),
        Err(_) => {
            let read = yaml::parse(bytes);
            (read.map_err(|why| undecodable(&format!("error converting YAML to JSON: {why}")))?, true)
        }
    };
    if twice
        && validation == FieldValidation::Strict
        && let Some(why) = yaml::duplicate(bytes)
    {
        let why = format!("error strict decoding YAML: error converting YAML to JSON: {why}");
        return Err(Refused::bad_request(why));
    }
    let kind = match &config {
        Value::Object(_) | Value::Null => return Ok(config),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
    };
    let why = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
    Err(undecodable(&format!("error unmarshaling JSON: while decoding JSON: {why}")))
}

fn check_kind(config: &Value, api_version: &str, kind: &str) -> Result<(), Refused> {
    let stated = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or("");
    if (stated("apiVersion"), stated("kind")) == (api_version, kind) {
        return Ok(());
    }
    Err(Refused::bad_request(format!("invalid object type: {}", kind_of(config))))
}

/// Group, version and kind as Go prints them: `apps/v1, Kind=Deployment`.
fn kind_of(config: &Value) -> String {
    let stated = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or("");
    let (group, version) = stated("apiVersion").split_once('/').unwrap_or(("", stated("apiVersion")));
    format!("{group}/{version}, Kind={}", stated("kind"))
}
