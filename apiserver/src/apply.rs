//! Server-side apply: who owns which field of an object, and what an applied configuration makes of it.
//!
//! A pure core, driven by the schema alone: it knows neither kinds nor the store. Every write goes through
//! [`update::track`], which tells what the writer took over; an apply goes through [`config::apply`], which merges.
//! Source of the rules: structured-merge-diff and `k8s.io/apimachinery/pkg/util/managedfields`.

pub(crate) mod config;
pub(crate) mod conflict;
pub(crate) mod entries;
pub(crate) mod scale;
pub(crate) mod update;

mod check;
mod compare;
mod element;
mod fields;
mod last_applied;
mod merge;
mod owned;
mod place;
mod prune;
mod reset;

#[cfg(test)]
mod tests;

use jiff::Timestamp;

use crate::registry::Row;
use crate::schema;

pub(crate) use place::Place;
pub(crate) use reset::Reset;

/// Who writes, and where: what an entry of `managedFields` says beside the fields.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Writer {
    /// The field manager.
    pub(crate) manager: String,
    /// The version of the object that is written.
    pub(crate) api_version: String,
    /// The subresource that is written; empty for the object itself.
    pub(crate) subresource: String,
    /// The time of the write.
    pub(crate) now: Timestamp,
}

/// An object's schema, and what of it a writer cannot write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Typed<'s> {
    root: Place<'s>,
    reset: Reset,
    /// The versions in which the object is served, beside the one in which it is written.
    versions: &'static [&'static str],
}

impl Typed<'static> {
    /// What is written of a row's objects by way of a subresource.
    pub(crate) fn of(row: &Row, subresource: &str) -> Self {
        Self { versions: reset::versions(row), ..Self::new(row.schema, Reset::of(row, subresource)) }
    }

    /// Objects of a built-in schema.
    pub(crate) fn new(name: &str, reset: Reset) -> Self {
        Self { root: Place::root(schema::builtin(), name), reset, versions: &[] }
    }
}

impl Typed<'_> {
    /// Whether an entry of this version is kept when the object is written: what is not served any more is nobody's.
    fn keeps(&self, version: &str, writer: &Writer) -> bool {
        version == writer.api_version || self.versions.contains(&version)
    }
}
