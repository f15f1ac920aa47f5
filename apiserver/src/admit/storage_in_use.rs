//! `StorageObjectInUseProtection`: new claims and volumes carry a finalizer, which the controllers take away when
//! nobody uses them any more.

use coracle_api::storage::{FINALIZER_CLAIM_IN_USE, FINALIZER_VOLUME_IN_USE};
use serde_json::{Value, json};

use super::attributes::Attributes;
use super::plugins::Plugin;
use crate::answer::Refused;
use crate::object::map_mut;

pub(super) const PLUGIN: Plugin = Plugin { mutate: Some(mutate), ..Plugin::on("StorageObjectInUseProtection") };

fn mutate(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refused> {
    if !attributes.creates() {
        return Ok(());
    }
    if attributes.is_of("", "persistentvolumeclaims") {
        protect(object, FINALIZER_CLAIM_IN_USE);
    } else if attributes.is_of("", "persistentvolumes") {
        protect(object, FINALIZER_VOLUME_IN_USE);
    }
    Ok(())
}

fn protect(object: &mut Value, finalizer: &str) {
    let metadata = map_mut(object).entry("metadata").or_insert_with(|| json!({}));
    let finalizers = map_mut(metadata).entry("finalizers").or_insert_with(|| json!([]));
    match finalizers {
        Value::Array(all) if all.iter().any(|one| one == finalizer) => {}
        Value::Array(all) => all.push(finalizer.into()),
        other => *other = json!([finalizer]),
    }
}
