//! The way from client-side to server-side `kubectl apply`: what kubectl wrote into its annotation counts as owned by it.
//!
//! Only for the manager `kubectl`, as upstream; whoever applies under another name opts out.

use coracle_api::wellknown::ANNOTATION_LAST_APPLIED;
use serde_json::Value;

use super::compare::compare;
use super::conflict::Conflict;
use super::fields::FieldSet;
use super::{Typed, Writer, check, owned};
use crate::object;

/// The manager for which this holds.
pub(super) const MANAGER: &str = "kubectl";

/// The fields that client-side apply set and that still have the value which it gave them.
pub(super) fn allowed(typed: &Typed<'_>, live: &Value, writer: &Writer) -> Option<FieldSet> {
    let config: Value = serde_json::from_str(annotation(live)?).ok()?;
    if config.get("apiVersion").and_then(Value::as_str) != Some(&writer.api_version) {
        return None;
    }
    check::check(typed.root, &config).ok()?;
    let mut fields = owned::stated(typed, &config);
    let since = compare(typed, Some(&config), live);
    fields.subtract(&since.set);
    fields.subtract(&since.removed);
    Some(fields)
}

/// The conflicts that are left if the conflicts on these fields are none.
pub(super) fn beyond(conflicts: Vec<Conflict>, allowed: Option<&FieldSet>) -> Vec<Conflict> {
    let Some(allowed) = allowed else { return conflicts };
    let rest = conflicts.into_iter().map(|mut conflict| {
        conflict.fields.subtract(allowed);
        conflict
    });
    rest.filter(|conflict| !conflict.fields.is_empty()).collect()
}

/// Brings the annotation up to date where there is one, so that a client-side apply may follow.
pub(super) fn renew(object: &mut Value, config: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut applied = config.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION_LAST_APPLIED);
    }
    let text = format!("{applied}\n");
    let annotations = object::metadata_mut(object).entry("annotations").or_insert(Value::Null);
    object::map_mut(annotations).insert(ANNOTATION_LAST_APPLIED.to_owned(), text.into());
}

fn annotation(object: &Value) -> Option<&str> {
    let text = object::metadata(object)?.get("annotations")?.get(ANNOTATION_LAST_APPLIED)?.as_str()?;
    (!text.is_empty()).then_some(text)
}
