//! Whether an object is selected: by its labels, its key and its fields, without parsing it.

use coracle_api::selector::{FieldRelation, FieldRequirement};

use crate::options::list::ListOptions;
use crate::registry::fields;
use crate::store::Entry;

/// Whether the entry's object is selected.
pub(crate) fn selects(options: &ListOptions, entry: &Entry) -> bool {
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
        None => holds(f, &fields::text(entry.bytes(), &f.path)),
    })
}

fn holds(requirement: &FieldRequirement, value: &str) -> bool {
    match requirement.relation {
        FieldRelation::Equal => requirement.value == value,
        FieldRelation::NotEqual => requirement.value != value,
    }
}
