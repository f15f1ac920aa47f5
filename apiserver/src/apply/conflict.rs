//! What an applier is told whose configuration sets fields that others own to other values.

use coracle_api::quoted::Quoted;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::StatusCause;

use super::entries::{Entry, Operation};
use super::fields::FieldSet;

/// The fields on which an apply conflicts with one other manager.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conflict {
    /// The other manager, as it is told.
    manager: String,
    /// The fields.
    pub(super) fields: FieldSet,
}

impl Conflict {
    /// A conflict with the manager of an entry.
    pub(super) fn with(entry: &Entry, fields: FieldSet) -> Self {
        let mut manager = Quoted(&entry.manager).to_string();
        if !entry.subresource.is_empty() {
            manager.push_str(&format!(" with subresource {}", Quoted(&entry.subresource)));
        }
        if entry.operation == Operation::Update {
            manager.push_str(&format!(" using {}", entry.api_version));
        }
        Self { manager, fields }
    }
}

/// The sentence about conflicts.
pub(crate) fn message(conflicts: &[Conflict]) -> String {
    let mut sorted: Vec<&Conflict> = conflicts.iter().collect();
    sorted.sort_by(|a, b| a.manager.cmp(&b.manager));
    let paths: Vec<(&str, Vec<String>)> = sorted.iter().map(|c| (c.manager.as_str(), c.fields.paths())).collect();
    let count: usize = paths.iter().map(|(_, paths)| paths.len()).sum();
    if let ([(manager, paths)], 1) = (paths.as_slice(), count) {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.join(""));
    }
    let lines = paths.iter().flat_map(|(manager, paths)| {
        std::iter::once(format!("conflicts with {manager}:")).chain(paths.iter().map(|path| format!("- {path}")))
    });
    format!("Apply failed with {count} conflicts: {}", lines.collect::<Vec<_>>().join("\n"))
}

/// One cause for each field.
pub(crate) fn causes(conflicts: &[Conflict]) -> Vec<StatusCause> {
    let cause = |manager: &str, field: String| StatusCause {
        reason: Some("FieldManagerConflict".to_owned()),
        message: Some(format!("conflict with {manager}")),
        field: Some(field),
    };
    let of = |conflict: &Conflict| -> Vec<StatusCause> {
        conflict.fields.paths().into_iter().map(|path| cause(&conflict.manager, path)).collect()
    };
    conflicts.iter().flat_map(of).collect()
}
