//! `DefaultStorageClass`: a claim that names no class gets the default one, if there is one.
//!
//! A claim that names the empty class wants none, and is left as it is.

use coracle_api::storage::{ANNOTATION_CLASS_BETA, default_class};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::map_mut;

/// What the annotations that mark a default class have in common.
const MARK: &str = "is-default-class";

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::on("DefaultStorageClass") };

fn mutate(attributes: &Attributes<'_>, claim: &mut Value) -> Result<(), Refused> {
    if !attributes.is_of("", "persistentvolumeclaims") || !attributes.creates() || names_class(claim) {
        return Ok(());
    }
    let classes = attributes.stored_holding("storage.k8s.io", "storageclasses", MARK);
    let classes: Vec<StorageClass> = classes.filter_map(|class| serde_json::from_value(class).ok()).collect();
    if let Some(name) = default_class(&classes).and_then(|class| class.metadata.name.as_deref()) {
        let spec = map_mut(claim).entry("spec").or_insert_with(|| Value::Object(serde_json::Map::new()));
        map_mut(spec).insert("storageClassName".to_owned(), name.into());
    }
    Ok(())
}

fn names_class(claim: &Value) -> bool {
    let annotations = claim.pointer("/metadata/annotations");
    let annotated = annotations.is_some_and(|all| all.get(ANNOTATION_CLASS_BETA).is_some());
    annotated || claim.pointer("/spec/storageClassName").is_some_and(|class| !class.is_null())
}
