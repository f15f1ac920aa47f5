//! Changing an object by a patch: JSON patch, merge patch, strategic merge patch.

use std::sync::Mutex;

use bytes::Bytes;
use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::apply;
use super::update::check_version;
use super::write::{self, Manner, OnConflict};
use crate::admit::{self, Managed, Part, Source};
use crate::answer::{Answer, Refused, warn};
use crate::apply::entries;
use crate::body;
use crate::machine::Call;
use crate::object::text;
use crate::options::write::{FieldValidation, parse};
use crate::patch::Patch;
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

/// What the content type says about a patch.
pub(crate) fn kind(call: &Call) -> Result<Kind, Refused> {
    let stated = call.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    match stated.split(';').next().unwrap_or("").trim() {
        "application/json-patch+json" => Ok(Kind::Json),
        "application/merge-patch+json" => Ok(Kind::Merge),
        "application/strategic-merge-patch+json" => Ok(Kind::Strategic),
        _ => Err(Failure::NoSuchPatch.into()),
    }
}

/// Changes the object.
pub(crate) async fn patch(call: &Call) -> Answer {
    patch_part(call, Part::Spec).await
}

/// Changes a part of the object.
pub(crate) async fn patch_part(call: &Call, part: Part) -> Answer {
    if apply::is_apply(call) {
        return apply::apply(call, part).await;
    }
    let options = parse(&call.query, "PatchOptions")?;
    let kind = kind(call)?;
    if parameter(&call.query, "force").is_some() {
        let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Refused::invalid_options("PatchOptions", vec![error]));
    }
    // An absent object is told before a bad patch.
    call.existing()?;
    let patch = read(kind, &call.body)?;
    let problems = Mutex::new(Vec::new());
    let transform = |entry: &Entry, old: &Value| {
        let (new, found) = patched(call, &patch, old, options.validation)?;
        super::check_place(call, &new)?;
        if text(&new, "resourceVersion") != text(old, "resourceVersion") {
            check_version(call, &new, entry)?;
        }
        if let Ok(mut problems) = problems.lock() {
            *problems = found;
        }
        Ok(new)
    };
    let writer = call.writer(&options);
    let admitted = admit::Manner { part, source: Source::Typed, managed: Managed::By(&writer) };
    let manner = Manner { admitted, run: options.run, on_conflict: OnConflict::Again };
    let changed = write::change(call, manner, &transform).await?;
    let mut warnings = problems.into_inner().unwrap_or_default();
    warnings.extend(changed.warnings);
    Ok(warn(call.show(StatusCode::OK, &changed.written.shown())?, &warnings))
}

/// Reads a patch.
pub(crate) fn read(kind: Kind, bytes: &Bytes) -> Result<Patch, Refused> {
    let patch = match kind {
        Kind::Json => Patch::json(bytes),
        Kind::Merge => Patch::merge(bytes),
        Kind::Strategic => Patch::strategic(bytes),
    };
    patch.map_err(|error| error.failure().into())
}

/// The object that a patch makes of another, and what is odd about it.
fn patched(
    call: &Call,
    patch: &Patch,
    old: &Value,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), Refused> {
    let row = &call.row;
    let made = || patch.apply(old, row.schema).map_err(|error| Refused::from(error.failure()));
    let mut new = made()?;
    check_kind(&mut new, old).map_err(|why| unfit(patch, &new, &why))?;
    let entries = entries::set_aside(&mut new, Some(old));
    let problems = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Warn | FieldValidation::Strict => {
            let unknown = schema::builtin().unknown_fields(row.schema, &new);
            patch.problems().iter().cloned().chain(unknown).collect()
        }
    };
    // What the patch made of the object is shown only if it is wrong: it is made once more then.
    let mut typed = row.strategy.default(new).map_err(|error| match made() {
        Ok(made) => unfit(patch, &made, &error.0),
        Err(refused) => refused,
    })?;
    entries::put_back(&mut typed, entries);
    if validation == FieldValidation::Strict && !problems.is_empty() {
        return Err(unfit(patch, &made()?, &body::strict_problems(&problems)));
    }
    Ok((typed, problems))
}

/// A refusal because what a patch made of an object is no object of its kind.
pub(crate) fn unfit(patch: &Patch, made: &Value, why: &str) -> Refused {
    let error = FieldError::invalid("patch", patch.shown(made), why);
    Failure::Invalid { about: About::default(), errors: vec![error] }.into()
}

/// A patch may not make an object of another kind out of it. What kind it is, it need not say.
fn check_kind(new: &mut Value, old: &Value) -> Result<(), String> {
    let Some(object) = new.as_object_mut() else { return Err("the patch does not leave an object".to_owned()) };
    let kept = |name: &str| old.get(name).cloned().unwrap_or_default();
    for name in ["apiVersion", "kind"] {
        object.entry(name).or_insert_with(|| kept(name));
    }
    let (version, kind) = (object.get("apiVersion"), object.get("kind"));
    if version == Some(&kept("apiVersion")) && kind == Some(&kept("kind")) {
        return Ok(());
    }
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    Err(format!("no kind {:?} is registered for version {:?}", text(kind), text(version)))
}
