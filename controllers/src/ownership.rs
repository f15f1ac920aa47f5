//! Who controls an object, and what a controller does about one that fits its selector or no longer does.
//!
//! An object has at most one controller. An orphan is adopted only by an owner that is not being deleted,
//! and only after a live read has shown that the owner still is who it was.

use coracle_api::selector::Selector;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::{Value, json};

/// The reference to the object's controller, if it has one.
pub(crate) fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The reference that makes `owner` the controller of what carries it.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    let meta = owner.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// How events name an object.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// What an owner does about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It is the owner's and stays so.
    Keep,
    /// Nobody's, and it fits: the owner takes it.
    Adopt,
    /// The owner's, but it no longer fits: the owner lets it go.
    Release,
    /// None of the owner's business.
    Leave,
}

/// Decides on one object for one owner.
pub(crate) fn claim(owner: &ObjectMeta, selector: &Selector, object: &ObjectMeta) -> Claim {
    let fits = selector.matches_with(|key| object.labels.as_ref()?.get(key).map(String::as_str));
    let owner_stays = owner.deletion_timestamp.is_none();
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Leave,
        Some(_) if fits => Claim::Keep,
        Some(_) if owner_stays => Claim::Release,
        Some(_) => Claim::Leave,
        None if fits && owner_stays && object.deletion_timestamp.is_none() => Claim::Adopt,
        None => Claim::Leave,
    }
}

/// The merge patch that adds `owner` to the object's owners, if the object has not changed meanwhile.
pub(crate) fn adoption(object: &ObjectMeta, owner: OwnerReference) -> Value {
    let mut owners = object.owner_references.clone().unwrap_or_default();
    owners.retain(|o| o.uid != owner.uid);
    owners.push(owner);
    owners_patch(object, &owners)
}

/// The merge patch that takes the owner with this UID away, if the object has not changed meanwhile.
pub(crate) fn release(object: &ObjectMeta, uid: &str) -> Value {
    let mut owners = object.owner_references.clone().unwrap_or_default();
    owners.retain(|o| o.uid != uid);
    owners_patch(object, &owners)
}

fn owners_patch(object: &ObjectMeta, owners: &[OwnerReference]) -> Value {
    json!({"metadata": {
        "uid": object.uid,
        "resourceVersion": object.resource_version,
        "ownerReferences": if owners.is_empty() { Value::Null } else { json!(owners) },
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(value: Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn claims_follow_selector_owner_and_deletion() {
        let selector = Selector::parse("app=web").unwrap();
        let owner = meta(json!({"uid": "me"}));
        let dying = meta(json!({"uid": "me", "deletionTimestamp": "2026-01-01T00:00:00Z"}));
        let mine = json!([{"apiVersion": "v", "kind": "K", "name": "n", "uid": "me", "controller": true}]);
        let others = json!([{"apiVersion": "v", "kind": "K", "name": "n", "uid": "other", "controller": true}]);
        let gone = "2026-01-01T00:00:00Z";
        for (owner, object, expected) in [
            (&owner, json!({"labels": {"app": "web"}, "ownerReferences": mine}), Claim::Keep),
            (&owner, json!({"labels": {"app": "db"}, "ownerReferences": mine}), Claim::Release),
            (&dying, json!({"labels": {"app": "db"}, "ownerReferences": mine}), Claim::Leave),
            (&owner, json!({"labels": {"app": "web"}, "ownerReferences": others}), Claim::Leave),
            (&owner, json!({"labels": {"app": "web"}}), Claim::Adopt),
            (&dying, json!({"labels": {"app": "web"}}), Claim::Leave),
            (&owner, json!({"labels": {"app": "web"}, "deletionTimestamp": gone}), Claim::Leave),
            (&owner, json!({"labels": {"app": "db"}}), Claim::Leave),
        ] {
            assert_eq!(claim(owner, &selector, &meta(object.clone())), expected, "{object}");
        }
    }

    #[test]
    fn releasing_the_last_owner_clears_the_list() {
        let object = meta(json!({"uid": "o", "resourceVersion": "3",
            "ownerReferences": [{"apiVersion": "v", "kind": "K", "name": "n", "uid": "me"}]}));
        assert_eq!(
            release(&object, "me"),
            json!({"metadata": {"uid": "o", "resourceVersion": "3", "ownerReferences": null}})
        );
    }
}
