//! Pod templates of a Deployment: when two are the same, and the ReplicaSet that one makes.
//!
//! Invariant: the hash depends on the template and the collision count alone, so a controller that starts
//! again names the same ReplicaSet.

use std::collections::BTreeMap;

use coracle_api::wellknown::LABEL_POD_TEMPLATE_HASH;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde_json::Value;

use crate::ownership::controller_reference;

/// The letters of generated names: no vowels, no digits that look like them (upstream's `rand.SafeEncodeString`).
const SAFE_LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Whether two templates are the same but for the label that tells ReplicaSets apart.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let (a, b) = (without_hash(a), without_hash(b));
    a == b || canonical(&a) == canonical(&b)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(LABEL_POD_TEMPLATE_HASH);
    }
    template
}

/// The template as JSON without what is empty: an absent list and an empty one say the same.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = serde_json::to_value(template).unwrap_or_default();
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, v| !is_empty_list_or_null(v));
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An empty object is kept: `emptyDir: {}` says something.
fn is_empty_list_or_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Ten letters that stand for a template; a collision count other than zero gives others.
pub(super) fn template_hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let text = canonical(template).to_string();
    let tail = if collisions == 0 { Vec::new() } else { i64::from(collisions).to_le_bytes().to_vec() };
    let mut hash = 0x811c_9dc5_u32;
    for byte in text.bytes().chain(tail) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let letter = |digit: u8| SAFE_LETTERS.get(usize::from(digit) % SAFE_LETTERS.len()).copied().map_or('b', char::from);
    format!("{hash:010}").bytes().map(letter).collect()
}

/// The ReplicaSet for the Deployment's template as it is now, with no replicas yet.
pub(super) fn new_replicaset(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = template_hash(&spec.template, collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(LABEL_POD_TEMPLATE_HASH.to_owned(), hash.clone());
    let labels: BTreeMap<_, _> = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(LABEL_POD_TEMPLATE_HASH.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn templates_differ_by_content_only() {
        let base =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut hashed = base.clone();
        hashed["metadata"]["labels"][LABEL_POD_TEMPLATE_HASH] = json!("abc");
        let mut spelled = base.clone();
        spelled["spec"]["volumes"] = json!([]);
        let mut other = base.clone();
        other["spec"]["containers"][0]["image"] = json!("j");
        let base = template(base);
        assert!(same_template(&base, &template(hashed)));
        assert!(same_template(&base, &template(spelled)));
        assert!(!same_template(&base, &template(other)));
    }

    #[test]
    fn the_hash_is_ten_safe_letters_and_stable() {
        let base = template(json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}));
        let hash = template_hash(&base, 0);
        assert_eq!(hash.len(), 10);
        assert!(hash.bytes().all(|b| SAFE_LETTERS.contains(&b)));
        assert_eq!(hash, template_hash(&base, 0));
        assert_ne!(hash, template_hash(&base, 1));
    }

    #[test]
    fn the_replicaset_selects_its_own_pods_only() {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "u"},
            "spec": {"minReadySeconds": 3, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
        }))
        .unwrap();
        let set = new_replicaset(&deployment);
        let hash = set.labels()[LABEL_POD_TEMPLATE_HASH].clone();
        assert_eq!(set.name_any(), format!("web-{hash}"));
        let spec = set.spec;
        assert_eq!(spec.selector.match_labels.unwrap()[LABEL_POD_TEMPLATE_HASH], hash);
        assert_eq!(spec.template.unwrap().metadata.unwrap().labels.unwrap()[LABEL_POD_TEMPLATE_HASH], hash);
        assert_eq!((spec.replicas, spec.min_ready_seconds), (Some(0), Some(3)));
    }
}
