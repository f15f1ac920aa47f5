//! Entries as the `scale` subresource sees them: `spec.replicas` of the object is `spec.replicas` of its Scale.

use serde_json::Value;

use super::entries::{self, Entry};
use super::fields::FieldSet;

/// The version in which a Scale is written.
pub(crate) const API_VERSION: &str = "autoscaling/v1";

/// Where the replicas are, in a Scale and in all objects that have one.
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// Puts into a Scale the entries of its object that are about replicas.
pub(crate) fn show(object: &Value, scale: &mut Value) {
    let mut own = entries::read_stored(object);
    own.retain(|entry| entry.fields.has_path(&REPLICAS));
    for entry in &mut own {
        API_VERSION.clone_into(&mut entry.api_version);
        entry.fields = FieldSet::of_path(&REPLICAS);
    }
    entries::put(scale, own);
}

/// Takes over into the object who owns the replicas of its Scale.
pub(crate) fn take_over(object: &mut Value, api_version: &str, scale: &Value) {
    let mut of_scale = entries::read_stored(scale);
    of_scale.retain(|entry| entry.fields.has_path(&REPLICAS));
    let replicas = FieldSet::of_path(&REPLICAS);
    let same =
        |a: &Entry, b: &Entry| (a.operation, &a.manager, &a.subresource) == (b.operation, &b.manager, &b.subresource);
    let mut all = entries::read_stored(object);
    for entry in all.iter_mut().filter(|entry| entry.fields.has_path(&REPLICAS)) {
        match of_scale.iter().position(|other| same(entry, other)) {
            Some(at) => drop(of_scale.swap_remove(at)),
            None => entry.fields.subtract(&replicas),
        }
    }
    // Upstream keeps no time of what comes from a Scale.
    all.extend(of_scale.into_iter().map(|entry| Entry { api_version: api_version.to_owned(), time: None, ..entry }));
    entries::take(object);
    entries::put(object, all);
}
