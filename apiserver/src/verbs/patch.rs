//! Changing an object by a patch: JSON patch, merge patch, strategic merge patch.

use bytes::Bytes;
use coracle_api::failure::Failure;
use coracle_api::field::FieldError;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::update::check_version;
use super::write::{self, Manner, OnConflict};
use crate::admit::{Part, Source};
use crate::answer::{Answer, Refused, warn};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::text;
use crate::options::write::{FieldValidation, parse};
use crate::patch;
use crate::request::parameter;
use crate::schema;
use crate::store::Entry;

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own.
    Strategic,
}

const ACCEPTED: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// What the content type says about a patch.
pub(crate) fn kind(call: &Call) -> Result<Kind, Refused> {
    let stated = call.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    match stated.split(';').next().unwrap_or("").trim() {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
        _ => Err(Failure::UnsupportedMediaType(ACCEPTED.to_owned()).into()),
    }
}

/// Changes the object.
pub(crate) async fn patch(call: &Call) -> Answer {
    patch_part(call, Part::Spec).await
}

/// Changes a part of the object.
pub(crate) async fn patch_part(call: &Call, part: Part) -> Answer {
    let options = parse(&call.query, "PatchOptions")?;
    let kind = kind(call)?;
    if parameter(&call.query, "force").is_some() {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Refused::invalid_options("PatchOptions", vec![error]));
    }
    let row = &call.row;
    let transform = |entry: &Entry, old: &Value| {
        let mut new = apply(kind, old, &call.body, row.schema)?;
        check_identity(call, &mut new, old)?;
        if text(&new, "resourceVersion") != text(old, "resourceVersion") {
            check_version(call, &new, entry)?;
        }
        if options.validation == FieldValidation::Strict {
            let problems = schema::builtin().unknown_fields(row.schema, &new);
            let expected = Expected { api_version: &row.api_version(), kind: row.kind, schema: None };
            if !problems.is_empty() {
                return Err(body::strict(&expected, &problems));
            }
        }
        Ok(new)
    };
    let unknown = match options.validation {
        FieldValidation::Warn => unknown_in(call, kind),
        FieldValidation::Ignore | FieldValidation::Strict => Vec::new(),
    };
    let manner = Manner { part, run: options.run, on_conflict: OnConflict::Again, source: Source::Patch };
    let written = write::change(call, manner, &transform).await?;
    let warnings: Vec<String> = unknown.into_iter().chain(row.strategy.warnings(&written.value())).collect();
    Ok(warn(call.show(StatusCode::OK, &written.shown())?, &warnings))
}

/// The object that a patch makes of another.
pub(crate) fn apply(kind: Kind, old: &Value, patch: &Bytes, schema: &str) -> Result<Value, Refused> {
    let applied = match kind {
        Kind::Json => patch::json(old, patch),
        Kind::Merge => patch::merge(old, patch),
        Kind::Strategic => patch::strategic(old, patch, schema),
    };
    applied.map_err(|error| error.failure().into())
}

fn unknown_in(call: &Call, kind: Kind) -> Vec<String> {
    let Ok(entry) = call.existing() else { return Vec::new() };
    let patched = apply(kind, &entry.value(), &call.body, call.row.schema);
    patched.map_or_else(|_| Vec::new(), |new| schema::builtin().unknown_fields(call.row.schema, &new))
}

/// A patch may not make another object out of it. What kind it is, it need not say.
fn check_identity(call: &Call, new: &mut Value, old: &Value) -> Result<(), Refused> {
    let Some(object) = new.as_object_mut() else {
        return Err(body::unpatchable("the patch does not leave an object"));
    };
    for name in ["apiVersion", "kind"] {
        let kept = old.get(name).cloned().unwrap_or_default();
        let stated = object.entry(name).or_insert_with(|| kept.clone());
        if *stated != kept {
            let why = format!("{stated} does not match the {name} of a {}", call.row.kind);
            return Err(body::unpatchable(&why));
        }
    }
    super::check_place(call, new)
}
