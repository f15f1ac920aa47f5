//! Replacing an object, or its status.

use coracle_api::failure::{About, Failure};
use coracle_api::field::FieldError;
use http::StatusCode;
use serde_json::Value;

use super::create;
use super::write::{self, Manner, OnConflict};
use crate::admit::{self, Managed, Part, Source};
use crate::answer::{Answer, Refused, refused, warn};
use crate::body::{self, Expected};
use crate::machine::Call;
use crate::object::text;
use crate::options::write::parse;
use crate::policy::{Absent, Policy, Unconditional};
use crate::store::Entry;

/// Replaces the object by the one of the body.
pub(crate) async fn update(call: &Call) -> Answer {
    replace(call, Part::Spec).await
}

/// Replaces a part of the object by that of the body.
pub(crate) async fn replace(call: &Call, part: Part) -> Answer {
    let options = parse(&call.query, "UpdateOptions")?;
    let row = &call.row;
    let expected = Expected { api_version: &row.api_version(), kind: row.kind, schema: Some(row.schema) };
    let decoded = body::object(&call.body, &call.headers, &expected, options.validation)?;
    let (sent, mut warnings) = (decoded.object, decoded.warnings);
    super::check_place(call, &sent)?;
    let writer = call.writer(&options);
    let absent = call.store().get(&call.key(&call.path.name)).is_none();
    if absent && part == Part::Spec && Policy::of(row).absent == Absent::Created {
        let mut sent = sent;
        crate::object::metadata_mut(&mut sent).remove("resourceVersion");
        let (written, more) = create::insert(call, sent, options.run, Managed::By(&writer)).await?;
        warnings.extend(more);
        return Ok(warn(call.show(StatusCode::CREATED, &written.shown())?, &warnings));
    }
    let stated = !matches!(text(&sent, "resourceVersion"), "" | "0");
    let on_conflict = if stated { OnConflict::Tell } else { OnConflict::Again };
    let transform = |entry: &Entry, old: &Value| {
        check_version(call, &sent, entry)?;
        check_uid(call, &sent, old)?;
        Ok(sent.clone())
    };
    let admitted = admit::Manner { part, source: Source::Body, managed: Managed::By(&writer) };
    let manner = Manner { admitted, run: options.run, on_conflict };
    let changed = write::change(call, manner, &transform).await?;
    warnings.extend(changed.warnings);
    Ok(warn(call.show(StatusCode::OK, &changed.written.shown())?, &warnings))
}

/// Whether the state that the client has seen is still the newest.
pub(crate) fn check_version(call: &Call, sent: &Value, entry: &Entry) -> Result<(), Refused> {
    let row = &call.row;
    match text(sent, "resourceVersion") {
        "" | "0" if Policy::of(row).unconditional == Unconditional::Refused => {
            let why = "must be specified for an update";
            let error = FieldError::invalid_as("metadata.resourceVersion", "0x0", why);
            Err(Refused::invalid(row, &call.path.name, vec![error]))
        }
        "" | "0" => Ok(()),
        stated => match stated.parse::<u64>() {
            Ok(number) if number == entry.revision().get() => Ok(()),
            Ok(_) => Err(Failure::modified(refused::about(row, &call.path.name)).into()),
            Err(_) => Err(Refused::unclassified(format!("strconv.ParseUint: parsing {stated:?}: invalid syntax"))),
        },
    }
}

/// Whether the object is the one that the client means.
pub(crate) fn check_uid(call: &Call, sent: &Value, old: &Value) -> Result<(), Refused> {
    let (wanted, uid) = (text(sent, "uid"), text(old, "uid"));
    if wanted.is_empty() || wanted == uid {
        return Ok(());
    }
    let about: About = refused::about(&call.row, &call.path.name);
    let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
    Err(Failure::Conflict { about, why, causes: Vec::new() }.into())
}
