//! Whether an object is selected: by its labels, its key and its fields, without parsing it.

use std::borrow::Cow;

use coracle_api::selector::{FieldRelation, FieldRequirement};

use crate::options::list::ListOptions;
use crate::registry::fields;
use crate::store::Entry;

/// Whether the entry's object is selected.
pub(crate) fn selects(options: &ListOptions, entry: &Entry) -> bool {
    judge(options, entry, |path| fields::text(entry.bytes(), path))
}

/// The same, for watchers: many of them ask about one change, and what is found for the first is remembered.
pub(crate) fn selects_for_many(options: &ListOptions, entry: &Entry) -> bool {
    judge(options, entry, |path| entry.field(path, |object| fields::text(object, path)))
}

fn judge<'a>(options: &ListOptions, entry: &'a Entry, field: impl Fn(&str) -> Cow<'a, str>) -> bool {
    let key = entry.key();
    let labels = entry.labels();
    let by_key = |f: &FieldRequirement| match f.path.as_str() {
        "metadata.name" => Some(key.name()),
        "metadata.namespace" => Some(key.namespace()),
        _ => None,
    };
    if !options.labels.is_everything() && !options.labels.matches_with(|label| labels.get(label)) {
        return false;
    }
    options.fields.iter().all(|f| match by_key(f) {
        Some(value) => holds(f, value),
        None => holds(f, &field(&f.path)),
    })
}

fn holds(requirement: &FieldRequirement, value: &str) -> bool {
    match requirement.relation {
        FieldRelation::Equal => requirement.value == value,
        FieldRelation::NotEqual => requirement.value != value,
    }
}
